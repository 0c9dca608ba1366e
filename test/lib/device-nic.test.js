// NIC ports held against a machine: what `vanity check --host` finds, and what `vanity run` asks before it opens anything.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'ava';
import { checkCommand } from '../../dist/cli/check.js';
import { bind } from '../../dist/device/bind.js';
import { checkDevices, checkHost } from '../../dist/device/check.js';
import { scan } from '../../dist/device/pci.js';
import { Records } from '../../dist/device/record.js';
import { resolveDevices } from '../../dist/device/resolve.js';
import { Host } from '../../dist/host/host.js';
import { nicGrants, poolsOf } from '../../dist/manifest/grants.js';
import { parseManifest } from '../../dist/manifest/parse.js';
import { loadManifestText, loadSource, ManifestErrors } from '../../dist/manifest/plan.js';
import { renderError } from '../../dist/manifest/render.js';
import * as M from './helpers/machine.js';

const manifest = ({ wan = '', lan = '', nic0 = '', nic1 = '', system = '' } = {}) => `[system]
name = "nics"
${system}
[shards.a]
program = "forward"

[shards.b]
program = "forward"

[channels.ab]
from = "a"
to = "b"

[ports.wan]
driver = "device"
device = "nic0"
rx = ${wan || '"a"'}
tx = "a"
buffers = 1024

[ports.lan]
driver = "device"
device = "nic1"
rx = "b"
tx = "b"
${lan}

[devices.nic0]
pci = "${M.VIRTIO}"
driver = "virtio-net"
${nic0}

[devices.nic1]
pci = "${M.NIC}"
driver = "e1000e"
${nic1}
`;

/** The machine after `vanity device bind --force` of both NICs. */
function prepare(t, changes) {
  const root = M.machine(t, changes);
  const records = new Records(join(root, 'run'));
  bind(new M.Kernel(root), records, [M.VIRTIO, M.NIC], { force: true, unsafeNoiommu: true });
  return { root, records };
}

function check(t, text, { changes, find = checkHost, machine = prepare(t, changes) } = {}) {
  const source = parseManifest('vanity.toml', text);
  const found = find(source, loadSource(source).plan, new Host(machine.root), machine.records);
  for (const error of found.errors) {
    t.notRegex(`${error.message} ${error.hint}`, /\{\w+\}|undefined|NaN/);
    t.not(error.hint, '');
  }
  return { ...found, texts: found.errors.map((error) => renderError(error)) };
}

test('two NICs that are all they should be', (t) => {
  const { texts, warnings, devices } = check(t, manifest());
  t.deepEqual(texts, []);
  t.deepEqual(warnings, []);
  t.like(devices[1], { name: 'nic1', address: M.NIC, driver: 'vfio-pci' });
  t.is(devices[0].estimated_windows[0].first, '0x0');
  t.true(devices[0].estimated_windows.length > 1, 'what interrupts keep is left out');
});

const cases = [
  [
    'the other driver',
    manifest().replace('driver = "virtio-net"', 'driver = "e1000e"'),
    'DEVICE_NIC',
    /0000:00:02.0 is nothing for driver = "e1000e": it is 1af4:\w+ \(Ethernet\), not an Intel 82574L/,
    /Type: driver = "virtio-net"/,
  ],
  [
    'what is no NIC',
    manifest().replace(M.VIRTIO, M.EDU),
    'DEVICE_NIC',
    /it is 1234:11e8 .* not a modern virtio network device/,
    /driver = "vfio"/,
  ],
  [
    'a backend that the kernel has not',
    manifest({ nic1: 'backend = "cdev"' }),
    'DEVICE_BACKEND',
    /there is no node of it below \/dev\/vfio$/,
    /backend = "auto".*CONFIG_VFIO_DEVICE_CDEV/,
  ],
];
for (const [title, text, code, message, hint] of cases) {
  test(`finds ${title}`, (t) => {
    const { errors } = check(t, text);
    const found = errors.filter((error) => error.code === `VANITY_E_${code}`);
    t.is(found.length, 1, errors.map((error) => error.message).join('\n'));
    t.regex(found[0].message, message);
    t.regex(found[0].hint, hint);
  });
}

test('cdev is there when its nodes are', (t) => {
  const changes = {
    files: {
      [`${M.folderOf(M.NIC)}/vfio-dev/vfio0/dev`]: '511:0\n',
      'dev/vfio/devices/vfio0': '',
    },
  };
  const text = manifest({ nic1: 'backend = "cdev"' });
  t.regex(check(t, text, { changes }).errors[0].message, /there is no \/dev\/iommu/);
  changes.files['dev/iommu'] = '';
  t.deepEqual(check(t, text, { changes }).texts, []);
});

