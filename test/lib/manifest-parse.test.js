import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { parseManifest } from '../../dist/manifest/parse.js';
import {
  loadManifest,
  loadManifestText,
  ManifestErrors,
  memoryOf,
} from '../../dist/manifest/plan.js';
import { errorJson, renderError, warningJson } from '../../dist/manifest/render.js';
import { distance, nearest } from '../../dist/manifest/suggest.js';

const fixtures = new URL('../fixtures/', import.meta.url);
const path = (name) => new URL(name, fixtures).pathname;
const base = readFileSync(path('valid/flow-split.toml'), 'utf8');

function codesOf(load) {
  return (t) => {
    const error = t.throws(load, { instanceOf: ManifestErrors });
    return error.errors.map(({ code }) => code);
  };
}

test.before((t) => {
  t.context.folder = mkdtempSync(join(tmpdir(), 'vanity-manifest-'));
});
test.after.always((t) => rmSync(t.context.folder, { recursive: true, force: true }));

test('every value has its place, whatever way it is written', (t) => {
  const source = parseManifest(
    'm.toml',
    '[shards.a]\nprogram = "sink"\noptions = { x = 1 }\n[[devices.d.mmio]]\nbar = 3\n[shards]\nb.core = 5\n',
  );
  const at = (where, what) => {
    const { line, column } = source.locate(where, what);
    return `${line}:${column}`;
  };
  t.is(at(['shards', 'a', 'program']), '2:11');
  t.is(at(['shards', 'a', 'program'], 'key'), '2:1');
  t.is(at(['shards', 'a', 'options', 'x']), '3:17');
  t.is(at(['devices', 'd', 'mmio', 0, 'bar']), '5:7');
  t.is(at(['shards', 'b', 'core']), '7:10');
  t.is(at(['shards', 'a', 'burst']), '1:2', 'what is absent is at its table');
});

test('a plan has every default filled in and every name an index', (t) => {
  const { plan } = loadManifest(path('valid/flow-split.toml'));
  t.is(plan.kernelCore, -1);
  t.is(plan.stallNs, 1e9);
  t.is(plan.drainNs, 2e9);
  t.is(plan.pages, 'auto');
  t.like(plan.shards[0], {
    name: 'rx',
    programKind: 'builtin',
    core: 'auto',
    wait: 'auto',
    burst: 32,
  });
  t.like(plan.shards[0], { primary: -1, spinNsMax: 50_000, sleepNsMax: 10_000_000, arenaBytes: 0 });
  t.like(plan.shards[3], { strategy: 'primary', primary: 2 });
  t.like(plan.channels[0], { from: 0, to: 1, capacity: 4096, elementBytes: 16, packets: true });
  t.like(plan.channels[0], {
    highWatermark: 3072,
    lowWatermark: 1024,
    layout: 'bulk',
    overflow: 'drop',
  });
  t.like(plan.ports[0], { rx: [0], tx: [], fanout: 'hash', promiscuous: true, buffers: 8192 });
  t.deepEqual(memoryOf(plan), {
    channels: (4096 + 2 * 1024) * 16,
    pools: 8192 * 2048,
    arenas: 0,
    total: (4096 + 2 * 1024) * 16 + 8192 * 2048,
  });
});

test('a plan of every key says what the manifest says', (t) => {
  const { plan } = loadManifest(path('valid/everything.toml'));
  t.like(plan, {
    oversubscribe: true,
    pages: 'transparent',
    kernelCore: 0,
    metrics: '127.0.0.1:9464',
  });
  const own = plan.shards.find(({ name }) => name === 'own');
  t.is(own.programKind, 'typescript');
  t.is(own.program, path('programs/own.mjs'));
  t.deepEqual({ ...own.options }, { text: 'yes', number: '3', truth: 'true' });
  t.is(own.wait, 'futex', '[system] wait is the default');
  t.is(plan.shards[1].arenaBytes, 16 * 2 ** 20);
  t.is(plan.channels[3].elementBytes, 65536);
  t.false(plan.channels[3].packets);
  t.is(plan.ports[0].file, path('invalid/in.pcap'));
  t.is(plan.ports[1].write, path('valid/out.pcapng'));
  t.deepEqual(plan.devices[0].irqs, [{ vector: 0, trigger: 'level', shard: 0, eoi: 'delayed' }]);
  t.deepEqual(plan.devices[0].mmio[1], { bar: 0, offset: 65536, bytes: 100, shard: 2 });
});

