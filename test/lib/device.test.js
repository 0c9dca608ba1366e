import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { deviceInfoCommand, deviceListCommand } from '../../dist/cli/device.js';
import { CONFIG_BYTES_MAX, parseConfig } from '../../dist/device/config.js';
import { examineDevice, summarize } from '../../dist/device/describe.js';
import { iommuBits, windowsOf } from '../../dist/device/group.js';
import { barsOf, ownerOf, scan } from '../../dist/device/pci.js';
import { Records } from '../../dist/device/record.js';
import { matching, select } from '../../dist/device/select.js';
import { Host } from '../../dist/host/host.js';
import * as M from './helpers/machine.js';

function lab(t, changes) {
  const root = M.machine(t, changes);
  const host = new Host(root);
  const records = new Records(join(root, 'run'));
  return { root, host, records, info: (selector) => examineDevice(host, records, selector) };
}

const summaryOf = ({ host, records }, address) =>
  summarize(host, records).find((device) => device.address === address);

test('list tells of every device of a captured machine', (t) => {
  const it = lab(t);
  const devices = summarize(it.host, it.records);
  t.is(devices.length, 14);
  t.like(summaryOf(it, M.NIC), {
    id: '8086:10d3',
    kind: 'Ethernet',
    driver: 'e1000e',
    iommu_group: 8,
    msix_vectors: 5,
    reset_methods: ['pm', 'bus'],
    interfaces: [{ name: 'eth1', mac: '52:54:00:00:00:02', up: false }],
    in_use: [],
  });
  t.like(summaryOf(it, M.EDU), {
    id: '1234:11e8',
    kind: 'unclassified',
    driver: null,
    msix_vectors: 0,
  });
  t.deepEqual(summaryOf(it, M.NVME).serials, ['VAN123']);
  t.is(summaryOf(it, M.NVME).slot, '3');
  t.is(summaryOf(it, M.BRIDGE).kind, 'PCI bridge');
});

test('info reads BARs, capabilities and the group of real configuration spaces', (t) => {
  const it = lab(t);
  const nic = it.info(M.NIC);
  t.deepEqual(
    nic.bars.map(({ index, kind, bytes }) => [index, kind, bytes]),
    [
      [0, 'memory', 131072],
      [1, 'memory', 131072],
      [2, 'io', 32],
      [3, 'memory', 16384],
    ],
  );
  t.deepEqual(nic.interrupts, {
    msix: { vectors: 5, table_bar: 3, table_offset: '0x0' },
    msi: { vectors: 1, maskable: false },
    intx: true,
  });
  t.deepEqual(nic.serials, ['52-54-00-ff-ff-00-00-02']);
  t.true(nic.capabilities.includes('AER'));
  t.is(nic.dma_bits, 64);
  t.deepEqual(nic.link, { gts: 2.5, width: 1, gts_max: 2.5, width_max: 1 });
  t.deepEqual(nic.reserved_regions, [{ first: '0xfee00000', last: '0xfeefffff', kind: 'msi' }]);
  t.deepEqual(nic.obstacles, [
    { problem: 'e1000e drives it', fix: `sudo vanity device bind ${M.NIC}` },
  ]);
  const virtio = it.info(M.VIRTIO);
  t.deepEqual(
    virtio.virtio.map(({ kind, bar, offset }) => `${kind} ${bar} ${offset}`),
    ['pci 0 0x0', 'notify 4 0x3000', 'device 4 0x2000', 'isr 4 0x1000', 'common 4 0x0'],
  );
  t.true(virtio.capabilities.includes('virtio modern'));
  const nvme = it.info(M.NVME);
  t.deepEqual(nvme.sriov, { vfs: 0, total_vfs: 2 });
  t.true(nvme.capabilities.includes('FLR'));
  const edu = it.info(M.EDU);
  t.deepEqual(edu.interrupts, { msix: null, msi: { vectors: 1, maskable: false }, intx: true });
  t.is(edu.dma_bits, null, 'no driver has asked it');
});

