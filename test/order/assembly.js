// What the compilers make of the shipping code: each function as the instructions that matter for
// the order of memory, in one vocabulary per processor.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const TRIPLES = { 'x86-64': 'x86_64', aarch64: 'aarch64', riscv64: 'riscv64' };

export async function hasCompiler(machine) {
  return run(`${TRIPLES[machine]}-linux-gnu-g++`, ['--version']).then(
    () => true,
    () => false,
  );
}

/** The functions of one source file: [{name, instructions, fast}]. `include` comes first. */
export async function functionsOf(machine, source, include = []) {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-order-'));
  const object = join(folder, 'object.o');
  const paths = [...include, 'native/include', 'native'].map((path) => `-I${path}`);
  const flags = ['-std=c++20', '-O2', '-fPIC', '-DNDEBUG', '-w'];
  const tool = `${TRIPLES[machine]}-linux-gnu-`;
  try {
    await run(`${tool}g++`, [...flags, ...paths, '-c', source, '-o', object]);
    const { stdout } = await run(`${tool}objdump`, ['-drC', '--no-show-raw-insn', object], {
      maxBuffer: 1 << 28,
    });
    return parse(machine, stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** "  1c:\tlock orq $0x0,(%rsp)" and, on the next line, the symbol that a call goes to. */
function parse(machine, text) {
  const functions = [];
  let lines;
  for (const line of text.split('\n')) {
    const symbol = /^[0-9a-f]+ <(.*)>:$/.exec(line);
    // Labels of RISC-V look like functions.
    if (symbol !== null && !symbol[1].startsWith('.L')) {
      lines = [];
      functions.push({ name: symbol[1], lines });
      continue;
    }
    const instruction = /^ *([0-9a-f]+):\t(\S+)\s*(.*)$/.exec(line);
    if (instruction !== null) {
      const [, address, name, rest] = instruction;
      lines?.push({ address: parseInt(address, 16), name, rest, symbol: '' });
      continue;
    }
    const relocation = /: R_\S+\t(.*?)(?:[-+]0x[0-9a-f]+)?$/.exec(line);
    const last = lines?.at(-1);
    if (relocation !== null && last !== undefined && last.symbol === '')
      last.symbol = relocation[1];
  }
  return functions.map(({ name, lines: all }) => ({
    name,
    instructions: combine(
      machine,
      all.map((line) => normal(machine, line)),
    ),
    calls: all.map(({ symbol }) => symbol).filter((symbol) => symbol.includes('::')),
    fast: fastPath(all).map((line) => normal(machine, line)),
  }));
}

/** Before gcc 13 the release of a RISC-V read-modify-write is a fence before it. */
function combine(machine, instructions) {
  const result = [];
  for (const name of instructions) {
    const before = machine === 'riscv64' && /^amo/.test(name) ? result.slice(-2) : [];
    const fence = before.findIndex((each) => matches('fence rw,w', each));
    if (fence >= 0) result.splice(fence - before.length, 1);
    result.push(fence < 0 ? name : `${name}${name.endsWith('.aq') ? 'rl' : '.rl'}`);
  }
  return result;
}

/** The word of the table for an instruction. */
function normal(machine, { name, rest, symbol }) {
  if (/^(__aarch64_|__atomic_|syscall$)/.test(symbol)) return symbol;
  if (machine === 'x86-64') {
    if (name === 'lock') return `lock ${rest.split(' ')[0].replace(/[bwlq]$/, '')}`;
    if (name === 'xchg') return rest.includes('(') ? 'xchg' : 'nop';
    if (name === 'cs' || name === 'data16') return 'nop';
    return name.startsWith('mov') ? 'mov' : name;
  }
  if (machine === 'aarch64') return name === 'dmb' || name === 'dsb' ? `${name} ${rest}` : name;
  // Before gcc 13, how it stores a word.
  if (/^amoswap\.[wd]$/.test(name) && rest.startsWith('zero,')) return `s${name.at(-1)}`;
  return name === 'fence' ? `fence ${rest || 'iorw,iorw'}` : name;
}

/** From the entry to the return, no conditional branch taken: where compilers put what is likely. */
function fastPath(lines) {
  const path = [];
  const seen = new Set();
  for (let i = 0; i < lines.length && !seen.has(i); ) {
    seen.add(i);
    const line = lines[i];
    path.push(line);
    if (/^(ret|retq|jr)$/.test(line.name)) break;
    if (/^(jmp|b|j)$/.test(line.name)) {
      const target = parseInt(line.rest, 16);
      const at = lines.findIndex(({ address }) => address === target);
      if (at < 0 || /^_|::/.test(line.symbol)) break; // into another function
      i = at;
    } else {
      i++;
    }
  }
  return path;
}

const BARRIERS = {
  'x86-64': /^(lock |xchg$|[mls]fence$)/,
  aarch64: /^(stl|ldar|ldapr|ldapu|ldax|stlx|dmb|dsb|cas|swp|ld(add|set|clr|eor)|__aarch64_)/,
  riscv64: /^(fence |amo|lr\.|sc\.|__atomic_)/,
};
export const barriersOf = (machine, instructions) =>
  instructions.filter((name) => BARRIERS[machine].test(name));

/** A RISC-V fence may order more than it has to; compilers before gcc 13 know one fence only. */
export function matches(wanted, found) {
  const [want, have] = [wanted, found].map((text) => /^fence (\w+),(\w+)$/.exec(text));
  if (want === null || have === null) return wanted === found;
  return [1, 2].every((side) => [...want[side]].every((letter) => have[side].includes(letter)));
}

/** How often `sequence` comes, with at most two other instructions between its parts. */
export function occurrences(instructions, sequence) {
  let count = 0;
  for (let start = 0; start < instructions.length; start++) {
    let at = start;
    const whole = sequence.every((wanted, i) => {
      if (i === 0) return matches(wanted, instructions[at]);
      const gap = instructions.slice(at + 1, at + 4).findIndex((name) => matches(wanted, name));
      at += gap + 1;
      return gap >= 0;
    });
    if (whole) count++;
  }
  return count;
}