test('a NIC is a device with a driver and the port that names it', (t) => {
  const { plan, warnings } = loadManifest(path('valid/nic.toml'));
  t.deepEqual(warnings, []);
  t.like(plan.ports[0], {
    driver: 'device',
    device: 0,
    rx: [0, 1],
    tx: [0, 1],
    ring: 512,
    pollNsMax: 0,
    interrupts: true,
    packed: 'no',
    mac: '02:00:00:aB:Cd:ef',
    overflow: 'block',
  });
  t.like(plan.ports[1], { ring: 256, pollNsMax: 50000, interrupts: false, packed: 'auto' });
  t.is(plan.ports[1].overflow, 'drop');
  t.like(plan.devices[0], { driver: 'virtio-net', backend: 'cdev', address: '', irqs: [] });
  t.like(plan.devices[1], { driver: 'e1000e', backend: 'auto', unsafeNoiommu: true });
  const other = loadManifest(path('valid/everything.toml')).plan.ports[2];
  t.like(other, { device: -1, mac: '', overflow: 'drop' });
});

test('what is odd about devices and stops nothing is a warning', (t) => {
  const line =
    '[devices.l]\npci = "0000:02:00.0"\nirqs = [{ vector = 0, to = "rx", trigger = "level", eoi = "immediate" }]\n';
  const { warnings } = loadManifestText(path('valid/x.toml'), `${base}\n${line}`);
  t.deepEqual(
    warnings.map(({ code }) => code),
    ['VANITY_W_EOI'],
  );
});

test('--set overrides any value, as TOML when it is TOML and as text otherwise', (t) => {
  const set = (...set) => loadManifestText(path('valid/x.toml'), base, { set }).plan;
  t.is(set('shards.rx.core=3').shards[0].core, 3);
  t.is(set('shards.rx.core="auto"').shards[0].core, 'auto');
  t.is(set('shards.rx.wait=spin').shards[0].wait, 'spin');
  t.true(set('system.oversubscribe=true').oversubscribe);
  t.is(set('channels."split-0".capacity=0x800').channels[1].capacity, 2048);
  t.deepEqual(set('ports.in.rx=["rx"]').ports[0].rx, [0]);
  t.is(set('kernel.core=1', 'kernel.core=2').kernelCore, 2, 'the last one counts');
  t.is(set('system.metrics=:9464').metrics, ':9464');
});

test('--set that cannot be followed is a usage error', (t) => {
  for (const argument of ['', '=', 'x', '=3', 'system.name.deeper=3', 'a b=3', 'a.=3']) {
    const error = t.throws(() => loadManifestText('x.toml', base, { set: [argument] }), {
      instanceOf: ManifestErrors,
    });
    t.is(error.errors[0].code, 'VANITY_E_SET', argument);
    t.is(error.exitCode, 2);
  }
});

test('--set is the place of what it gave', (t) => {
  const error = t.throws(() =>
    loadManifestText(path('valid/x.toml'), base, {
      set: ['shards.rx.burst=1000', 'ports.in.file=absent.pcap', 'shards.rx.nonsense=1'],
    }),
  );
  const json = error.errors.map(errorJson);
  t.deepEqual(
    json.map(({ code, file }) => [code, file]),
    [
      ['VANITY_E_VALUE', '--set shards.rx.burst=1000'],
      ['VANITY_E_PORT_KEY', '--set ports.in.file=absent.pcap'],
      ['VANITY_E_KEY_UNKNOWN', '--set shards.rx.nonsense=1'],
    ].sort(
      (a, b) => json.findIndex((j) => j.code === a[0]) - json.findIndex((j) => j.code === b[0]),
    ),
  );
  t.regex(renderError(error.errors[0]), /--> --set /);
});

