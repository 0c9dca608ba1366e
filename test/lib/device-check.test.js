import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { checkCommand } from '../../dist/cli/check.js';
import { bind } from '../../dist/device/bind.js';
import { checkHost } from '../../dist/device/check.js';
import { unplaced } from '../../dist/device/iova.js';
import { Records } from '../../dist/device/record.js';
import { Host } from '../../dist/host/host.js';
import { parseManifest } from '../../dist/manifest/parse.js';
import { loadSource } from '../../dist/manifest/plan.js';
import { renderError } from '../../dist/manifest/render.js';
import * as M from './helpers/machine.js';

const SYSTEM = `[system]
name = "lab"

[shards.rx]
program = "generate"

[shards.tx]
program = "sink"

[channels.link]
from = "rx"
to = "tx"
`;

const NIC = `[devices.nic]
pci = "${M.NIC}"
mmio = [{ bar = 0, offset = 0, bytes = "128KiB", to = "rx" }]
irqs = [{ vector = 4, to = "rx", trigger = "msix" }]
dma = [{ name = "rings", bytes = "2MiB", to = "rx" }]
`;

/** What --host finds in a manifest with these devices, on a machine whose e1000e is with vfio-pci. */
function check(t, devices, { changes, bound = [M.NIC], options, system = SYSTEM } = {}) {
  const root = M.machine(t, changes);
  const records = new Records(join(root, 'run'));
  if (bound.length > 0) bind(new M.Kernel(root), records, bound, options);
  const source = parseManifest('vanity.toml', `${system}\n${devices}`);
  const { plan } = loadSource(source);
  const { errors, warnings } = checkHost(source, plan, new Host(root), records);
  for (const error of errors) {
    t.notRegex(`${error.message} ${error.hint}`, /\{\w+\}|undefined|NaN/);
    t.not(error.hint, '');
  }
  return { errors, warnings, texts: errors.map((error) => renderError(error)) };
}

test('a machine that has all that is asked for', (t) => {
  const { texts, warnings } = check(t, NIC);
  t.deepEqual(texts, []);
  t.deepEqual(warnings, []);
});

test('an error has its place, and what to type', (t) => {
  const { texts } = check(t, NIC.replace('128KiB', '256KiB'));
  t.deepEqual(texts, [
    `error[VANITY_E_BAR]: [devices.nic] mmio[0]: 0x0..0x40000 goes beyond BAR 0 of 0000:01:00.0, which has 128 KiB
--> vanity.toml:16:40
   |
16 | mmio = [{ bar = 0, offset = 0, bytes = "256KiB", to = "rx" }]
   |                                        ^^^^^^^^
hint: Type: bytes = 131072 or less`,
  ]);
});

// What is written, the code, the message, the hint.
const cases = [
  [
    'no such device',
    NIC.replace(M.NIC, '0000:01:00.1'),
    'DEVICE_NONE',
    /no PCI device .* "0000:01:00.1"/,
    /Did you mean 0000:01:00.0\?/,
  ],
  [
    'several devices',
    NIC.replace(M.NIC, '1b36:000c'),
    'DEVICE_MANY',
    /means several devices: 0000:00:03.0 .*0000:00:04.0/,
    /for example 0000:00:03.0/,
  ],
  [
    'a bridge',
    `[devices.b]\npci = "${M.BRIDGE}"`,
    'DEVICE_KIND',
    /is a PCI bridge/,
    /vanity device list/,
  ],
  [
    'ports for memory',
    NIC.replace('bar = 0', 'bar = 2'),
    'BAR',
    /BAR 2 of 0000:01:00.0 is a range of ports/,
    /Type bar = 0 \(128 KiB\), or bar = 1/,
  ],
  ['no such BAR', NIC.replace('bar = 0', 'bar = 5'), 'BAR', /has no BAR 5/, /bar = 3/],
  [
    'an offset beyond the BAR',
    NIC.replace('offset = 0', 'offset = 131072'),
    'BAR',
    /goes beyond/,
    /an offset below 0x20000/,
  ],
  [
    'a vector too many',
    NIC.replace('vector = 4', 'vector = 5'),
    'VECTOR',
    /vector 5; 0000:01:00.0 has 5 of MSI-X/,
    /vector = 4 or less/,
  ],
  [
    'one MSI only',
    NIC.replace('"msix"', '"msi"'),
    'VECTOR',
    /vector 4; .* has 1 of MSI/,
    /vector = 0 or less/,
  ],
  [
    'no edges',
    NIC.replace('"msix"', '"edge"'),
    'VECTOR',
    /no edge-triggered lines/,
    /trigger = "msix"/,
  ],
  [
    'more than the IOMMU has',
    NIC.replace('2MiB', '1TiB'),
    'DMA',
    /1 TiB find no room below 2\^39.*fee00000/,
    /smaller/,
  ],
];
for (const [title, devices, code, message, hint] of cases) {
  test(`finds ${title}`, (t) => {
    const { errors } = check(t, devices);
    const found = errors.filter((error) => error.code === `VANITY_E_${code}`);
    t.is(found.length, 1, errors.map((error) => error.message).join('\n'));
    t.regex(found[0].message, message);
    t.regex(found[0].hint, hint);
    t.true(found[0].location.line > 13);
    t.is(errors.length, 1);
  });
}

