// The memory of a process that runs a system, read from outside: also of one that is stuck or stopped, and without asking
// it. The segment holds no address; the arenas are found among the process's mappings by the mark at their beginning
// (ArenaMark in native/include/vanity/segment.hpp).
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { VanityError } from '../errors.js';
import { count, type Segment } from './segment.js';

const MARK = 'VANITYAR';
const MARK_BYTES = 24;

export class Arenas {
  readonly #fd: number;
  readonly #pid: number;
  /** First byte of each, by shard. */
  readonly #bases = new Map<number, bigint>();

  /** Throws VANITY_E_CONTENTS when its memory may not be read, or is another's. */
  constructor(segment: Segment) {
    const pid = segment.pid;
    this.#pid = pid;
    let maps: string;
    try {
      maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
      this.#fd = openSync(`/proc/${pid}/mem`, 'r');
    } catch (error) {
      throw unreachable(pid, error);
    }
    try {
      this.#find(maps, segment);
      const shards = segment.rows('shards').filter((row) => row.name !== '').length;
      if (this.#bases.size < shards) {
        throw new VanityError('VANITY_E_CONTENTS', {
          problem: `process ${pid} has the memory of ${this.#bases.size} of ${shards} shards of ${segment.name}`,
          hint: 'Start it with this version; and ask from where it has this process number.',
        });
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #find(maps: string, segment: Segment): void {
    const started = BigInt(segment.startedRealtimeNs);
    const bytes = segment.rows('shards').map((row) => BigInt(count(row, 'arena_bytes')));
    const least = bytes.reduce((a, b) => (a < b ? a : b));
    for (const [, first = '', end = ''] of maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw/gm)) {
      const base = BigInt(`0x${first}`);
      if (BigInt(`0x${end}`) - base < least) continue;
      const mark = this.#tryRead(base, MARK_BYTES);
      if (mark === undefined || mark.subarray(0, MARK.length).toString('latin1') !== MARK) continue;
      const shard = mark.readUInt32LE(16);
      if (mark.readBigUInt64LE(8) === started && shard < bytes.length) this.#bases.set(shard, base);
    }
  }

  /** `bytes` of them from `offset` on in the arena of a shard. Throws VANITY_E_CONTENTS when the process is gone. */
  read(shard: number, offset: bigint, bytes: number): Buffer {
    const base = this.#bases.get(shard);
    const found = base === undefined ? undefined : this.#tryRead(base + offset, bytes);
    if (found !== undefined) return found;
    throw unreachable(this.#pid, undefined);
  }

  #tryRead(address: bigint, bytes: number): Buffer | undefined {
    const buffer = Buffer.alloc(bytes);
    try {
      let got = 0;
      while (got < bytes) {
        const more = readSync(this.#fd, buffer, got, bytes - got, address + BigInt(got));
        if (more === 0) return undefined;
        got += more;
      }
      return buffer;
    } catch {
      return undefined; // a mapping without pages behind it; or it has just ended
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function unreachable(pid: number, error: unknown): VanityError {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  const denied = code === 'EACCES' || code === 'EPERM';
  return new VanityError('VANITY_E_CONTENTS', {
    problem: denied
      ? `you may not read the memory of process ${pid}`
      : `process ${pid} is gone, and with it the memory of its shards`,
    hint: denied
      ? 'Run it as root, or let users debug their own processes: sysctl kernel.yama.ptrace_scope=0'
      : 'What is in channels can be read while the process is there: dump it before it is killed.',
  });
}
