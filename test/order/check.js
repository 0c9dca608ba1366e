// docs/design/memory-order.md against the sources and the compilers. Prints "N passed, N failed".
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { barriersOf, functionsOf, hasCompiler, matches, occurrences } from './assembly.js';
import { allOperations, operations } from './sources.js';
import { DOCUMENT, MACHINES, readTable } from './table.js';

process.chdir(new URL('../..', import.meta.url).pathname);
let passed = 0;
let failed = 0;
function report(name, complaints) {
  if (complaints.length === 0) passed++;
  else failed++;
  console.log(`${complaints.length === 0 ? 'ok' : 'not ok'} - ${name}`);
  for (const complaint of complaints) console.log(`  ${complaint}`);
}

const table = readTable();
const INSTANCES = 'test/order/instances.cpp';

// ---- the sources ---------------------------------------------------------------------------------

// Through these every edge of a channel goes; their callers have the rows.
const isPrimitive = ({ file }) => file === 'atomic.hpp';
const at = ({ file, function: name }) => `${file} ${name}`;

function withoutRow(rows, found) {
  const named = new Set(
    rows.flatMap(({ sides }) => sides.flat()).map((f) => `${f.file} ${f.name}`),
  );
  return found
    .filter((operation) => !isPrimitive(operation) && !named.has(at(operation)))
    .map((operation) => `${at(operation)}, line ${operation.line}: ${operation.what} has no row`);
}

const found = allOperations();
report('every ordered operation in the sources has a row', withoutRow(table, found));

const touched = new Set(allOperations({ relaxed: true }).map(at));
report(
  'every function of the table orders something',
  table
    .flatMap(({ pair, sides }) => sides.flat().map((each) => ({ pair, ...each })))
    // signal() does so by light_fence().
    .filter(({ file, name }) => !touched.has(`${file} ${name}`))
    .map(({ pair, file, name }) => `${pair}: ${file} has no operation in ${name}`),
);

// gcc before 13 leaves its release out on riscv64.
const releasing = (operations) =>
  operations
    .filter(({ text }) =>
      /compare_exchange[\s\S]*memory_order_(release|acq_rel|seq_cst)/.test(text),
    )
    .map((operation) => `${at(operation)}, line ${operation.line}`);
report('no compare-exchange releases', releasing(found));

const FOLDERS = ['test/model', 'test/native'];
report(
  'every check of the table exists',
  table.flatMap(({ pair, heldBy, checks }) => {
    const files = heldBy.map(({ file }) => FOLDERS.map((f) => join(f, file)).find(existsSync));
    const missing = heldBy.filter((_, i) => files[i] === undefined).map(({ file }) => `no ${file}`);
    const text = ['test/model/run.sh', ...files.filter(Boolean)].map((f) =>
      readFileSync(f, 'utf8'),
    );
    const unknown = checks.filter((name) => !text.some((each) => each.includes(`"${name}"`)));
    if (heldBy.length === 0) missing.push('nothing holds it');
    return [...missing, ...unknown.map((name) => `no check "${name}"`)].map((w) => `${pair}: ${w}`);
  }),
);

// ---- the compilers -------------------------------------------------------------------------------

const sourceOf = (file) =>
  file.endsWith('.hpp')
    ? INSTANCES
    : readFileSync('native/sources.txt', 'utf8')
        .split('\n')
        .find((path) => basename(path) === file);

/** Symbols of `A::b`: of any instance, its lambdas and its clones. All of a file where it is inlined. */
function symbolsOf(objects, { file, name }) {
  const all = objects.get(sourceOf(file)) ?? [];
  const parts = name.split('::').map((part) => `${part}(<[^()]*>)?`);
  // The opaque types of the C ABI stand in no namespace.
  const space = parts[0].startsWith('vanity_')
    ? ''
    : 'vanity::(\\w+::|\\(anonymous namespace\\)::)*';
  const pattern = new RegExp(`${space}${parts.join('::')}\\(`);
  const own = all.filter((symbol) => pattern.test(symbol.name));
  return own.length > 0 || file.endsWith('.hpp') ? own : all;
}

const sidesOf = (rows) =>
  rows.flatMap((row) => row.sides.map((functions, side) => ({ row, side, functions })));