test('a receive queue without an interrupt is polled, which is worth a warning', (t) => {
  // The virtio NIC of the capture has four vectors, and a pin, which serves one queue.
  const rx = (n) => `[${'"a", '.repeat(n)}]`;
  t.deepEqual(check(t, manifest({ wan: rx(4) })).warnings, []);
  const { errors, warnings } = check(t, manifest({ wan: rx(5) }));
  t.deepEqual(errors, []);
  t.is(warnings.length, 1);
  t.is(
    warnings[0].message,
    'port "wan": 0000:00:02.0 has 4 interrupt vectors for 5 receive queues, so 4 of them can only be polled',
  );
  t.is(warnings[0].hint, 'Have 1 of them in rx, or type: interrupts = false');
  t.regex(warnings[0].location.source, /^rx = /);
  const polled = manifest({ wan: `${rx(5)}\ninterrupts = false` });
  t.deepEqual(check(t, polled).warnings, []);
});

test('what only root may see is a warning', (t) => {
  const changes = { files: { [`${M.folderOf(M.NIC)}/config`]: Buffer.alloc(64) } };
  const { warnings } = check(t, manifest(), { changes });
  t.is(warnings[0].code, 'VANITY_W_DEVICE_HIDDEN');
});

test('pools count as locked memory for each device that reaches them, and rings', (t) => {
  const files = { 'proc/self/status': 'CapEff:\t0000000000000000\nCpus_allowed_list:\t0-3\n' };
  const [error] = check(t, manifest(), { changes: { files } }).errors;
  t.is(error.code, 'VANITY_E_MEMLOCK');
  t.is(error.location.source, '[ports.lan]', 'the larger of the two pools');
  // Rings; 2.06 MiB of pool "wan", which both reach; 16.5 MiB of "lan", which one does: in pieces of 2 MiB.
  t.true(error.message.includes(`takes ${2 + 4 + 2 + 4 + 18} MiB`), error.message);
  files['proc/self/limits'] = 'Max locked memory         67108864   67108864   bytes\n';
  t.deepEqual(check(t, manifest(), { changes: { files } }).texts, []);
});

test('pools find room among the I/O addresses, and that is called an estimate', (t) => {
  const [error] = check(t, manifest({ lan: 'buffers = 1048576\nbuffer_bytes = "64KiB"' })).errors;
  t.is(error?.code, undefined, '64 GiB have room in 39 bits');
  const folder = 'sys/devices/virtual/iommu/dmar0/intel-iommu/cap';
  // MGAW 31: 32 address bits.
  const changes = { files: { [folder]: '1f0200\n' } };
  const found = check(t, manifest({ lan: 'buffers = 1048576\nbuffer_bytes = "64KiB"' }), {
    changes,
  }).errors;
  t.true(found.length > 0);
  t.regex(found[0].message, /\[devices.nic\d\] pool "lan": 64.* GiB find no room below 2\^32/);
  t.regex(found[0].message, /estimated from sysfs/);
});

const SWITCH = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode';
test('without an IOMMU: the switch, the right, and huge pages', (t) => {
  const links = { 'sys/class/iommu/dmar0': null };
  for (const address of [M.NIC, M.VIRTIO]) links[`${M.folderOf(address)}/iommu_group`] = null;
  const unsafe = manifest({ nic0: 'unsafe_noiommu = true', nic1: 'unsafe_noiommu = true' });
  const huge = 'sys/kernel/mm/hugepages/hugepages-2048kB';
  const files = { [SWITCH]: 'Y\n' };
  const machine = prepare(t, { links, files });
  const codes = (text) => check(t, text, { machine }).errors.map(({ code }) => code);
  t.deepEqual(codes(manifest()), ['VANITY_E_IOMMU', 'VANITY_E_IOMMU']);
  t.deepEqual(codes(unsafe), ['VANITY_E_PAGES']);
  const put = (path, content) => {
    mkdirSync(dirname(join(machine.root, path)), { recursive: true });
    writeFileSync(join(machine.root, path), content);
  };
  put(`${huge}/free_hugepages`, '64\n');
  t.deepEqual(codes(unsafe), []);
  const { devices } = check(t, unsafe, { machine });
  t.deepEqual(devices[0].estimated_windows, [], 'nobody knows them before');
  put(SWITCH, 'N\n');
  t.deepEqual(codes(unsafe), ['VANITY_E_IOMMU', 'VANITY_E_IOMMU']);
  put(SWITCH, 'Y\n');
  put('proc/self/status', 'CapEff:\t0000000000004000\nCpus_allowed_list:\t0-3\n');
  const [error] = check(t, unsafe, { machine }).errors;
  t.regex(error.message, /only root/);
});

test('a device that is not with vfio-pci yet is a warning for check, and an error for run', (t) => {
  const root = M.machine(t);
  const machine = { root, records: new Records(join(root, 'run')) };
  const text = manifest().replace(M.VIRTIO, M.NIC).replace(M.NIC, M.VIRTIO);
  const later = check(t, text, { machine });
  t.true(later.warnings.some(({ code }) => code === 'VANITY_W_DEVICE_DRIVER'));
  const now = check(t, text, { machine, find: checkDevices });
  const error = now.errors.find(({ code }) => code === 'VANITY_E_VFIO_DRIVER');
  t.regex(error.hint, /sudo vanity device bind 0000:01:00.0/);
  t.is(error.location.source, `pci = "${M.NIC}"`);
});

