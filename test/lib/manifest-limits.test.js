import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { limits } from '../../dist/manifest/limits.js';
import { loadManifestText, ManifestErrors } from '../../dist/manifest/plan.js';

const header = readFileSync(
  new URL('../../native/include/vanity/limits.hpp', import.meta.url),
  'utf8',
);

test('the limits are those of native/include/vanity/limits.hpp', (t) => {
  const native = {};
  for (const [, name, value] of header.matchAll(/constexpr uint\d+_t k(\w+) = ([^;]+);/g)) {
    const shift = /^1u << (\d+)$/.exec(value);
    native[name.charAt(0).toLowerCase() + name.slice(1)] = shift
      ? 2 ** Number(shift[1])
      : Number(value);
  }
  t.true(Object.keys(native).length > 15);
  t.deepEqual({ ...limits }, native);
});

const folder = mkdtempSync(join(tmpdir(), 'vanity-limits-'));
const module = join(folder, 'program.so');
writeFileSync(module, '');
test.after.always(() => rmSync(folder, { recursive: true }));

const count = (n, make) => Array.from({ length: n }, (_, i) => make(i)).join('\n');
const system = '[system]\nname = "limits"\n';
const pair = `${system}[shards.a]\nprogram = "generate"\n[shards.b]\nprogram = "sink"\n`;
const channel = (i, from = 'a', to = 'b', more = '') =>
  `[channels.c${i}]\nfrom = "${from}"\nto = "${to}"\n${more}`;
const port = (i, more = 'rx = "c"') =>
  `[ports.p${i}]\ndriver = "af_packet"\ninterface = "eth${i}"\n${more}\n`;
const counter = `${system}[shards.c]\nprogram = "count"\n`;
const device = (i, more = '') =>
  `[devices.d${i}]\npci = "00${(16 + i).toString(16)}:00:00.0"\n${more}`;

const nic = (more, driver = 'virtio-net') =>
  `${counter}[ports.p]\ndriver = "device"\ndevice = "d0"\n${more}\n${device(0, `driver = "${driver}"\n`)}`;

function codes(text) {
  try {
    loadManifestText('limits.toml', text);
    return [];
  } catch (error) {
    if (!(error instanceof ManifestErrors)) throw error;
    return [...new Set(error.errors.map(({ code }) => code))];
  }
}

// What is possible at the limit, and the code one past it.
const cases = {
  shards: [
    'VANITY_E_LIMIT',
    limits.shards,
    (n) => {
      const shards = count(
        n,
        (i) => `[shards.s${i}]\nprogram = "${i === 0 ? 'generate' : 'count'}"`,
      );
      return `${system}${shards}\n${count(n - 1, (i) => channel(i, `s${i}`, `s${i + 1}`))}`;
    },
  ],
  'protection keys': [
    'VANITY_E_LIMIT',
    limits.protectionKeys,
    // A pool that two of them may hold needs one more.
    (n) =>
      `${system}[shards.s]\nprogram = "sink"\n${count(n - 1, (i) => `[shards.k${i}]\nprogram = "${module}"\nisolation = "pkey"\noptions = { buffers = 64 }`)}\n` +
      `${channel(0, 'k0', 'k1')}${count(n - 1, (i) => channel(i + 1, `k${i}`, 's'))}`,
  ],
  'channels into and out of a shard': [
    'VANITY_E_CHANNEL_FAN',
    limits.channelsIntoShard,
    (n) => pair + count(n, (i) => channel(i)),
  ],
  channels: [
    'VANITY_E_LIMIT',
    limits.channels,
    (n) => {
      const shards = count(16, (i) => `[shards.s${i}]\nprogram = "forward"`);
      return `${system}${shards}\n${count(n, (i) => channel(i, `s${i % 16}`, `s${(i + 1) % 16}`))}`;
    },
  ],
  ports: ['VANITY_E_LIMIT', limits.ports, (n) => counter + count(n, (i) => port(i))],
  'queues of a port': [
    'VANITY_E_VALUE',
    limits.queuesPerPort,
    (n) =>
      system +
      count(n, (i) => `[shards.s${i}]\nprogram = "count"`) +
      `\n${port(0, `rx = [${Array.from({ length: n }, (_, i) => `"s${i}"`)}]`)}`,
  ],
  devices: [
    'VANITY_E_LIMIT',
    limits.devices,
    (n) => pair + channel(0) + count(n, (i) => device(i)),
  ],
  'vectors of a device': [
    'VANITY_E_VALUE',
    limits.vectorsPerDevice,
    (n) =>
      pair + channel(0) + device(0, `irqs = [${count(n, (i) => `{ vector = ${i}, to = "a" },`)}]`),
  ],
  'bytes of a name': [
    'VANITY_E_NAME',
    limits.nameBytes,
    (n) => pair + channel(0).replace('c0', 'n'.repeat(n)),
  ],
  'bytes of the name of the system': [
    'VANITY_E_NAME',
    limits.nameBytes,
    (n) => (pair + channel(0)).replace('limits', 'n'.repeat(n)),
  ],
  'queues of a virtio-net': [
    'VANITY_E_VALUE',
    limits.queuesPerPort,
    (n) => nic(`rx = [${'"c",'.repeat(n)}]`),
  ],
  'queues of an e1000e': [
    'VANITY_E_PORT_DEVICE',
    2,
    (n) => nic(`rx = [${'"c",'.repeat(n)}]`, 'e1000e'),
  ],
  'a ring beside its buffers': [
    'VANITY_E_PORT_RING',
    7,
    (n) => nic(`rx = "c"\nring = ${2 ** n}\nbuffers = 256`),
  ],
  'a moment of polling': ['VANITY_E_VALUE', 1e6, (n) => nic(`rx = "c"\npoll_us_max = ${n}`)],
  burst: [
    'VANITY_E_VALUE',
    limits.burstMax,
    (n) =>
      `${pair}${channel(0)}[shards.c]\nprogram = "sink"\nburst = ${n}\n${channel(1, 'a', 'c')}`,
  ],
  core: ['VANITY_E_VALUE', limits.coreMax, (n) => `${pair}core = ${n}\n${channel(0)}`],
};

