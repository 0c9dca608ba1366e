import { readdirSync, readFileSync } from 'node:fs';
import test from 'ava';
import { checkCommand } from '../../dist/cli/check.js';
import { builtins } from '../../dist/manifest/builtins.js';
import { coreList } from '../../dist/manifest/cores.js';
import { defineManifest, planManifest } from '../../dist/manifest/define.js';
import { toDot, toSvg } from '../../dist/manifest/graph.js';
import {
  loadManifest,
  loadManifestText,
  ManifestErrors,
  resolveCores,
} from '../../dist/manifest/plan.js';
import { jsonSchema, keysAt } from '../../dist/manifest/schema.js';
import { fillTables } from '../../docs/reference/generate-tables.js';

const path = (name) => new URL(`../fixtures/${name}`, import.meta.url).pathname;
const root = (name) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

// ---- cores ------------------------------------------------------------------------------------

function planOf(cores, { kernel = -1, oversubscribe = false } = {}) {
  const { plan } = loadManifest(path('valid/smallest.toml'));
  const shards = cores.map((core, i) => ({ ...plan.shards[0], name: `s${i}`, core }));
  return { ...plan, shards, oversubscribe, kernelCore: kernel };
}
const coresOf = ({ plan }) => plan.shards.map(({ core }) => core);
const codesOf = (t, run) =>
  t.throws(run, { instanceOf: ManifestErrors }).errors.map(({ code }) => code);

test("auto takes free cores, the kernel's last", (t) => {
  t.deepEqual(coresOf(resolveCores(planOf(['auto', 1, 'auto']), [0, 1, 2, 3])), [0, 1, 2]);
  t.deepEqual(coresOf(resolveCores(planOf(['auto', 'auto'], { kernel: 0 }), [0, 1, 2])), [1, 2]);
  const tight = resolveCores(planOf(['auto', 'auto'], { kernel: 0 }), [0, 1]);
  t.deepEqual(coresOf(tight), [1, 0]);
  t.deepEqual(
    tight.warnings.map(({ code }) => code),
    ['VANITY_W_KERNEL_CORE'],
  );
});

test('more shards than cores is an error, and with oversubscribe a warning', (t) => {
  const error = t.throws(() => resolveCores(planOf(['auto', 'auto', 'auto']), [4, 6]));
  t.is(error.errors[0].code, 'VANITY_E_CORES');
  t.regex(error.errors[0].hint, /oversubscribe/);
  const shared = resolveCores(planOf(['auto', 'auto', 'auto', 4], { oversubscribe: true }), [4, 6]);
  t.deepEqual(coresOf(shared), [6, 4, 6, 4]);
  t.deepEqual(
    shared.warnings.map(({ code }) => code),
    ['VANITY_W_OVERSUBSCRIBED'],
  );
});

test('a core that is not there is an error for everyone who wants it', (t) => {
  t.deepEqual(
    codesOf(t, () => resolveCores(planOf([9, 'auto', 8], { kernel: 7 }), [0, 1])),
    ['VANITY_E_CORE_ABSENT', 'VANITY_E_CORE_ABSENT', 'VANITY_E_CORE_ABSENT'],
  );
  t.deepEqual(
    codesOf(t, () => resolveCores(planOf(['auto']), [])),
    ['VANITY_E_CORES'],
  );
  t.deepEqual(
    codesOf(t, () => resolveCores(planOf(['auto'], { oversubscribe: true }), [])),
    ['VANITY_E_CORES'],
  );
  t.is(coreList([3, 0, 1, 2, 6]), '0-3,6');
});

test("two shards on one core, and the kernel's, are allowed with oversubscribe", (t) => {
  const text = (oversubscribe) =>
    `[system]\nname = "x"\noversubscribe = ${oversubscribe}\n[kernel]\ncore = 1\n[shards]\na = { program = "generate", core = 1 }\nb = { program = "sink", core = 1 }\n[channels]\nab = { from = "a", to = "b" }\n`;
  t.deepEqual(
    codesOf(t, () => loadManifestText('x.toml', text(false))),
    ['VANITY_E_CORE_CLASH', 'VANITY_E_CORE_CLASH'],
  );
  t.notThrows(() => loadManifestText('x.toml', text(true)));
});

// ---- TypeScript -------------------------------------------------------------------------------

test('defineManifest gives a valid object back and refuses another', (t) => {
  const manifest = {
    system: { name: 'typed' },
    shards: { a: { program: 'generate' }, b: { program: 'sink' } },
    channels: { ab: { from: 'a', to: 'b' } },
  };
  t.is(defineManifest(manifest), manifest);
  t.is(planManifest(manifest).plan.channels[0].to, 1);
  const wrong = { ...manifest, channels: { ab: { from: 'a', to: 'c', colour: 1 } } };
  t.deepEqual(
    codesOf(t, () => defineManifest(wrong)),
    ['VANITY_E_SHARD_UNKNOWN', 'VANITY_E_KEY_UNKNOWN'].sort(),
  );
  t.deepEqual(
    codesOf(t, () => defineManifest({})),
    ['VANITY_E_KEY_MISSING', 'VANITY_E_KEY_MISSING'],
  );
});

// ---- graph ------------------------------------------------------------------------------------

const unsafe = { 'a<b>&"c"\\': true };