test('info names who else is in the group, and what to type', (t) => {
  const it = lab(t);
  const nic = it.info(M.REALTEK);
  t.false(nic.group_viable);
  t.deepEqual(
    nic.group_members.map(({ address, driver, blocks }) => [address, driver, blocks]),
    [
      [M.BRIDGE, null, false],
      [M.E1000, 'e1000', true],
    ],
  );
  const [group] = nic.obstacles;
  t.is(group.problem, `its IOMMU group has other owners: ${M.E1000} (Ethernet, e1000)`);
  t.is(group.fix, `Take them together: sudo vanity device bind ${M.REALTEK} ${M.E1000}`);
  t.regex(it.info(M.BRIDGE).obstacles[0].problem, /PCI bridge is not handed out/);
});

test('without root only 64 bytes are there: nothing is claimed that was not read', (t) => {
  const config = `${M.folderOf(M.NIC)}/config`;
  const it = lab(t, { files: { [config]: Buffer.alloc(64, 1) } });
  const nic = it.info(M.NIC);
  t.false(nic.capabilities_known);
  t.is(nic.msix_vectors, null);
  t.deepEqual(nic.capabilities, []);
});

test('what is in use: mounts, swap, volumes, routes, virtual functions, folders', (t) => {
  const uses = (address, changes) => summaryOf(lab(t, changes), address).in_use;
  t.deepEqual(uses(M.NVME), ['nvme0n1p1 is mounted at /']);
  t.deepEqual(uses(M.VIRTIO), ['eth0 holds the default route']);
  t.deepEqual(uses('0000:00:06.0'), ['hostroot is mounted at /srv/with space']);
  const none = { 'proc/self/mountinfo': '' };
  t.deepEqual(uses(M.NVME, { files: none }), []);
  t.deepEqual(
    uses(M.NVME, { files: { ...none, 'proc/swaps': 'Filename Type\n/dev/nvme0n1p1 partition\n' } }),
    ['nvme0n1p1 is swap space'],
  );
  const disk = `${M.folderOf(M.NVME)}/nvme/nvme0/nvme0n1`;
  const volume = {
    'sys/devices/virtual/block/dm-0/dev': '253:0\n',
    'sys/devices/virtual/block/dm-0/dm/name': 'vg-root\n',
    [`${disk}/nvme0n1p1/holders/dm-0/dev`]: '253:0\n',
    'proc/self/mountinfo': '20 1 253:0 / /data rw - xfs /dev/mapper/vg-root rw\n',
  };
  t.deepEqual(
    uses(M.NVME, {
      files: volume,
      links: { 'sys/class/block/dm-0': '../../devices/virtual/block/dm-0' },
    }),
    ['nvme0n1p1 is part of vg-root', 'dm-0 is mounted at /data'],
  );
  // btrfs mounts have device numbers of their own.
  const btrfs = '20 1 0:33 /@ / rw - btrfs /dev/nvme0n1p1 rw,subvol=/@\n';
  t.deepEqual(uses(M.NVME, { files: { 'proc/self/mountinfo': btrfs } }), [
    'nvme0n1p1 is mounted at /',
  ]);
  t.deepEqual(uses(M.NVME, { files: { 'proc/1/mountinfo': btrfs, ...none } }).length, 1);
  const vfs = { [`${M.folderOf(M.NVME)}/sriov_numvfs`]: '2\n', ...none };
  t.deepEqual(uses(M.NVME, { files: vfs }), ['2 virtual functions of it are enabled']);
});

test('a disk of an NVMe subsystem with several paths is found through its controller', (t) => {
  const subsystem = 'sys/devices/virtual/nvme-subsystem/nvme-subsys0';
  const it = lab(t, {
    files: {
      [`${subsystem}/nvme0n1/dev`]: '259:7\n',
      'proc/self/mountinfo': '9 1 259:7 / /s rw - ext4 x rw\n',
    },
    links: {
      [`${subsystem}/nvme0`]: `../../../../../${M.folderOf(M.NVME)}/nvme/nvme0`,
      'sys/class/block/nvme0n1': `../../../${subsystem}/nvme0n1`,
    },
  });
  t.deepEqual(summaryOf(it, M.NVME).in_use, ['nvme0n1 is mounted at /s']);
});