test('a path of --set starts in the current folder, else beside the manifest', (t) => {
  const { folder } = t.context;
  mkdirSync(join(folder, 'deep'));
  writeFileSync(join(folder, 'deep', 'beside.pcap'), '');
  const text = `[system]\nname = "x"\n[shards.a]\nprogram = "count"\n[ports.in]\ndriver = "capture"\nrx = "a"\nfile = "beside.pcap"\n`;
  const file = (...set) =>
    loadManifestText(join(folder, 'deep', 'v.toml'), text, { set }).plan.ports[0].file;
  t.is(file(), join(folder, 'deep', 'beside.pcap'));
  t.is(file('ports.in.file=beside.pcap'), join(folder, 'deep', 'beside.pcap'));
  t.is(file('ports.in.file=package.json'), resolve('package.json'));
});

test('files that are no manifest are refused', (t) => {
  const { folder } = t.context;
  const write = (name, content) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const codes = (file) => codesOf(() => loadManifest(file))(t);
  t.deepEqual(codes(join(folder, 'absent.toml')), ['VANITY_E_MANIFEST_READ']);
  t.deepEqual(codes(folder), ['VANITY_E_MANIFEST_READ']);
  t.deepEqual(codes(write('manifest.ts', '')), ['VANITY_E_MANIFEST_KIND']);
  const comment = (bytes) => `${base}#${'x'.repeat(bytes - Buffer.byteLength(base) - 1)}`;
  t.notThrows(() => loadManifest(write('at.toml', comment(2 ** 20))));
  t.deepEqual(codes(write('past.toml', comment(2 ** 20 + 1))), ['VANITY_E_MANIFEST_SIZE']);
  t.deepEqual(codes('/dev/full'), ['VANITY_E_MANIFEST_SIZE']);
  t.deepEqual(codes(write('nested.toml', `x = ${'['.repeat(100_000)}`)), ['VANITY_E_TOML']);
  t.deepEqual(codes(write('binary.toml', Buffer.from([0, 255, 254, 10, 13]))), ['VANITY_E_TOML']);
  t.deepEqual(codes(write('empty.toml', '')), ['VANITY_E_KEY_MISSING', 'VANITY_E_KEY_MISSING']);
});

test('carriage returns and a byte-order mark do no harm', (t) => {
  t.is(
    loadManifestText(path('valid/x.toml'), `\uFEFF${base.replaceAll('\n', '\r\n')}`).plan.shards
      .length,
    4,
  );
});

test('every error is found at once', (t) => {
  const text = `[system]\nname = "Bad"\n[shards.a]\nprogram = "snik"\nburst = 0\n[shards.b]\nprogram = "sink"\ncolour = 1\n[channels.c]\nfrom = "x"\nto = "b"\ncapacity = 3\n`;
  t.deepEqual(codesOf(() => loadManifestText('x.toml', text))(t), [
    'VANITY_E_NAME',
    'VANITY_E_PROGRAM_UNKNOWN',
    'VANITY_E_VALUE',
    'VANITY_E_KEY_UNKNOWN',
    'VANITY_E_SHARD_UNKNOWN',
    'VANITY_E_VALUE',
  ]);
});