test('a device with MSI-X only, or nothing', (t) => {
  const edu = `[devices.edu]\npci = "1234:11e8"\nirqs = [{ vector = 0, to = "rx" }]\n`;
  const [error] = check(t, edu, { bound: [M.EDU] }).errors;
  t.is(error.message, '[devices.edu] irqs[0]: trigger = "msix", and 0000:00:01.0 has no MSI-X');
  t.is(error.hint, 'Type: trigger = "msi"');
});

test('the upper half of a BAR is no BAR', (t) => {
  const virtio = `[devices.v]\npci = "${M.VIRTIO}"\nmmio = [{ bar = 5, offset = 0, bytes = 1, to = "rx" }]\n`;
  const { errors } = check(t, virtio, { bound: [M.VIRTIO], options: { force: true } });
  t.is(errors[0].message, '[devices.v] mmio[0]: BAR 5 of 0000:00:02.0 is the upper half of BAR 4');
});

test('the group has other owners; the manifest may name them all', (t) => {
  const one = `[devices.a]\npci = "${M.REALTEK}"\n`;
  const { errors } = check(t, one, { bound: [] });
  t.is(errors.length, 1);
  t.is(errors[0].code, 'VANITY_E_GROUP');
  t.regex(errors[0].message, /group 5 .*0000:03:01.0 \(Ethernet, e1000\)/);
  t.regex(errors[0].hint, /sudo vanity device bind 0000:03:02.0 0000:03:01.0/);
  const both = `${one}\n[devices.b]\npci = "mac=52:54:00:00:00:03"\n`;
  const whole = check(t, both, { bound: [] });
  t.deepEqual(whole.texts, []);
  t.deepEqual(
    whole.warnings.map(({ message }) => message),
    [
      '0000:03:02.0 is driven by nobody, not by vfio-pci',
      '0000:03:01.0 is driven by e1000, not by vfio-pci',
    ],
  );
  t.is(whole.warnings[1].hint, 'Type: sudo vanity device bind 0000:03:01.0');
});

test('in use, open elsewhere, without vfio-pci', (t) => {
  const nvme = `[devices.disk]\npci = "${M.NVME}"\n`;
  t.is(
    check(t, nvme, { bound: [] }).errors[0].message,
    `${M.NVME} is in use: nvme0n1p1 is mounted at /`,
  );
  const open = {
    files: { 'proc/4711/comm': 'node\n' },
    links: { 'proc/4711/fd/12': '/dev/vfio/8' },
  };
  t.regex(check(t, NIC, { changes: open }).errors[0].message, /open in node \(4711\)/);
  const without = Object.fromEntries(
    ['bind', 'unbind'].map((file) => [`sys/bus/pci/drivers/vfio-pci/${file}`, null]),
  );
  t.is(check(t, NIC, { bound: [], changes: { files: without } }).errors[0].code, 'VANITY_E_VFIO');
  const module = {
    ...without,
    'proc/sys/kernel/osrelease': '6.1\n',
    'lib/modules/6.1/modules.dep': 'kernel/drivers/vfio/pci/vfio-pci.ko.xz: x\n',
  };
  const { errors, warnings } = check(t, NIC, { bound: [], changes: { files: module } });
  t.deepEqual(errors, []);
  t.is(warnings[0].code, 'VANITY_W_DEVICE_DRIVER');
});