const ROUTES = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n';

test('the way to the network: bonds, IPv6, the last address, other namespaces', (t) => {
  const uses = (address, changes) => summaryOf(lab(t, changes), address).in_use;
  const route = (name, mask = '00000000') =>
    `${name}\t${mask === '00000000' ? '00000000' : '0000000A'}\t0\t0003\t0\t0\t0\t${mask}\t0\t0\t0\n`;
  t.deepEqual(
    uses(M.NIC, {
      files: {
        'proc/net/route': ROUTES + route('bond0'),
        'sys/devices/virtual/net/bond0/address': '52:54:00:00:00:02\n',
      },
      links: {
        [`${M.folderOf(M.NIC)}/net/eth1/master`]: '../../../../../virtual/net/bond0',
        'sys/class/net/bond0': '../../devices/virtual/net/bond0',
      },
    }),
    ['eth1 (in bond0) holds the default route'],
  );
  const six = `${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00 ${'f'.repeat(32)} 00000400 00000001 00000000 00000003     eth1\n`;
  t.deepEqual(uses(M.NIC, { files: { 'proc/net/ipv6_route': six } }), [
    'eth1 holds the default route',
  ]);
  const reject = six.replace('00000003 ', '00200200 ').replace('eth1', 'lo');
  t.deepEqual(uses(M.NIC, { files: { 'proc/net/ipv6_route': reject } }), []);
  const only = { 'proc/net/route': ROUTES + route('eth1', '00FFFFFF') };
  t.deepEqual(uses(M.NIC, { files: only }), ['eth1 is the only interface with an address']);
  const both = { 'proc/net/route': ROUTES + route('eth1', '00FFFFFF') + route('eth0', '00FFFFFF') };
  t.deepEqual(uses(M.NIC, { files: both }), []);
  t.deepEqual(uses(M.NIC, { links: { 'sys/class/net/eth1': null } }), [
    'its interface is in another network namespace',
  ]);
});

test('a device opened through VFIO says by whom', (t) => {
  const it = lab(t, {
    files: { 'dev/vfio/8': '', 'proc/4711/comm': 'node\n' },
    links: {
      [`${M.folderOf(M.NIC)}/driver`]: '../../../../bus/pci/drivers/vfio-pci',
      'proc/4711/fd/12': '/dev/vfio/8',
      'sys/class/net/eth1': null,
    },
  });
  // The process has the path of its own root.
  t.deepEqual(summaryOf(it, M.NIC).in_use, ['open in node (4711)']);
  t.deepEqual(it.info(M.NIC).open_by, ['node (4711)']);
});

test('selectors: address, short address, id, MAC, serial, slot', (t) => {
  const { host } = lab(t);
  const devices = scan(host);
  for (const text of [
    M.NIC,
    '01:00.0',
    '8086:10d3',
    '8086:10D3',
    'mac=52:54:00:00:00:02',
    'mac=52:54:00:00:00:02'.toUpperCase().replace('MAC', 'mac'),
    'serial=52-54-00-ff-ff-00-00-02',
    'serial=525400FFFF000002',
  ]) {
    t.is(select(text, devices).address, M.NIC, text);
  }
  t.is(select('slot=3', devices).address, M.NVME);
  t.is(select('slot=3.0', devices).address, M.NVME);
  t.is(select('serial=van123', devices).address, M.NVME);
  const many = t.throws(() => select('1b36:000c', devices), { code: 'VANITY_E_DEVICE_MANY' });
  t.is(
    many.message,
    '"1b36:000c" means several devices: 0000:00:03.0 (PCI bridge), 0000:00:04.0 (PCI bridge)',
  );
  const hints = {
    '0000:01:00.1': /Did you mean 0000:01:00.0\?/,
    '01:00.1': /Did you mean 0000:01:00.0\?/,
    '8086:10d4': /Did you mean 8086:10d3\?/,
    'mac=52:54:00:00:00:07': /Did you mean mac=52:54:00:00:00:0\d\?/,
    'mac=aa:aa:aa:aa:aa:aa': /bound by other means/,
    'slot=99999': /vanity device list/,
  };
  for (const [text, hint] of Object.entries(hints)) {
    t.regex(
      t.throws(() => select(text, devices), { code: 'VANITY_E_DEVICE_NONE' }).hint,
      hint,
      text,
    );
  }
  for (const text of [
    '',
    'eth1',
    '0000:01:00.8',
    '0000:01:20.0',
    'mac=',
    'mac=1',
    'nic=3',
    'slot=a b',
    'x'.repeat(500),
  ]) {
    t.is(matching(text, devices), undefined, text);
    t.throws(() => select(text, devices), { code: 'VANITY_E_DEVICE_SELECTOR' });
  }
});

