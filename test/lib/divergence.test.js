// Where two logs part, whose doing it is, and what a module calls that may be the reason.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { divergence } from '../../dist/planning/divergence.js';
import { unsteadyCalls } from '../../dist/planning/imports.js';

const log = (...lines) => `${lines.join('\n')}\n`;
const SAME = ['schedule 4', '0 a begins', '10 b begins', '20 a in.tail = 1 (release)'];

test('logs that are the same have no difference', (t) => {
  t.is(divergence(log(...SAME), log(...SAME), ['a', 'b']), undefined);
});

test('the shard whose next step is another one is named, not who comes first in the log', (t) => {
  // Both were about to take a step; b takes the same one in both, but a does not.
  const found = divergence(
    log(...SAME, '30 b out.head is 3 (acquire)', '40 a in.tail = 2 (release)'),
    log(...SAME, '30 a in.head is 7 (acquire)', '40 b out.head is 4 (acquire)'),
    ['a', 'b'],
  );
  t.like(found, { schedule: 4, step: 4, shards: ['a'] });
  t.deepEqual(found.lines, ['30 b out.head is 3 (acquire)', '30 a in.head is 7 (acquire)']);
});

test('steps of another schedule say nothing', (t) => {
  const rest = ['schedule 5', '0 b writes +8: 1'];
  const found = divergence(
    log(...SAME, 'a received 3', ...rest),
    log(...SAME, 'a received 4', ...rest),
    ['a', 'b'],
  );
  t.like(found, { schedule: 4, step: 4, shards: ['a'] });
});

test('a value of its own that differs is its doing; of what ships, nobody is accused alone', (t) => {
  const parts = (line) => log(...SAME, `30 ${line}`);
  const own = divergence(parts('b writes +8: 1'), parts('b writes +8: 2'), ['a', 'b']);
  t.deepEqual(own.shards, ['b']);
  const other = divergence(parts('kernel now'), parts('kernel then'), ['a', 'b']);
  t.deepEqual(other.shards, ['a', 'b']);
});

test('one log that ends early differs there', (t) => {
  const found = divergence(log(...SAME, '30 b ends'), log(...SAME), ['b']);
  t.deepEqual(found.lines, ['30 b ends', '']);
});

test('reads what a shared object calls, and takes no other file for one', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-imports-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const source = join(folder, 'calls.c');
  writeFileSync(
    source,
    '#include <stdlib.h>\n#include <time.h>\nlong get(void) { return rand() + time(NULL); }\nlong clock(void) { return labs(1); }\n',
  );
  const file = join(folder, 'calls.so');
  const made = spawnSync('cc', ['-w', '-fno-builtin', '-shared', '-fPIC', source, '-o', file]);
  t.is(made.status, 0, String(made.stderr));
  t.deepEqual(unsteadyCalls(file), ['rand', 'time']);
  t.deepEqual(unsteadyCalls(source), []);
});