test('warnings have a code, a hint and a place', (t) => {
  const { warnings } = loadManifest(path('valid/everything.toml'));
  t.deepEqual(
    warnings.map(({ code }) => code),
    ['VANITY_W_FIFO_SHARED'],
  );
  t.is(warningJson(warnings[0]).line, 26);
  const alone = `[system]\nname = "x"\n[shards.a]\nprogram = "${path('programs/own.mjs')}"\n`;
  t.is(loadManifestText('x.toml', alone).warnings[0].code, 'VANITY_W_SHARD_ALONE');
  const two = `[system]\nname = "x"\n[shards]\na.program = "generate"\nb.program = "count"\nc.program = "sink"\nd.program = "sink"\n[channels]\nab = { from = "a", to = "b" }\nbc = { from = "b", to = "c" }\nbd = { from = "b", to = "d" }\n`;
  t.is(loadManifestText('x.toml', two).warnings[0].code, 'VANITY_W_OUTPUT_UNUSED');
});

test('did you mean: distance counts swaps as one, and far words are not meant', (t) => {
  t.is(distance('burst', 'bust'), 1);
  t.is(distance('form', 'from'), 1);
  t.is(distance('', 'abc'), 3);
  t.is(nearest('CORE', ['core', 'fifo']), 'core');
  t.is(nearest('colour', ['core', 'fifo']), undefined);
  t.is(nearest('x', ['y']), undefined);
});

// ---- nothing crashes --------------------------------------------------------------------------

const valid = ['flow-split', 'everything', 'smallest', 'two-ports'].map((name) =>
  readFileSync(path(`valid/${name}.toml`), 'utf8'),
);
const junk = [
  '"',
  "'",
  '[',
  ']',
  '{',
  '}',
  '=',
  '.',
  '\n',
  '#',
  '-1',
  '1e400',
  'nan',
  '\0',
  '\u{1F600}',
  '__proto__',
  'constructor',
  'true',
  '1979-05-27',
  '99999999999999999999',
  '""',
  '[[shards]]',
  ',',
  '\\u0000',
];

function survives(t, load) {
  try {
    load();
  } catch (error) {
    if (!(error instanceof ManifestErrors)) throw error;
    t.true(error.errors.length > 0);
    for (const one of error.errors) {
      renderError(one);
      errorJson(one);
    }
  }
}

test('a manifest with random damage gives errors, never a crash', (t) => {
  const edit = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.nat(40),
    put: fc.oneof(fc.constantFrom(...junk), fc.string({ maxLength: 8 })),
  });
  const property = fc.property(
    fc.constantFrom(...valid),
    fc.array(edit, { minLength: 1, maxLength: 6 }),
    (text, edits) => {
      let damaged = text;
      for (const { at, cut, put } of edits) {
        const index = Math.floor(at * damaged.length);
        damaged = damaged.slice(0, index) + put + damaged.slice(index + cut);
      }
      survives(t, () => loadManifestText(path('valid/x.toml'), damaged));
    },
  );
  fc.assert(property, { numRuns: 1500 });
});

test('a manifest with any value in the place of another gives errors, never a crash', (t) => {
  const keys = [
    ...new Set(
      valid.flatMap((text) =>
        [...text.matchAll(/^\[([\w.-]+)\]|^([\w-]+) =/gm)].map((m) => m[1] ?? m[2]),
      ),
    ),
  ];
  const value = fc.oneof(
    fc.constantFrom(
      '1',
      '-1',
      '0.5',
      'nan',
      'true',
      '""',
      '"x"',
      '[]',
      '{}',
      '[{}]',
      '1979-05-27',
      '{ a = 1 }',
      '[[1]]',
    ),
    fc.string({ maxLength: 12 }),
  );
  const argument = fc
    .tuple(
      fc.array(fc.constantFrom(...keys, '0', '__proto__', 'constructor'), {
        minLength: 1,
        maxLength: 4,
      }),
      value,
    )
    .map(([parts, text]) => `${parts.join('.')}=${text}`);
  const property = fc.property(
    fc.constantFrom(...valid),
    fc.array(argument, { minLength: 1, maxLength: 4 }),
    (text, set) => {
      survives(t, () => loadManifestText(path('valid/x.toml'), text, { set }));
    },
  );
  fc.assert(property, { numRuns: 1500 });
  t.is({}.polluted, undefined);
});
