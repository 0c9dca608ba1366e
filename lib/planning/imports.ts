// What a shared object calls of others that no two runs answer alike.
import { readFileSync } from 'node:fs';

const SECTION_BYTES = 64;
const SYMBOL_BYTES = 24;
const DYNAMIC_SYMBOLS = 11; // SHT_DYNSYM

/** By the name that a linker knows, as people write it. */
const UNSTEADY: ReadonlyMap<string, string> = new Map([
  ...[
    ...['clock_gettime', 'gettimeofday', 'time', 'clock', 'times', 'timespec_get', 'ftime'],
    ...['rand', 'random', 'drand48', 'lrand48', 'mrand48', 'getrandom', 'getentropy'],
    ...['arc4random', 'arc4random_buf', 'arc4random_uniform'],
    ...['getpid', 'gettid', 'pthread_self', 'sched_getcpu', 'getrusage'],
    ...['open', 'open64', 'fopen', 'fopen64', 'read', 'fread', 'recv', 'socket'],
  ].map((name) => [name, name] as const),
  ['_ZNSt6chrono3_V212steady_clock3nowEv', 'std::chrono::steady_clock::now'],
  ['_ZNSt6chrono3_V212system_clock3nowEv', 'std::chrono::system_clock::now'],
  ['_ZNSt13random_device9_M_getvalEv', 'std::random_device'],
]);

/** Of a module of this machine; empty for what is none. */
export function unsteadyCalls(file: string): string[] {
  const found = undefinedSymbols(readFileSync(file)).flatMap((name) => UNSTEADY.get(name) ?? []);
  return [...new Set(found)].sort();
}

// ELF of 64 bits, little-endian: every machine that this runs on.
function undefinedSymbols(file: Buffer): string[] {
  if (file.length < SECTION_BYTES || file.readUInt32BE(0) !== 0x7f454c46) return [];
  const sections = Number(file.readBigUInt64LE(0x28));
  const count = file.readUInt16LE(0x3c);
  const section = (index: number) => {
    const at = sections + index * SECTION_BYTES;
    return {
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 0x18)),
      bytes: Number(file.readBigUInt64LE(at + 0x20)),
      link: file.readUInt32LE(at + 0x28),
    };
  };
  for (let i = 0; i < count; i++) {
    const symbols = section(i);
    if (symbols.type !== DYNAMIC_SYMBOLS) continue;
    const names = section(symbols.link).offset;
    const all = Array.from({ length: symbols.bytes / SYMBOL_BYTES }, (_, s) => {
      const at = symbols.offset + s * SYMBOL_BYTES;
      if (file.readUInt16LE(at + 6) !== 0) return ''; // defined here
      const name = names + file.readUInt32LE(at);
      return file.toString('latin1', name, file.indexOf(0, name));
    });
    return all.filter((name) => name !== '');
  }
  return [];
}
