// What is in channels: of a system that is held, stopped, busy, dumped, or gone.
import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { generator, workspace } from './helpers.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
/** May this user read the memory of processes that are not its children? */
const readable = (() => {
  if (process.getuid() === 0) return true;
  try {
    return readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8').trim() === '0';
  } catch {
    return true; // there is no such rule
  }
})();
const run = readable ? test.serial : test.serial.skip;

const channels = async (t, at, ...args) => {
  const { code, stdout, stderr } = await at.run('channels', ...args, '--json');
  t.is(code, 0, stderr);
  return Object.fromEntries(JSON.parse(stdout).channels.map((one) => [one.channel, one]));
};
/** Where the frames of the generator say which flow they are: consecutive packets have consecutive ones. */
const flow = ({ packet }) => Number.parseInt(packet.bytes.slice(68, 72), 16);
const FRAME = '020000000002020000000001080045';
const FLOWS = 64;

function checkPackets(t, { elements, depth, leftOut, movedOn }) {
  t.is(depth, elements.length + leftOut + movedOn);
  for (const [i, element] of elements.entries()) {
    t.like(element.packet, { length: 64, offset: 80, flags: 0 });
    t.true(element.packet.bytes.startsWith(FRAME), element.packet.bytes);
    t.is(element.packet.bytes.length, 2 * 64);
    if (i === 0) continue;
    t.is(element.position, (elements[i - 1].position + 1) % 2 ** 32);
    t.is((flow(element) - flow(elements[i - 1]) + FLOWS) % FLOWS, 1);
  }
}

test.serial(
  'what waits for a shard that is held is read, dumped, and gone with the process',
  async (t) => {
    const at = workspace(t);
    const text = generator({ name: 'wait', options: 'rate = 500' }).replace(
      'from = "middle"',
      'layout = "latency"\nfrom = "middle"',
    );
    const system = at.start('run', at.file('wait.toml', text), '--quiet');
    await sleep(1500);
    t.is((await at.run('hold', 'wait', 'end')).code, 0);
    await sleep(300);
    t.is((await at.run('hold', 'wait', 'middle')).code, 0);
    await sleep(300);
    t.is((await at.run('hold', 'wait', 'source')).code, 0);
    const live = await channels(t, at, 'wait');
    t.deepEqual(Object.keys(live), ['first', 'second']);
    for (const one of Object.values(live)) {
      t.true(one.depth > 100, `${one.channel}: ${one.depth}`);
      t.is(one.elements.length, 64);
      t.is(one.movedOn, 0);
      checkPackets(t, one);
    }
    t.like(live.first, { from: 'source', to: 'middle', packets: true, elementBytes: 16 });
    // The oldest first: what the counters say was taken last comes before it.
    const stats = JSON.parse((await at.run('stats', 'wait', '--json')).stdout);
    t.is(live.second.elements[0].position, stats.channels.second.received);
    t.is(live.second.depth, stats.channels.second.sent - stats.channels.second.received);

    // Also of a process that does not run, by somebody whom it does not know.
    system.kill('SIGSTOP');
    const tar = join(at.path, 'wait.tar');
    const dumped = await at.run('dump', 'wait', '--out', tar, '--contents', '100', '--json');
    t.is(JSON.parse(dumped.stdout).elements, 200);
    system.kill('SIGCONT');
    const kept = await channels(t, at, tar, '--contents', '64');
    t.deepEqual(kept, live);
    t.is((await channels(t, at, tar)).first.elements.length, 64);
    t.is((await channels(t, at, tar, '--contents', '1000', 'first')).first.elements.length, 100);
    const shown = await at.run('channels', tar, 'second', '--contents', '2');
    t.regex(
      shown.stdout,
      /^second {2}middle > end: \d+ of 1,024; \d+ more\n +\d+ {2}64 bytes in buffer 0:\d+: 02 00 00/,
    );
    t.is((await at.run('stats', tar)).code, 0);
    const unknown = await at.run('channels', 'wait', 'thrid');
    t.regex(unknown.stderr, /VANITY_E_CHANNEL_NONE.*thrid[\s\S]*first, second/);

    // Somebody who may read the segment, and no memory.
    if (process.getuid() === 0) {
      chmodSync(at.path, 0o755);
      const other = spawnSync(
        'setpriv',
        ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, MAIN].concat(
          'channels',
          join(at.path, 'runtime/wait.segment'),
        ),
        { encoding: 'utf8' },
      );
      t.is(other.status, 1);
      t.regex(other.stderr, /VANITY_E_CONTENTS.*you may not read the memory of process \d+/);
    }
    system.kill('SIGKILL');
    await system.ended;
    const gone = await at.run('channels', 'wait');
    t.is(gone.code, 1);
    t.regex(gone.stderr, /VANITY_E_CONTENTS.*is gone, and with it the memory of its shards/);
    const dead = join(at.path, 'dead.tar');
    const { code, stdout, stderr } = await at.run('dump', '--out', dead);
    t.is(code, 0, stderr);
    t.regex(stdout, /dead\.tar: wait left by process/);
    t.regex(stderr, /without what is in channels: process \d+ is gone/);
    t.regex(
      (await at.run('channels', dead)).stderr,
      /VANITY_E_CONTENTS.*not in the archive: .*gone/,
    );
  },
);

for (const layout of ['bulk', 'latency']) {
  run(`a busy channel is copied without halves, layout ${layout}`, async (t) => {
    const at = workspace(t);
    const program = (name) =>
      fileURLToPath(new URL(`../fixtures/programs/${name}`, import.meta.url));
    // Each message is its own number, so one of another lap is seen.
    const text = `
[system]
name = "busy"
oversubscribe = true
[shards.writer]
program = "${program('number-writer.js')}"
options = { count = 1000000000000 }
[shards.reader]
program = "${program('number-reader.ts')}"
[channels.numbers]
from = "writer"
to = "reader"
carries = "messages"
element_bytes = 24
capacity = 16
layout = "${layout}"
`;
    const system = at.start('run', at.file('busy.toml', text), '--quiet');
    await sleep(2000);
    let seen = 0;
    let moved = 0;
    // It may be empty when it is looked at.
    for (let i = 0; i < 5 || (seen === 0 && i < 50); i++) {
      const { numbers } = await channels(t, at, 'busy', '--contents', '256');
      for (const { position, data } of numbers.elements) {
        const number = Buffer.from(data, 'hex').readDoubleLE(0);
        t.is(number % 2 ** 32, position);
      }
      seen += numbers.elements.length;
      moved += numbers.movedOn;
    }
    t.true(seen > 0, `${seen} seen, ${moved} moved on`);
    system.kill('SIGINT');
    t.is((await system.ended).code, 0);
  });
}