/** What a row asks of a machine, and the objects don't have. */
function complaintsOf(row, rows, machine, objects) {
  return sidesOf([row]).flatMap(({ side, functions }) => {
    const sequence = row.becomes[machine][side] ?? [];
    return functions.flatMap((each) => {
      const symbols = symbolsOf(objects, each);
      const who = `${row.pair}: ${each.name} on ${machine}`;
      if (symbols.length === 0) return [`${who} has no symbol`];
      if (sequence.length === 0) {
        return symbols
          .filter(({ fast }) => barriersOf(machine, fast).length > 0)
          .map(({ fast }) => `${who} runs ${barriersOf(machine, fast)} on its way`);
      }
      // A function that several rows ask the same of has it several times, if it says it so often.
      const asked = sidesOf(rows).filter(
        (other) =>
          other.functions.some((f) => f.file === each.file && f.name === each.name) &&
          String(other.row.becomes[machine][other.side]) === String(sequence),
      ).length;
      const said = found.filter((o) => o.file === each.file && o.function === each.name).length;
      const wanted = Math.min(asked, Math.max(said, 1));
      const siblings = functions.filter((other) => other !== each);
      const calls = symbols
        .flatMap((symbol) => symbol.calls)
        .filter((symbol) => siblings.some((s) => symbol.includes(`::${s.name}(`))).length;
      const count = symbols
        .map((symbol) => occurrences(symbol.instructions, sequence))
        .reduce((a, b) => a + b, calls);
      return count >= wanted
        ? []
        : [`${who}: ${count} times ${sequence.join('; ')}, not ${wanted}`];
    });
  });
}

// Functions of their own symbol have what their rows say and no other barrier.
const EXACT = ['channel.hpp', 'doorbell.hpp', 'platform.hpp', 'wait.hpp', 'fence.cpp', 'pool.hpp'];
function unwanted(rows, machine, objects) {
  const sides = sidesOf(rows);
  const functions = new Map(
    sides
      .flatMap((side) => side.functions)
      .filter(({ file }) => EXACT.includes(file))
      .map((each) => [`${each.file} ${each.name}`, each]),
  );
  return [...functions.values()].flatMap((each) => {
    const allowed = sides
      .filter((side) => side.functions.some((f) => f.file === each.file && f.name === each.name))
      .flatMap(({ row, side }) => row.becomes[machine][side] ?? []);
    return symbolsOf(objects, each)
      .flatMap((symbol) => barriersOf(machine, symbol.instructions))
      .filter((barrier) => !allowed.some((wanted) => matches(wanted, barrier)))
      .map((barrier) => `${each.name} on ${machine} has ${barrier}, which no row asks for`);
  });
}

function callsOnTheWay(objects) {
  return symbolsOf(objects, { file: 'platform.hpp', name: 'signal' }).flatMap(({ fast }) =>
    fast.filter((name) => /^(call|bl|blr|jal|jalr|syscall|svc|ecall)$/.test(name)),
  );
}

async function objectsOf(machine, sources, include) {
  const list = [...sources];
  const objects = new Map();
  const worker = async () => {
    for (let source = list.pop(); source !== undefined; source = list.pop()) {
      objects.set(source, await functionsOf(machine, source, include));
    }
  };
  await Promise.all([worker(), worker()]);
  return objects;
}

const sources = new Set(
  sidesOf(table).flatMap((s) => s.functions.map(({ file }) => sourceOf(file))),
);
const machines = [];
for (const machine of MACHINES) {
  if (await hasCompiler(machine)) machines.push(machine);
  else
    console.log(
      `skipped - ${machine}: no cross compiler (apt-get install g++-${machine}-linux-gnu)`,
    );
}
for (const machine of machines) {
  const objects = await objectsOf(machine, sources);
  for (const row of table) {
    report(`${row.pair} on ${machine}`, complaintsOf(row, table, machine, objects));
  }
  report(`no other barrier on ${machine}`, unwanted(table, machine, objects));
  report(`signal() calls nothing on its way on ${machine}`, callsOnTheWay(objects));
}

// ---- mutants -------------------------------------------------------------------------------------