test('a damaged configuration space ends, and claims nothing', (t) => {
  const { host } = lab(t);
  const good = host.bytes(`${M.folderOf(M.NIC)}/config`, CONFIG_BYTES_MAX);
  const with_ = (changes) => {
    const bytes = new Uint8Array(good);
    for (const [at, value] of Object.entries(changes)) bytes[at] = value;
    return parseConfig(bytes);
  };
  t.deepEqual(parseConfig(good).damage, []);
  const pointer = good[0x34];
  t.regex(with_({ [pointer + 1]: pointer }).damage.join(), /again/);
  t.regex(with_({ [pointer + 1]: 0x10 }).damage.join(), /leads to 0x10/);
  t.regex(with_({ 258: good[0x102], 259: 0x10 }).damage.join(), /extended/);
  t.true(parseConfig(new Uint8Array(4096).fill(0xff)).absent);
  t.is(parseConfig(new Uint8Array(4096).fill(0xff)).msix, null);
  t.false(parseConfig(new Uint8Array(0)).complete);
  t.regex(parseConfig(good.subarray(0, 257)).damage.join() || 'cut', /cut/);
  // A capability in the last bytes has no room.
  const cut = new Uint8Array(256);
  cut.set([0x86, 0x80, 0xd3, 0x10, 0, 0, 0x10]);
  cut[0x34] = 0xfc;
  cut[0xfc] = 17;
  t.deepEqual(parseConfig(cut).damage, ['MSI-X at 0xfc is cut off']);
});

test('no bytes whatever make the parser throw or run for long', (t) => {
  const { host } = lab(t);
  const seed = host.bytes(`${M.folderOf(M.VIRTIO)}/config`, CONFIG_BYTES_MAX);
  let state = 12345;
  const random = (n) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % n;
  };
  for (let round = 0; round < 3000; round++) {
    const bytes = new Uint8Array(random(4097));
    if (round % 2 === 0) bytes.set(seed.subarray(0, bytes.length));
    for (let i = 0; i < 40 && bytes.length > 0; i++) bytes[random(bytes.length)] = random(256);
    const { msix, msi, virtio, capabilities } = parseConfig(bytes);
    t.true((msix?.vectors ?? 1) <= 2048 && (msi?.vectors ?? 1) <= 32);
    t.true(virtio.every(({ bar }) => bar <= 5) && capabilities.length < 20);
  }
});

test('resource lines: only what is a BAR, and none that lies', (t) => {
  const line = (start, end, flags) => `0x${start} 0x${end} 0x${flags}`;
  t.deepEqual(barsOf(''), []);
  t.deepEqual(barsOf('nonsense\n0x1\n0x 0x 0x'), []);
  t.deepEqual(barsOf(line('2000', '1000', '200')), [], 'ends before it starts');
  t.deepEqual(barsOf(line('0', 'ffffffffffffffff', '200')), [], 'no size that fits');
  const rom = Array(6)
    .fill(line('0', '0', '0'))
    .concat(line('1000', '1fff', '200'))
    .join('\n');
  t.deepEqual(barsOf(rom), []);
  t.deepEqual(barsOf(line('4000000000', '400007ffff', '0000000000140204')), [
    { index: 0, kind: 'memory', bytes: 524288, prefetchable: false, address64: true },
  ]);
});