test('two names of one device are one device', (t) => {
  const again = `${NIC}
[devices.again]
pci = "mac=52:54:00:00:00:02"
mmio = [{ bar = 0, offset = 4096, bytes = 4096, to = "tx" }]
irqs = [{ vector = 4, to = "tx" }]
`;
  t.deepEqual(
    check(t, again).errors.map(({ code }) => code),
    ['VANITY_E_GRANT_OVERLAP', 'VANITY_E_VECTOR_OWNER'],
  );
});

test('address bits that the device lacks, when they are written', (t) => {
  const bits = `${M.folderOf(M.NIC)}/dma_mask_bits`;
  const changes = { files: { [bits]: '32\n' } };
  t.deepEqual(check(t, NIC, { changes }).texts, []);
  const written = NIC.replace('bytes = "2MiB",', 'bytes = "2MiB", bits = 40,');
  const [error] = check(t, written, { changes }).errors;
  t.is(error.hint, 'Type: bits = 32');
  t.deepEqual(check(t, written).errors, []);
});

test('reserved addresses split what is free', (t) => {
  const reserved = 'sys/kernel/iommu_groups/8/reserved_regions';
  const files = {
    [reserved]:
      '0x0000000000100000 0x00000000ffffffff reserved\n0x00000000fee00000 0x00000000feefffff msi\n',
  };
  const low = NIC.replace('bytes = "2MiB",', 'bytes = "2MiB", bits = 32,');
  const [error] = check(t, low, { changes: { files } }).errors;
  t.is(
    error.message,
    '[devices.nic] region "rings": 2 MiB find no room below 2^32; the largest gap left has 1020 KiB (estimated from sysfs; reserved: 0x100000..0xffffffff reserved, 0xfee00000..0xfeefffff msi)',
  );
  t.deepEqual(check(t, NIC, { changes: { files } }).errors, []);
});

const MiB = 2 ** 20;
test('regions with few bits choose first', (t) => {
  const windows = [
    { first: 0n, last: 2n ** 32n - 1n },
    { first: 2n ** 32n, last: 2n ** 39n - 1n },
  ];
  const requests = [
    { bytes: 4096 * MiB, bits: 64 },
    { bytes: 4094 * MiB, bits: 32 },
  ];
  t.deepEqual(unplaced(requests, windows), []);
  t.deepEqual(
    unplaced([...requests, { bytes: 2 * MiB, bits: 32 }], windows).map(({ bytes, largest }) => [
      bytes,
      largest,
    ]),
    [[2 * MiB, 2 * MiB - 4096]],
  );
  t.deepEqual(unplaced([{ bytes: 4096, bits: 32 }], []).length, 1);
});

test('locked memory: the limit counts without CAP_IPC_LOCK', (t) => {
  const large = NIC.replace('2MiB', '16MiB');
  t.deepEqual(check(t, large).texts, [], 'root');
  const changes = {
    files: { 'proc/self/status': 'CapEff:\t0000000000000000\nCpus_allowed_list:\t0-3\n' },
  };
  const [error] = check(t, large, { changes }).errors;
  t.is(
    error.message,
    'memory for DMA takes 16 MiB of locked memory; the limit of this process is 8 MiB',
  );
  t.regex(error.hint, /^Type: sudo prlimit --pid \$\$ --memlock=(\d+):\1$/);
  t.deepEqual(check(t, NIC, { changes }).texts, [], '2 MiB are below it');
});

