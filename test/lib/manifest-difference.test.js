import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { planCommand } from '../../dist/cli/plan.js';
import { createProgram } from '../../dist/cli/program.js';
import { planChanges } from '../../dist/manifest/difference.js';
import { loadManifestText } from '../../dist/manifest/plan.js';

const folder = mkdtempSync(join(tmpdir(), 'vanity-difference-'));
for (const name of ['a.so', 'b.so', 'in.pcap']) writeFileSync(join(folder, name), '');
test.after.always(() => rmSync(folder, { recursive: true }));

const BASE = `
[system]
name = "base"
oversubscribe = true
[ports.in]
driver = "capture"
file = "in.pcap"
rx = "first"
[shards.first]
program = "flow-split"
[shards.left]
program = "./a.so"
core = 0
[shards.right]
program = "count"
[shards.end]
program = "sink"
[channels.to-left]
from = "first"
to = "left"
[channels.to-right]
from = "first"
to = "right"
[channels.from-left]
from = "left"
to = "end"
[channels.from-right]
from = "right"
to = "end"
`;
const plan = (text) => loadManifestText(join(folder, 'm.toml'), text).plan;
/** What differs, as `part name: action`. */
const differs = (text, from = BASE) =>
  planChanges(plan(from), plan(text))
    .filter(({ action }) => action !== 'keep')
    .map(({ part, name, action }) => `${part} ${name}: ${action}`);
const edit = (...pairs) =>
  pairs.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`no ${from}`);
    return text.replace(from, to);
  }, BASE);

test('the same is kept, whatever its order', (t) => {
  t.deepEqual(differs(BASE), []);
  const parts = BASE.split(/(?=^\[)/m);
  t.deepEqual(differs([parts[0], ...parts.slice(1).reverse()].join('\n')), []);
});

test('another module is a reload, another core a move, all else a restart', (t) => {
  t.deepEqual(differs(edit(['./a.so', './b.so'])), ['shard left: reload']);
  t.deepEqual(differs(edit(['core = 0', 'core = 1'])), ['shard left: move']);
  t.deepEqual(differs(edit(['./a.so', './b.so'], ['core = 0', 'core = 1'])), [
    'shard left: restart',
  ]);
  t.deepEqual(differs(edit(['core = 0', 'core = 0\nburst = 64'])), ['shard left: restart']);
  t.deepEqual(differs(edit(['core = 0', 'core = 0\noptions = { a = 1 }'])), [
    'shard left: restart',
  ]);
  t.deepEqual(differs(edit(['"./a.so"', '"count"'])), ['shard left: restart']);
  t.deepEqual(differs(edit(['"count"', '"./a.so"'])), ['shard right: restart']);
  const crash = ['core = 0', 'core = 0\nwatchdog = { on_fault = "crash" }'];
  t.deepEqual(differs(edit(crash, ['./a.so', './b.so']), edit(crash)), ['shard left: restart']);
});

test('a channel or port that is another one restarts its shards, and nobody else', (t) => {
  t.deepEqual(differs(edit(['to = "left"', 'to = "left"\ncapacity = 64'])), [
    'shard first: restart',
    'shard left: restart',
    'channel to-left: restart',
  ]);
  t.deepEqual(differs(edit(['rx = "first"', 'rx = "first"\nbuffers = 64'])), [
    'shard first: restart',
    'port in: restart',
  ]);
});

test('what is new or gone', (t) => {
  const more = `${BASE}
[shards.more]
program = "sink"
[channels.to-more]
from = "first"
to = "more"
`;
  t.deepEqual(differs(more), ['shard first: restart', 'shard more: add', 'channel to-more: add']);
  t.deepEqual(differs(BASE, more), [
    'shard first: restart',
    'shard more: remove',
    'channel to-more: remove',
  ]);
  const apart = `${BASE}
[shards.a]
program = "generate"
[shards.b]
program = "sink"
[channels.a-b]
from = "a"
to = "b"
`;
  t.deepEqual(differs(apart), ['shard a: add', 'shard b: add', 'channel a-b: add']);
});

test('values are told under the words of the manifest', (t) => {
  const [system, ...rest] = planChanges(
    plan(BASE),
    plan(`${edit(['core = 0', 'core = 0\nsleep_us_max = 7'])}[kernel]\ndrain_ms = 5\n`),
  );
  t.like(system, { action: 'restart', name: 'base' });
  t.deepEqual(system.changed, [{ key: 'kernel.drain_ms', before: '2000', after: '5' }]);
  const left = rest.find(({ name }) => name === 'left');
  t.deepEqual(left.changed, [{ key: 'sleep_us_max', before: '10000', after: '7' }]);
});

function command(text, ...flags) {
  const [before, after] = ['before.toml', 'after.toml'].map((name) => join(folder, name));
  writeFileSync(before, BASE);
  writeFileSync(after, text);
  let out = '';
  const { write } = process.stdout;
  process.stdout.write = (part) => {
    out += part;
    return true;
  };
  try {
    const code = planCommand(before, after, Object.fromEntries(flags.map((flag) => [flag, true])));
    return { code, out };
  } finally {
    process.stdout.write = write;
  }
}

test.serial('the command says it, with an exit code', (t) => {
  t.deepEqual(command(BASE), { code: 0, out: 'nothing to do: all 10 parts are the same\n' });
  const { code, out } = command(edit(['./a.so', './b.so']));
  t.is(code, 3);
  t.is(
    out,
    `action  part   name  for
reload  shard  left  program: ${folder}/a.so -> ${folder}/b.so

While it runs:
  vanity reload base left ${folder}/b.so
`,
  );
  const restart = command(edit(['"count"', '"./a.so"']), 'json');
  t.is(restart.code, 4);
  const { changes, commands, stops } = JSON.parse(restart.out);
  t.is(changes.length, 10);
  t.deepEqual(commands, []);
  t.true(stops);
  t.regex(command(BASE, 'all').out, /^keep {4}channel {2}from-right$/m);
  t.truthy(createProgram(() => {}).commands.find((one) => one.name() === 'plan'));
});
