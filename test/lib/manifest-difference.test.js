import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { planCommand } from '../../dist/cli/plan.js';
import { createProgram } from '../../dist/cli/program.js';
import { planChanges } from '../../dist/manifest/difference.js';
import { loadManifestText } from '../../dist/manifest/plan.js';
import { refusals } from '../../dist/manifest/refusals.js';
import {
  decodeManifest,
  encodeManifest,
  firstManifest,
  withShard,
} from '../../dist/manifest/running.js';

const folder = mkdtempSync(join(tmpdir(), 'vanity-difference-'));
for (const name of ['a.so', 'b.so', 'a.js', 'a.ts', 'b.ts', 'in.pcap'])
  writeFileSync(join(folder, name), '');
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

/** A shard in the middle that is made anew, with its channels and who else has an end of them. */
const anew = (name) => [
  'shard first: set',
  `shard ${name}: restart`,
  'shard end: set',
  `channel to-${name}: restart`,
  `channel from-${name}: restart`,
];

test('the same is kept, whatever its order', (t) => {
  t.deepEqual(differs(BASE), []);
  const parts = BASE.split(/(?=^\[)/m);
  t.deepEqual(differs([parts[0], ...parts.slice(1).reverse()].join('\n')), []);
});

test('another module is a reload, another core a move along with it or alone, all else a restart', (t) => {
  t.deepEqual(differs(edit(['./a.so', './b.so'])), ['shard left: reload']);
  t.deepEqual(differs(edit(['core = 0', 'core = 1'])), ['shard left: move']);
  t.deepEqual(differs(edit(['./a.so', './b.so'], ['core = 0', 'core = 1'])), [
    'shard left: reload',
  ]);
  t.deepEqual(differs(edit(['core = 0', 'core = 0\nburst = 64'])), anew('left'));
  t.deepEqual(differs(edit(['core = 0', 'core = 0\noptions = { a = 1 }'])), ['shard left: reload']);
  t.deepEqual(differs(edit(['core = 0', 'core = 0\noptions = { buffers = 64 }'])), anew('left'));
  t.deepEqual(differs(edit(['"./a.so"', '"count"'])), anew('left'));
  t.deepEqual(differs(edit(['"count"', '"./a.so"'])), anew('right'));
  const crash = ['core = 0', 'core = 0\nwatchdog = { on_fault = "crash" }'];
  t.deepEqual(differs(edit(crash, ['./a.so', './b.so']), edit(crash)), anew('left'));
  const script = edit(['./a.so', './a.js']);
  t.deepEqual(differs(edit(['./a.so', './b.ts']), script), ['shard left: reload']);
  t.deepEqual(differs(script), anew('left'), 'from one kind to the other');
});

test('a built-in stage is another one in its place, but for who makes packets', (t) => {
  t.deepEqual(differs(edit(['"count"', '"forward"'])), ['shard right: set']);
  const core = ['"count"', '"count"\ncore = 1'];
  t.deepEqual(differs(edit(core)), ['shard right: move']);
  t.deepEqual(differs(edit(['"count"', '"forward"\ncore = 1'])), ['shard right: set']);
  const filter = (expression) =>
    edit(['"count"', `"filter"\noptions = { expression = "${expression}" }`]);
  t.deepEqual(differs(filter('tcp'), filter('udp')), ['shard right: set']);
  const source = (rate) => `
[system]
name = "base"
oversubscribe = true
[shards.a]
program = "generate"
options = { rate = ${rate} }
[shards.b]
program = "sink"
[channels.a-b]
from = "a"
to = "b"
`;
  t.deepEqual(differs(source(1), source(2)), [
    'shard a: restart',
    'shard b: set',
    'channel a-b: restart',
  ]);
});

test('figures are set in place, alone or along with a program', (t) => {
  const watchdog = (text) => ['core = 0', `core = 0\nwatchdog = { ${text} }`];
  t.deepEqual(differs(edit(watchdog('progress_ms = 9, on_fault = "hold"'))), ['shard left: set']);
  t.deepEqual(differs(edit(watchdog('starve_ms = 9'), ['./a.so', './b.so'])), [
    'shard left: reload',
  ]);
  // Whether faults are contained is no figure.
  t.deepEqual(differs(edit(watchdog('on_fault = "crash"'))), anew('left'));
  t.deepEqual(differs(BASE, edit(watchdog('on_fault = "crash"'))), anew('left'));
  const kernel = (text) => `${BASE}[kernel]\n${text}\n`;
  t.deepEqual(differs(kernel('drain_ms = 9\nstall_ms = 9')), ['system base: set']);
  t.deepEqual(differs(kernel('drain_ms = 9\ncore = 1')), ['system base: restart']);
});

test('what a running system cannot do is told at its line, and nothing else', (t) => {
  const after = edit(
    ['./a.so', './b.so'],
    [
      'core = 0',
      'core = 0\nburst = 64\nisolation = "process"\nwatchdog = { on_fault = "hold", progress_ms = 9 }',
    ],
    ['rx = "first"', 'rx = "first"\nbuffers = 64'],
  )
    .replace('[shards.right]\nprogram = "count"\n', '')
    .replace(/\[channels\.(to|from)-right\]\n.*\n.*\n/g, '');
  const changes = planChanges(plan(BASE), plan(after));
  const [before, next] = [BASE, after].map((text, i) => ({
    plan: plan(text),
    file: `${'ab'[i]}.toml`,
    text,
  }));
  const line = (text, of) => of.split('\n').indexOf(text) + 1;
  t.deepEqual(
    refusals(changes, before, next).map(({ message, location }) => [
      message,
      location.file,
      location.line,
    ]),
    [
      [
        'shard "left": a running system cannot change burst from 32 to 64 of a process of its own',
        'b.toml',
        line('burst = 64', after),
      ],
      [
        'shard "left": a running system cannot change isolation from thread to process',
        'b.toml',
        line('isolation = "process"', after),
      ],
      [
        'port "in": a running system cannot change buffers from 8192 to 64',
        'b.toml',
        line('buffers = 64', after),
      ],
    ].map(([message, ...rest]) => [message.replaceAll('FOLDER', folder), ...rest]),
  );
  // Without a text there are no lines.
  const blind = refusals(changes, { ...before, text: '' }, { ...next, text: '' });
  t.deepEqual(
    blind.map(({ location }) => location),
    Array(3).fill(undefined),
  );
});

test('a manifest is kept in ASCII, and comes back as it was', (t) => {
  const first = firstManifest(plan(BASE), 'in \u00fcber.toml', '# \u0085 \u{1f600}\n');
  const text = encodeManifest(first);
  t.regex(text, /^[\x20-\x7e]+$/);
  t.deepEqual(decodeManifest(text), first);
  const other = withShard(first, 'left', { options: { a: '1' } });
  t.deepEqual(
    planChanges(first.plan, other.plan).filter(({ action }) => action !== 'keep').length,
    1,
  );
  for (const wrong of ['', '{', '{}', '{"plan":{"shards":[]}}', 'null']) {
    t.throws(() => decodeManifest(wrong), { code: 'VANITY_E_SEGMENT_INVALID' });
  }
});

test('a channel or port that is another one is made anew, and with it whoever cannot change its own', (t) => {
  const narrow = ['to = "left"', 'to = "left"\ncapacity = 64'];
  t.deepEqual(differs(edit(narrow)), [
    'shard first: set',
    'shard left: reload',
    'channel to-left: restart',
  ]);
  const script = (text) => text.replace('./a.so', './a.ts');
  t.deepEqual(differs(script(edit(narrow)), script(BASE)), anew('left'));
  const changes = planChanges(plan(script(BASE)), plan(script(edit(narrow))));
  const because = (of) => changes.find(({ name }) => name === of).because;
  t.deepEqual(because('left'), [
    'channel to-left is another one',
    'channel from-left is another one',
  ]);
  t.deepEqual(because('to-left'), []);
  t.deepEqual(because('from-left'), ['shard left is made anew']);
  t.deepEqual(because('end'), ['channel from-left is another one']);
  t.deepEqual(differs(edit(['rx = "first"', 'rx = "first"\nbuffers = 64'])), [
    'shard first: restart',
    'shard left: reload',
    'shard right: set',
    'channel to-left: restart',
    'channel to-right: restart',
    'port in: restart',
  ]);
});

test('what has a port, a device, a key or a process is not made anew, nor what its packets are seen by', (t) => {
  const said = (...texts) => {
    const [before, after] = texts.map((text) => ({ plan: plan(text), file: 'm.toml', text }));
    return refusals(planChanges(before.plan, after.plan), before, after).map(
      ({ message }) => message,
    );
  };
  const slow = (text) => text.replace('"flow-split"', '"flow-split"\nsleep_us_max = 7');
  t.deepEqual(said(BASE, slow(BASE)), [
    'shard "first": a running system cannot change sleep_us_max from 10000 to 7 of a shard that has port "in"',
  ]);
  t.deepEqual(said(BASE, edit(['core = 0', 'burst = 64'])), []);
  // A TypeScript program cannot change its channels, and one that has a port cannot be made anew.
  const script = BASE.replace('"flow-split"', '"./a.ts"');
  t.deepEqual(said(script, script.replace('to = "left"', 'to = "left"\ncapacity = 64')), [
    'shard "first": channel to-left is another one, channel to-right is another one, and it cannot be made anew while it has port "in"',
  ]);
  const process = (text) => text.replace('core = 0', 'isolation = "process"');
  t.deepEqual(
    said(process(BASE), process(BASE).replace('from = "left"', 'from = "left"\ncapacity = 64')),
    [
      'channel "from-left": a running system cannot change capacity from 1024 to 64 of one at a process of its own',
    ],
  );
  t.deepEqual(said(process(BASE), process(BASE).replace('"sink"', '"sink"\nburst = 64')), [
    'channel "from-left": shard end is made anew, and shard "left" is a process of its own, whose channels are those it began with',
  ]);
  const made = (rate, kind) => `
[system]
name = "base"
oversubscribe = true
[shards.a]
program = "generate"
options = { rate = ${rate} }
[shards.b]
program = "${kind}"
[channels.a-b]
from = "a"
to = "b"
`;
  t.deepEqual(said(made(1, 'sink'), made(2, 'sink')), []);
  t.deepEqual(said(made(1, './a.ts'), made(2, './a.ts')), [
    'shard "a": a running system cannot change options.rate from 1 to 2 of a shard whose packets come to TypeScript in shard "b"',
  ]);
});

test('a port comes and goes with all of its shards', (t) => {
  const said = (...texts) => {
    const [before, after] = texts.map((text) => ({ plan: plan(text), file: 'm.toml', text }));
    return refusals(planChanges(before.plan, after.plan), before, after).map(
      ({ message }) => message,
    );
  };
  const shard = '\n[shards.more]\nprogram = "forward"\n';
  const port = (lines) => `[ports.out]\n${lines.join('\n')}\n`;
  const file = ['driver = "capture"', 'write = "out.pcap"'];
  const more = `${BASE}${shard}${port([...file, 'tx = "more"'])}[channels.more]
from = "first"
to = "more"
`;
  t.true(differs(more, BASE).includes('port out: add'));
  t.true(differs(BASE, more).includes('port out: remove'));
  t.deepEqual(said(BASE, more), []);
  t.deepEqual(said(more, BASE), []);
  // One that is there begins and ends with its ports.
  const at = (name) => `${BASE}${port([...file, `tx = "${name}"`])}`;
  t.deepEqual(said(BASE, at('first')), [
    'port "out": it is new, and the ports of shard "first" are those it began with',
  ]);
  t.deepEqual(said(at('first'), BASE), [
    'port "out": it is not there any more, and the ports of shard "first" are those it began with',
  ]);
  // What comes is there before what goes has gone.
  const other = more.replace('[ports.out]', '[ports.other]').replaceAll('more', 'less');
  t.deepEqual(said(more, other), [
    'port "other": it is new, and port "out", which goes, has its file: apply a manifest without either before',
  ]);
  t.deepEqual(said(more, other.replace('"out.pcap"', '"less.pcap"')), []);
  const wire = (text, name) =>
    text.replace(
      'driver = "capture"\nwrite = "out.pcap"',
      `driver = "af_packet"\ninterface = "${name}"`,
    );
  t.deepEqual(said(wire(more, 'lo'), wire(other, 'lo')), [
    'port "other": it is new, and port "out", which goes, has its interface: apply a manifest without either before',
  ]);
  const socket = more.replace(
    'driver = "capture"\nwrite = "out.pcap"\ntx = "more"',
    'driver = "vhost-user"\nsocket = "s"\nrx = "more"\ntx = "more"',
  );
  t.deepEqual(said(BASE, socket), [
    'port "out": it is new, and a port of a socket begins with the system',
  ]);
  t.deepEqual(said(socket, BASE), [
    'port "out": it is not there any more, and a port of a socket ends with the system',
  ]);
  // Its packets come to a TypeScript program that stays, and knows its buffers.
  const script = BASE.replace('"count"', '"./a.ts"');
  const source = `${script}${shard}[channels.more]
from = "more"
to = "right"
${port(['driver = "capture"', 'file = "in.pcap"', 'rx = "more"'])}`;
  t.regex(
    said(script, source).join('; '),
    /shard "more": it is new, and its packets come to shard "right", whose TypeScript program sees the buffers that it began with/,
  );
});

test('what is new or gone', (t) => {
  const more = `${BASE}
[shards.more]
program = "sink"
[channels.to-more]
from = "first"
to = "more"
`;
  // A built-in stage sends to another one as well, at once; a module looks for its channels in init.
  t.deepEqual(differs(more), ['shard first: set', 'shard more: add', 'channel to-more: add']);
  t.deepEqual(differs(BASE, more), [
    'shard first: set',
    'shard more: remove',
    'channel to-more: remove',
  ]);
  const behind = more.replace('from = "first"\nto = "more"', 'from = "left"\nto = "more"');
  t.deepEqual(differs(behind)[0], 'shard left: reload');
  const moved = behind.replace('core = 0', 'core = 1');
  t.true(differs(moved).includes('shard left: reload'));
  const crashing = (text) => text.replace('core = 0', 'watchdog = { on_fault = "crash" }');
  t.true(differs(crashing(behind), crashing(BASE)).includes('shard left: restart'));
  // One that begins with the system keeps its channels.
  const script = (text) => text.replace('./a.so', './a.ts');
  t.true(differs(script(behind), script(BASE)).includes('shard left: restart'));
  const process = (text) => text.replace('core = 0', 'core = 0\nisolation = "process"');
  const said = (...texts) => {
    const [before, after] = texts.map((text) => ({ plan: plan(text), file: 'm.toml', text }));
    return refusals(planChanges(before.plan, after.plan), before, after).map(
      ({ message }) => message,
    );
  };
  t.true(differs(process(behind), process(BASE)).includes('shard left: restart'));
  t.deepEqual(said(process(BASE), process(behind)), [
    'channel "to-more": it is new, and shard "left" is a process of its own, whose channels are those it began with',
  ]);
  t.deepEqual(said(process(behind), process(BASE)), [
    'channel "to-more": it is not there any more, and shard "left" is a process of its own, whose channels are those it began with',
  ]);
  t.deepEqual(said(process(BASE), process(more)), []);
  const comes = more.replace('program = "sink"\n[channels.to-more]', (text) =>
    text.replace('\n', '\nisolation = "process"\n'),
  );
  t.deepEqual(said(BASE, comes), [
    'shard "more": it is new, and a process of its own begins with the system',
    'channel "to-more": it is new, and shard "more" is a process of its own, whose channels are those it began with',
  ]);
  t.regex(said(comes, BASE)[0], /a process of its own ends with the system$/);
  t.deepEqual(said(BASE, process(BASE)).length, 1);
  t.regex(
    said(process(BASE), process(BASE).replace('a.so', 'b.so'))[0],
    /of a process of its own$/,
  );
  const keyed = (text) => text.replace('core = 0', 'core = 0\nisolation = "pkey"');
  t.deepEqual(said(keyed(BASE), keyed(behind)), [
    'channel "to-more": it is new, and shard "left" is a program confined by a key, whose channels are those it began with',
  ]);
  t.regex(
    said(keyed(BASE), keyed(BASE).replace('core = 0', 'core = 0\nsleep_us_max = 7'))[0],
    /of a program confined by a key$/,
  );
  t.deepEqual(said(keyed(BASE), keyed(BASE).replace('a.so', 'b.so')), []);
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
  // JavaScript comes and goes as others do, but sees no buffers that come later.
  const scripts = more.replace('"sink"\n[channels.to-more]', '"./a.ts"\n[channels.to-more]');
  t.deepEqual(said(BASE, scripts), []);
  t.deepEqual(said(scripts, BASE), []);
  const maker = (text) => `${text}
[shards.maker]
program = "generate"
[channels.made]
from = "maker"
to = "first"
`;
  const who =
    'and its packets come to shard "more", whose TypeScript program sees the buffers that it began with';
  t.deepEqual(said(scripts, maker(scripts)), [`shard "maker": it is new, ${who}`]);
  t.deepEqual(said(maker(scripts), scripts), [`shard "maker": it is not there any more, ${who}`]);
  t.deepEqual(said(BASE, maker(scripts)), []);
});

test('values are told under the words of the manifest', (t) => {
  const [system, ...rest] = planChanges(
    plan(BASE),
    plan(`${edit(['core = 0', 'core = 0\nsleep_us_max = 7'])}[kernel]\ndrain_ms = 5\n`),
  );
  t.like(system, { action: 'set', name: 'base' });
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
  vanity apply base ${folder}/after.toml
`,
  );
  const restart = command(edit(['"count"', '"./a.so"']), 'json');
  t.is(restart.code, 4);
  const { changes, commands, stops } = JSON.parse(restart.out);
  t.is(changes.length, 10);
  t.deepEqual(commands, [`vanity apply base ${folder}/after.toml`]);
  t.true(stops);
  t.regex(command(BASE, 'all').out, /^keep {4}channel {2}from-right$/m);
  t.truthy(createProgram(() => {}).commands.find((one) => one.name() === 'plan'));
});