const ATOMIC = 'include/vanity/atomic.hpp';
const PLATFORM = 'include/vanity/platform.hpp';
const relaxed = (order) => [`std::memory_order_${order}`, 'std::memory_order_relaxed'];
const MUTANTS = [
  ['a relaxed publish', 'aarch64', ATOMIC, 'word.store(value, ', ...relaxed('release')],
  ['a relaxed publish', 'riscv64', ATOMIC, 'word.store(value, ', ...relaxed('release')],
  ['a relaxed observe', 'aarch64', ATOMIC, 'word.load(', ...relaxed('acquire')],
  ['a relaxed observe', 'riscv64', ATOMIC, 'word.load(', ...relaxed('acquire')],
  [
    'a sequentially consistent publish',
    'x86-64',
    ATOMIC,
    'word.store(value, ',
    'std::memory_order_release',
    'std::memory_order_seq_cst',
  ],
  [
    'a taking that only acquires',
    'aarch64',
    ATOMIC,
    'word.exchange(value, ',
    'std::memory_order_acq_rel',
    'std::memory_order_acquire',
  ],
  ['a relaxed shared mark', 'aarch64', ATOMIC, 'word.fetch_or(bits, ', ...relaxed('release')],
  [
    'a relaxed sequence word',
    'aarch64',
    'include/vanity/channel.hpp',
    'template ',
    'publish<Edge::slot>',
    'mirror<Edge::slot>',
  ],
  [
    'a fence in every signal',
    'x86-64',
    PLATFORM,
    '',
    'std::atomic_signal_fence(std::memory_order_seq_cst)',
    'detail::full_fence()',
  ],
  [
    'a fence in every signal',
    'aarch64',
    PLATFORM,
    '',
    'std::atomic_signal_fence(std::memory_order_seq_cst)',
    'detail::full_fence()',
  ],
  ['no fence without membarrier', 'x86-64', PLATFORM, '0)) {\n    ', 'detail::full_fence();', ';'],
  ['no fence without membarrier', 'riscv64', PLATFORM, '0)) {\n    ', 'detail::full_fence();', ';'],
  ['a relaxed wake', 'riscv64', PLATFORM, 'exchange(0, ', ...relaxed('seq_cst')],
  [
    'a relaxed look after the sleep',
    'aarch64',
    'platform/wait.hpp',
    'sleeping.load(',
    ...relaxed('acquire'),
  ],
  ['a relaxed last owner', 'riscv64', 'memory/pool.hpp', 'fetch_sub(1, ', ...relaxed('acq_rel')],
];

async function survives(machine, file, before, from, to) {
  const overlay = mkdtempSync(join(tmpdir(), 'vanity-mutant-'));
  try {
    const original = readFileSync(join('native', file), 'utf8');
    const text = original.replaceAll(before + from, before + to);
    if (text === original) return `${before + from} is not in ${file}`;
    // A header's neighbours are found first beside itself, so the whole folder goes along.
    cpSync('native', overlay, { recursive: true, filter: (path) => !path.endsWith('.cpp') });
    mkdirSync(dirname(join(overlay, file)), { recursive: true });
    writeFileSync(join(overlay, file), text);
    const include = [join(overlay, 'include'), overlay];
    const objects = await objectsOf(machine, [INSTANCES], include);
    const rows = table.filter(({ sides }) => sides.flat().some((f) => f.file.endsWith('.hpp')));
    const mine = rows.map((row) => ({
      ...row,
      sides: row.sides.map((side) => side.filter((f) => f.file.endsWith('.hpp'))),
    }));
    const complaints = [
      ...mine.flatMap((row) => complaintsOf(row, mine, machine, objects)),
      ...unwanted(mine, machine, objects),
    ];
    return complaints.length > 0 ? undefined : 'nobody noticed';
  } finally {
    rmSync(overlay, { recursive: true });
  }
}

for (const [name, machine, ...change] of MUTANTS.filter(([, machine]) =>
  machines.includes(machine),
)) {
  const complaint = await survives(machine, ...change);
  report(`mutant: ${name} on ${machine}`, complaint === undefined ? [] : [complaint]);
}

function mutantOfSources(name, complaints) {
  report(`mutant: ${name}`, complaints.length > 0 ? [] : ['nobody noticed']);
}
const one = (text) => withoutRow(table, operations('doorbell.hpp', `struct New { ${text} };`));
mutantOfSources(
  'a release without a row',
  one('void f() { w.store(1, std::memory_order_release); }'),
);
mutantOfSources(
  'an edge without a row',
  one('void f() { P::template publish<Edge::bell>(w, 1); }'),
);
mutantOfSources('an operation that names no order', one('int f() { return word.load(); }'));
mutantOfSources('an operation in a lambda', one('void f() { g([&] { w.exchange(1); }); }'));
mutantOfSources(
  'a compare-exchange that releases',
  releasing(
    operations(
      'x.hpp',
      'void f() { while (!w.compare_exchange_weak(a, b, std::memory_order_release)) {} }',
    ),
  ),
);
for (const row of table.filter(({ sides }) => sides.flat().length > 1).slice(0, 1)) {
  const text = readFileSync(DOCUMENT, 'utf8');
  const without = text.split('\n').filter((line) => !line.startsWith(`| ${row.pair} |`));
  mutantOfSources(`a table without ${row.pair}`, withoutRow(readTable(without.join('\n')), found));
}

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