test('huge pages: when they are demanded, and always without an IOMMU', (t) => {
  const system = SYSTEM.replace('name = "lab"', 'name = "lab"\nhuge_pages = "2M"');
  const folder = 'sys/kernel/mm/hugepages/hugepages-2048kB';
  const files = { [`${folder}/free_hugepages`]: '1\n', [`${folder}/nr_hugepages`]: '10\n' };
  const [error] = check(t, NIC, { changes: { files }, system }).errors;
  t.is(error.code, 'VANITY_E_PAGES');
  t.is(error.message, 'memory for DMA needs 3 huge pages of 2M; 1 are free');
  t.is(error.hint, `Type: echo 12 | sudo tee /${folder}/nr_hugepages`);
  files[`${folder}/free_hugepages`] = '3\n';
  t.deepEqual(check(t, NIC, { changes: { files }, system }).texts, []);
});

const SWITCH = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode';
test('without an IOMMU: only where manifest and kernel say so', (t) => {
  const links = { [`${M.folderOf(M.NIC)}/iommu_group`]: null, 'sys/class/iommu/dmar0': null };
  const unsafe = NIC.replace('mmio', 'unsafe_noiommu = true\nmmio');
  const of = (devices, files = {}) => check(t, devices, { bound: [], changes: { links, files } });
  t.regex(of(NIC).errors[0].hint, /intel_iommu=on/);
  t.regex(of(NIC, { [SWITCH]: 'Y\n' }).errors[0].hint, /unsafe_noiommu = true/);
  t.is(of(unsafe).errors[0].hint, `Type: echo Y | sudo tee /${SWITCH}`);
  t.is(of(unsafe).errors[0].location.source, 'unsafe_noiommu = true');
  const { errors } = of(unsafe, { [SWITCH]: 'Y\n' });
  t.deepEqual(
    errors.map(({ code }) => code),
    ['VANITY_E_PAGES'],
  );
});

test('what only root may see is not guessed', (t) => {
  const config = `${M.folderOf(M.NIC)}/config`;
  const changes = { files: { [config]: Buffer.alloc(64) } };
  const { texts, warnings } = check(t, NIC.replace('vector = 4', 'vector = 200'), { changes });
  t.deepEqual(texts, []);
  t.is(warnings[0].hint, 'Type: sudo vanity check --host vanity.toml');
});

test('the MSI-X table is not granted', (t) => {
  const table = NIC.replace('bar = 0', 'bar = 3');
  const [error] = check(t, table.replace('128KiB', '16KiB')).errors;
  t.is(
    error.message,
    '[devices.nic] mmio[0]: the MSI-X table of 0000:01:00.0 lies there (0x0..0x50), which Linux alone writes',
  );
  t.is(error.hint, 'Type: offset = 4096 or more, if there is anything');
  const rest = table.replace('offset = 0', 'offset = 4096').replace('128KiB', '12KiB');
  t.deepEqual(check(t, rest).texts, []);
});

test('cores that the host lacks are found too', (t) => {
  const system = SYSTEM.replace('program = "sink"', 'program = "sink"\ncore = 7');
  t.is(check(t, NIC, { system }).errors[0].code, 'VANITY_E_CORE_ABSENT');
});

test('vanity check --host: exit code, text and JSON', (t) => {
  const root = M.machine(t);
  const file = join(root, 'vanity.toml');
  writeFileSync(file, `${SYSTEM}\n${NIC.replace('vector = 4', 'vector = 9')}`);
  const said = { out: '', err: '' };
  const run = (options) =>
    checkCommand(file, {
      root,
      out: (text) => {
        said.out = text;
      },
      err: (text) => {
        said.err += text;
      },
      ...options,
    });
  t.is(run({}), 0, 'without --host nothing is looked for');
  t.is(run({ host: true }), 1);
  t.regex(said.err, /warning\[VANITY_W_DEVICE_DRIVER\].*\n--> .*vanity.toml:15:7/);
  t.regex(said.err, /error\[VANITY_E_VECTOR\].*\n--> .*vanity.toml:17:20/);
  t.is(run({ host: true, json: true }), 1);
  const { ok, errors, warnings } = JSON.parse(said.out);
  t.false(ok);
  t.is(errors[0].line, 17);
  t.is(warnings[0].code, 'VANITY_W_DEVICE_DRIVER');
});
