// The policy costs nothing: claim, commit, peek and release, inlined into their callers, become the
// same instructions as those of a channel without policy, which names its atomics and their orders
// itself. That one is made of the shipping header by replacing names. Prints "N passed, N failed".
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

process.chdir(new URL('../..', import.meta.url).pathname);
const MACHINES = [
  ['x86-64', 'g++', 'objdump'],
  ['aarch64', 'aarch64-linux-gnu-g++', 'aarch64-linux-gnu-objdump'],
  ['riscv64', 'riscv64-linux-gnu-g++', 'riscv64-linux-gnu-objdump'],
];
const USES = `#include "vanity/channel.hpp"
using namespace vanity;
extern "C" {
WritableSlots claim(Producer& producer, uint32_t n) { return producer.claim(n); }
void commit(Producer& producer, uint32_t n) { producer.commit(n); }
ReadableSlots peek(Consumer& consumer, uint32_t n) { return consumer.peek(n); }
void release(Consumer& consumer, uint32_t n) { consumer.release(n); }
}
`;
const FUNCTIONS = ['claim', 'commit', 'peek', 'release'];

/** The header without its parameter. */
function plain(header) {
  return header
    .replaceAll('(*word,', '((*word),')
    .replaceAll(/template <class Policy = Hardware>\n/g, '')
    .replaceAll(/(Basic\w+|ChannelLayout)<(?:Policy)?>/g, '$1')
    .replaceAll('typename Policy::template Atomic<uint32_t>', 'std::atomic<uint32_t>')
    .replaceAll('typename Memory::Word', 'Memory::Word')
    .replaceAll(
      /Policy::template observe<[\w:]+>\(((?:[^()]|\([^()]*\))*)\)/g,
      '$1.load(std::memory_order_acquire)',
    )
    .replaceAll(
      /Policy::template own<[\w:]+>\(((?:[^()]|\([^()]*\))*)\)/g,
      '$1.load(std::memory_order_relaxed)',
    )
    .replaceAll(
      /Policy::template publish<[\w:]+>\(((?:[^(),]|\([^()]*\))*), ((?:[^()]|\([^()]*\))*)\)/g,
      '$1.store($2, std::memory_order_release)',
    )
    .replaceAll(
      /Policy::template mirror<[\w:]+>\(((?:[^(),]|\([^()]*\))*), ((?:[^()]|\([^()]*\))*)\)/g,
      '$1.store($2, std::memory_order_relaxed)',
    )
    .replaceAll(/Policy::(?:write|read)_elements/g, 'detail::copy_elements')
    .replaceAll('Policy::prefetch_write', 'vanity::prefetch_write')
    .replaceAll('Policy::now()', 'now_ticks()')
    .replaceAll('Policy::relax()', 'vanity::relax()');
}

const folder = mkdtempSync(join(tmpdir(), 'vanity-cost-'));
const header = readFileSync('native/include/vanity/channel.hpp', 'utf8');
function instructions(compiler, objdump, text, name) {
  const include = join(folder, name);
  cpSync('native/include', include, { recursive: true });
  writeFileSync(join(include, 'vanity/channel.hpp'), text);
  writeFileSync(join(folder, 'uses.cpp'), USES);
  const object = join(folder, `${name}.o`);
  execFileSync(compiler, [
    '-std=c++20',
    '-O2',
    '-DNDEBUG',
    `-I${include}`,
    '-c',
    join(folder, 'uses.cpp'),
    '-o',
    object,
  ]);
  const all = execFileSync(objdump, ['-d', '--no-show-raw-insn', '--no-addresses', object], {
    encoding: 'utf8',
  });
  // Labels within a function begin with a dot.
  const parts = all.split(/^<([^.>]+)>:\n/m);
  return Object.fromEntries(FUNCTIONS.map((f) => [f, parts[parts.indexOf(f) + 1] ?? '']));
}

let passed = 0;
let failed = 0;
function check(name, good, shown = '') {
  if (good) passed++;
  else failed++;
  console.log(`${good ? 'ok' : 'not ok'} - ${name}`);
  if (!good) console.log(shown);
}
const without = plain(header);
check(
  'no policy is left in the plain channel',
  !/Policy(?! \)| policy|\.$)/.test(without.replaceAll(/\/\/.*/g, '')),
  without.match(/.*Policy.*/g)?.join('\n'),
);
for (const [machine, compiler, objdump] of MACHINES) {
  if (spawnSync('which', [compiler]).status !== 0) {
    console.log(`skipped - ${machine}: no ${compiler}`);
    continue;
  }
  const shipping = instructions(compiler, objdump, header, 'shipping');
  const direct = instructions(compiler, objdump, without, 'direct');
  for (const f of FUNCTIONS) {
    const count = shipping[f].split('\n').length - 1;
    check(
      `${f} on ${machine}: ${count} instructions, the same`,
      count > 5 && shipping[f] === direct[f],
      `${shipping[f]}---\n${direct[f]}`,
    );
  }
  const order = machine === 'x86-64' ? 'seq_cst' : 'relaxed';
  const changed = without.replace(
    '(tail_, std::memory_order_release)',
    `(tail_, std::memory_order_${order})`,
  );
  const other = instructions(compiler, objdump, changed, 'other');
  check(
    `another order would be seen on ${machine}`,
    other.commit !== shipping.commit,
    other.commit,
  );
}
rmSync(folder, { recursive: true });
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
