// Watches packets go by, and tells of every TCP connection that opens. Nothing is allocated in poll().
import { defineProgram, type OutputChannel, type ProgramCounter } from 'vanity/program';
import { BYTES, CLIENT, PORT, SERVER } from './message.ts';

const SYN = 0x02;
const ACK = 0x10;

let opened: OutputChannel;
let connections: ProgramCounter;
let unheard: ProgramCounter;

export default defineProgram({
  init(shard) {
    opened = shard.output('opened');
    connections = shard.counter('connections');
    unheard = shard.counter('unheard'); // the channel was full: this program decides to go on
  },

  poll(shard) {
    const burst = shard.receive();
    for (let i = 0; i < burst.count; ++i) {
      look(burst.bytes(i), burst.start(i), burst.length(i));
    }
    shard.send(0, burst); // the first output: the channel `packets`
    return burst.count;
  },
});

/** `bytes` is the whole pool of buffers; the frame begins at `start`. */
function look(bytes: Uint8Array, start: number, length: number): void {
  const end = start + length;
  let at = start + 12;
  while (at + 2 <= end && (u16(bytes, at) === 0x8100 || u16(bytes, at) === 0x88a8)) at += 4;
  if (at + 22 > end || u16(bytes, at) !== 0x0800) return;
  const ip = at + 2;
  const tcp = ip + (u8(bytes, ip) & 0x0f) * 4;
  if (u8(bytes, ip + 9) !== 6 || tcp + 14 > end) return;
  if ((u8(bytes, tcp + 13) & (SYN | ACK)) !== SYN) return;
  connections.add(1);
  if (opened.claim(1) === 0) {
    unheard.add(1);
    return;
  }
  const words = opened.u32;
  const slot = opened.offset / 4;
  words[slot + CLIENT] = u32(bytes, ip + 12);
  words[slot + SERVER] = u32(bytes, ip + 16);
  words[slot + PORT] = u16(bytes, tcp + 2);
  words[slot + BYTES] = length;
  opened.commit(1);
}

function u8(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}
function u16(bytes: Uint8Array, at: number): number {
  return (u8(bytes, at) << 8) | u8(bytes, at + 1);
}
function u32(bytes: Uint8Array, at: number): number {
  return ((u16(bytes, at) << 16) | u16(bytes, at + 2)) >>> 0;
}