for (const file of readdirSync(path('valid')).filter((name) => name.endsWith('.toml'))) {
  test(`${file} can be drawn`, (t) => {
    const { plan } = loadManifest(path(`valid/${file}`));
    const dot = toDot(plan);
    const svg = toSvg(plan);
    for (const { name } of plan.shards) {
      t.true(dot.includes(`"shard ${name}"`));
      t.true(svg.includes(`>${name}<`));
    }
    for (const { name } of plan.channels) {
      t.true(dot.includes(name));
      t.true(svg.includes(`>${name} (`));
    }
    t.is(
      svg.split('<rect').length - 2,
      plan.shards.length +
        plan.ports.reduce((n, p) => n + (p.rx.length > 0) + (p.tx.length > 0), 0),
    );
    t.notRegex(svg, /NaN|undefined|Infinity/);
  });
}

test('a drawing escapes what it shows, and cycles can be drawn', (t) => {
  const { plan } = loadManifest(path('valid/smallest.toml'));
  const name = Object.keys(unsafe)[0];
  const odd = {
    ...plan,
    shards: plan.shards.map((shard) => ({ ...shard, program: `/x/${name}` })),
    channels: [...plan.channels, { ...plan.channels[0], name: 'back', from: 1, to: 0 }],
  };
  t.true(toSvg(odd).includes('a&lt;b&gt;&amp;&quot;c&quot;\\'));
  t.true(toDot(odd).includes('a<b>&\\"c\\"\\\\'));
  t.is(toSvg(odd).split('class="edge').length - 1, 2);
});

// ---- vanity check -----------------------------------------------------------------------------

function check(file, options = {}) {
  const out = [];
  const err = [];
  const code = checkCommand(file, {
    ...options,
    out: (text) => out.push(text),
    err: (text) => err.push(text),
  });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

test('check says what a valid manifest declares', (t) => {
  const { code, out, err } = check(path('valid/flow-split.toml'));
  t.is(code, 0);
  t.is(err, '');
  t.regex(out, /ok\. System "flow-split": 4 shards, 3 channels, 1 port; about 16\.1 MiB/);
});

test('check prints every error and exits with 1', (t) => {
  const { code, out, err } = check(path('invalid/key-unknown.toml'));
  t.is(code, 1);
  t.is(out, '');
  t.is(err.split('error[').length - 1, 2);
  t.regex(err, /key-unknown\.toml:11:1/);
  t.regex(err, /2 errors$/);
});

test('check --json is one object, whatever happens', (t) => {
  const good = check(path('valid/flow-split.toml'), { json: true });
  t.deepEqual(JSON.parse(good.out), { ok: true, errors: [], warnings: [], grants: [] });
  const bad = check(path('invalid/core-clash.toml'), { json: true });
  t.is(bad.code, 1);
  const { ok, errors } = JSON.parse(bad.out);
  t.false(ok);
  t.like(errors[0], {
    code: 'VANITY_E_CORE_CLASH',
    line: 10,
    column: 8,
    file: path('invalid/core-clash.toml'),
  });
  t.like(errors[0].related[0], { line: 6, column: 8 });
  t.is(
    JSON.parse(check('/no/such.toml', { json: true }).out).errors[0].code,
    'VANITY_E_MANIFEST_READ',
  );
  t.is(check(path('valid/flow-split.toml'), { json: true, set: ['nonsense'] }).code, 2);
  t.is(
    JSON.parse(check(path('valid/flow-split.toml'), { json: true, graph: 'png' }).out).errors[0]
      .code,
    'VANITY_E_USAGE',
  );
});

test('check --graph draws and --color colours', (t) => {
  t.regex(check(path('valid/flow-split.toml'), { graph: 'dot' }).out, /^digraph "flow-split" \{/);
  t.regex(check(path('valid/flow-split.toml'), { graph: 'svg' }).out, /^<svg [\s\S]*<\/svg>$/);
  t.is(check(path('invalid/core-clash.toml'), { graph: 'svg' }).out, '');
  t.true(check(path('invalid/core-clash.toml'), { color: true }).err.includes('\u001b['));
  t.false(check(path('invalid/core-clash.toml')).err.includes('\u001b['));
});

// ---- documents --------------------------------------------------------------------------------

test('the published JSON Schema is that of the manifest', (t) => {
  t.deepEqual(
    JSON.parse(root('schema/vanity.schema.json')),
    jsonSchema(),
    'run: node schema/generate.js',
  );
});

test('the reference has every key and every built-in with its options', (t) => {
  const text = root('docs/reference/manifest.md');
  t.is(text, fillTables(text), 'run: node docs/reference/generate-tables.js');
  const tables = {
    '[system]': ['system'],
    '[kernel]': ['kernel'],
    '[shards.NAME]': ['shards', 'x'],
    '[channels.NAME]': ['channels', 'x'],
    '[ports.NAME]': ['ports', 'x'],
    '[devices.NAME]': ['devices', 'x'],
    mmio: ['devices', 'x', 'mmio', 0],
    irqs: ['devices', 'x', 'irqs', 0],
    dma: ['devices', 'x', 'dma', 0],
  };
  for (const [heading, where] of Object.entries(tables)) {
    const start = text.indexOf(`\`${heading}\`\n`);
    t.true(start > 0, `no heading for ${heading}`);
    const section = text.slice(start, text.indexOf('\n#', start));
    const keys = keysAt(where);
    t.true(keys.length > 0);
    for (const key of keys)
      t.true(section.includes(`| \`${key}\` |`), `${heading} ${key} is not described`);
  }
  for (const [name, { options }] of builtins) {
    t.true(text.includes(`| \`${name}\` |`), `${name} is not described`);
    for (const option of Object.keys(options))
      t.true(text.includes(`\`${option}\``), `${name} ${option}`);
  }
});