for (const [what, [code, limit, make]] of Object.entries(cases)) {
  test(`${what}: ${limit} are possible, ${limit + 1} are not`, (t) => {
    t.deepEqual(codes(make(limit)), []);
    t.deepEqual(codes(make(limit + 1)), [code]);
  });
}

const sizes = {
  capacity: [
    limits.capacityMin,
    limits.capacityMax,
    (n) => pair + channel(0, 'a', 'b', `capacity = ${n}\n`),
  ],
  buffers: [64, limits.poolBuffersMax, (n) => `${counter}${port(0)}buffers = ${n}\n`],
  ring: [limits.ringMin, limits.ringMax, (n) => nic(`rx = "c"\nring = ${n}`)],
};
for (const [what, [min, max, make]] of Object.entries(sizes)) {
  test(`${what}: a power of two from ${min} to ${max}`, (t) => {
    for (const n of [min, min * 2, max]) t.deepEqual(codes(make(n)), [], String(n));
    for (const n of [0, -1, min / 2, min + 1, max - 1, max + 1, max * 2, 2 ** 40]) {
      t.deepEqual(codes(make(n)), ['VANITY_E_VALUE'], String(n));
    }
  });
}

test('mac: the address of one station', (t) => {
  const mac = (value) => nic(`rx = "c"\nmac = ${value}`);
  for (const good of ['00:00:00:00:00:01', '52:54:00:12:34:56', 'FE:ff:ff:ff:ff:fF'])
    for (const driver of ['virtio-net', 'e1000e'])
      t.deepEqual(codes(nic(`rx = "c"\nmac = "${good}"`, driver)), [], good);
  for (const bad of [
    '""',
    '"00:00:00:00:00:00"',
    '"01:00:00:00:00:00"',
    '"33:33:00:00:00:01"',
    '"fF:ff:ff:ff:ff:ff"',
    '"52:54:00:12:34"',
    '"52:54:00:12:34:56:78"',
    '"52:54:0:12:34:56"',
    '"52:54:00:12:34:5g"',
    '"52-54-00-12-34-56"',
    '"525400123456"',
    '" 52:54:00:12:34:56"',
    '"52:54:00:12:34:56\\n"',
    '0x525400123456',
    '["52:54:00:12:34:56"]',
  ]) {
    t.deepEqual(codes(mac(bad)), ['VANITY_E_VALUE'], bad);
  }
  t.deepEqual(codes(`${counter}${port(0)}mac = "52:54:00:12:34:56"\n`), ['VANITY_E_PORT_KEY']);
});

const program = new URL('../fixtures/programs/own.mjs', import.meta.url).pathname;
const own = `${system}[shards.a]\nprogram = "${program}"\n[shards.b]\nprogram = "${program}"\n`;
const multiples = {
  element_bytes: [
    limits.elementBytesMin,
    limits.elementBytesMax,
    8,
    (n) => own + channel(0, 'a', 'b', `carries = "messages"\nelement_bytes = ${n}\n`),
  ],
  buffer_bytes: [
    limits.bufferBytesMin,
    limits.bufferBytesMax,
    64,
    (n) => `${counter}${port(0)}buffer_bytes = ${n}\n`,
  ],
};
for (const [what, [min, max, step, make]] of Object.entries(multiples)) {
  test(`${what}: a multiple of ${step} from ${min} to ${max}`, (t) => {
    for (const n of [min, min + step, max, `"${max / 1024}KiB"`])
      t.deepEqual(codes(make(n)), [], String(n));
    for (const n of [
      0,
      min - step,
      min + 1,
      max + step,
      max - 1,
      '"1"',
      '"64 kb"',
      '"1EiB"',
      '"-8"',
      '""',
    ]) {
      t.deepEqual(codes(make(n)), ['VANITY_E_VALUE'], String(n));
    }
  });
}