test('two names of one NIC are known as such on the host', (t) => {
  const text = manifest()
    .replace('"virtio-net"', '"e1000e"')
    .replace(`pci = "${M.VIRTIO}"`, 'pci = "8086:10d3"');
  const { errors } = check(t, text);
  t.true(errors.some(({ code }) => code === 'VANITY_E_DEVICE_TWICE'));
});

(process.getuid() === 0 ? test.skip : test)('nodes that this user may not open', (t) => {
  const machine = prepare(t);
  const { group } = scan(new Host(machine.root)).find(({ address }) => address === M.NIC);
  const node = join(machine.root, 'dev/vfio', String(group));
  writeFileSync(node, '');
  t.deepEqual(check(t, manifest(), { machine }).errors, []);
  chmodSync(node, 0);
  const { errors } = check(t, manifest(), { machine });
  t.deepEqual(
    errors.map(({ code, message }) => [code, message]),
    [['VANITY_E_VFIO_PERMISSION', `this user may not open /dev/vfio/${group}`]],
  );
});

// ---- grants -----------------------------------------------------------------------------------

test('grants follow from the port: own pools to write, those whose packets come by to read', (t) => {
  const { plan } = loadManifestText('x.toml', manifest({ wan: '["a", "b"]' }));
  const grants = nicGrants(plan);
  t.deepEqual(
    grants.get(0).pools.map(({ name, access }) => [name, access]),
    [
      ['wan.0', 'read-write'],
      ['wan.1', 'read-write'],
    ],
    'b has no way to a',
  );
  t.deepEqual(
    grants.get(1).pools.map(({ name, access }) => [name, access]),
    [
      ['wan.0', 'read-only'],
      ['wan.1', 'read-only'],
      ['lan', 'read-write'],
    ],
  );
  t.deepEqual(grants.get(0).vectors, [
    { of: 'rx 0', to: 'a' },
    { of: 'rx 1', to: 'b' },
    { of: 'link', to: 'the kernel' },
  ]);
});

test('pools of programs are known by their options', (t) => {
  const own = new URL('../fixtures/programs/own.mjs', import.meta.url).pathname;
  const { plan } = loadManifestText(
    'x.toml',
    `[system]\nname = "x"\n[shards.g]\nprogram = "generate"\noptions = { buffers = 64, size = 1500 }
[shards.p]\nprogram = "${own}"\noptions = { buffers = 128 }\n[shards.s]\nprogram = "sink"
[channels.gs]\nfrom = "g"\nto = "s"\n[channels.ps]\nfrom = "p"\nto = "s"\n`,
  );
  t.deepEqual(
    poolsOf(plan).map(({ name, bytes }) => [name, bytes]),
    [
      ['g', 64 * 25 * 64],
      ['p', 128 * 33 * 64],
    ],
  );
});

test('vanity check prints the grants, and what the host is', (t) => {
  const { root } = prepare(t);
  const file = join(root, 'vanity.toml');
  writeFileSync(file, manifest());
  let out = '';
  const run = (options) =>
    checkCommand(file, {
      root,
      out: (text) => {
        out = text;
      },
      err: (text) => t.fail(text),
      ...options,
    });
  t.is(run({}), 0);
  t.regex(out, /\[devices.nic1\] is driven by e1000e for port "lan", and granted:/);
  t.regex(out, /vectors {4}rx 0 to b, link to the kernel/);
  t.regex(out, /pool "wan", read only: 2\.1 MiB/);
  t.notRegex(out, /On this host/);
  t.is(run({ json: true }), 0);
  t.is(JSON.parse(out).grants[1].pools[0].access, 'read-only');
});

// ---- addresses --------------------------------------------------------------------------------

test('selectors become addresses before a system is made, or none does', (t) => {
  const { root, records } = prepare(t);
  const host = new Host(root);
  const text = manifest().replace(`pci = "${M.NIC}"`, 'pci = "8086:10d3"');
  const { plan } = loadManifestText('x.toml', text);
  const resolved = resolveDevices(plan, host, records);
  t.deepEqual(
    resolved.devices.map(({ address }) => address),
    [M.VIRTIO, M.NIC],
  );
  t.is(resolveDevices(resolved, host, records), resolved, 'once is enough');
  const absent = loadManifestText('x.toml', text.replace(M.VIRTIO, '0000:7f:00.0')).plan;
  const error = t.throws(() => resolveDevices(absent, host, records), {
    instanceOf: ManifestErrors,
  });
  t.is(error.errors[0].code, 'VANITY_E_DEVICE_NONE');
});