test('addresses that DMA may use', (t) => {
  const { host } = lab(t);
  const [nic] = scan(host).filter(({ address }) => address === M.NIC);
  t.is(iommuBits(host, nic), 39);
  const reserved = [
    { first: 0xfee00000n, last: 0xfeefffffn, kind: 'msi' },
    { first: 0n, last: 0xffffffn, kind: 'direct-relaxable' },
    { first: 0x8000000000n, last: 0xffffffffffn, kind: 'reserved' },
  ];
  t.deepEqual(windowsOf(39, reserved), [
    { first: 0n, last: 0xfedfffffn },
    { first: 0xfef00000n, last: 0x7fffffffffn },
  ]);
  t.deepEqual(windowsOf(32, [{ first: 0n, last: 0xffffffffn, kind: 'reserved' }]), []);
});

test('a folder without anything has no devices; odd names are none', (t) => {
  const { root } = lab(t);
  t.deepEqual(scan(new Host(join(root, 'nowhere'))), []);
  writeFileSync(join(root, 'sys/bus/pci/devices/odd'), '');
  t.is(scan(new Host(root)).length, 14);
  t.is(ownerOf('/sys/devices/pci0000:00/0000:00:03.0/0000:01:00.0/net/eth1'), M.NIC);
  t.is(ownerOf('/sys/devices/virtual/net/lo'), undefined);
});

/** What a command prints. */
function printed(run) {
  const write = process.stdout.write;
  let text = '';
  process.stdout.write = (part) => {
    text += part;
    return true;
  };
  try {
    run();
  } finally {
    process.stdout.write = write;
  }
  return text;
}

test('list and info as text', (t) => {
  const { root } = lab(t);
  const lines = printed(() => deviceListCommand({ root })).split('\n');
  t.regex(lines[0], /^ADDRESS +ID +KIND +DRIVER +GROUP +NODE +MSI-X +RESET +INTERFACE +IN USE$/);
  t.is(
    lines.find((line) => line.startsWith(M.NVME)).replace(/ +/g, ' '),
    `${M.NVME} 1b36:0010 NVMe nvme 9 - 7 flr bus - nvme0n1p1 is mounted at /`,
  );
  t.is(
    printed(() => deviceInfoCommand('01:00.0', { root })),
    `0000:01:00.0  8086:10d3  Ethernet
  driver       e1000e
  IOMMU group  8, alone in it
  reserved     0xfee00000..0xfeefffff msi
  NUMA node    unknown
  serial       52-54-00-ff-ff-00-00-02
  interface    eth1 52:54:00:00:00:02 down
  BARs         0: memory 128 KiB
               1: memory 128 KiB
               2: io 32 B
               3: memory 16 KiB
  interrupts   MSI-X: 5 vectors, table in BAR 3 from 0x0
               MSI: 1 vector
               INTx: one level-triggered pin
  can          PM, MSI, PCIe, MSI-X, AER, serial
  link         2.5 GT/s x1 (at most 2.5 GT/s x1)
  reset        pm, bus
  DMA          64 address bits
  bus master   on

Before it can be granted:
  - e1000e drives it
    sudo vanity device bind 0000:01:00.0
`,
  );
  t.regex(
    printed(() => deviceInfoCommand(M.REALTEK, { root })),
    /IOMMU group {2}5, with 0000:00:05.0 \(no driver\), 0000:03:01.0 \(e1000, in the way\); not viable/,
  );
});

test('what a device says of itself cannot move the cursor', (t) => {
  const serial = `${M.folderOf(M.NVME)}/nvme/nvme0/serial`;
  const { root } = lab(t, { files: { [serial]: 'A\u001b[2JB\n' } });
  t.false(printed(() => deviceInfoCommand(M.NVME, { root })).includes('\u001b'));
});
