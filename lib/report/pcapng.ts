// Sampled packets as a capture file that Wireshark opens (draft-ietf-opsawg-pcapng): an interface a shard, a packet for
// each shard that had it, at the time that it took it, with a comment that says where it waited and for what. What is one
// packet on several interfaces has one epb_packetid.
import type { PacketStep, PacketWay } from '../telemetry/packets.js';
import { stepText } from './packet-lines.js';

const SECTION = 0x0a0d0d0a;
const BYTE_ORDER = 0x1a2b3c4d;
const INTERFACE = 1;
const ENHANCED_PACKET = 6;
const ETHERNET = 1;

const OPT_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_TSRESOL = 9;
const EPB_PACKETID = 5;
/** 10^-9 s. */
const NANOSECONDS = 9;

const utf8 = (string: string): Uint8Array => new TextEncoder().encode(string);
const up = (bytes: number): number => Math.ceil(bytes / 4) * 4;

/** `shards`: name and program by index; `startedNs`: nanoseconds since 1970 when the system booted. */
export function pcapng(
  system: { version: string; startedNs: bigint; bytesMax: number },
  shards: readonly { name: string; program: string }[],
  ways: readonly PacketWay[],
): Uint8Array {
  const blocks = [
    block(SECTION, sectionHead(), [[SHB_USERAPPL, utf8(`vanity ${system.version}`)]]),
    ...shards.map(({ name, program }) =>
      // Libpcap wants one snapshot length of all interfaces.
      block(INTERFACE, words(ETHERNET, system.bytesMax), [
        [IF_NAME, utf8(name)],
        [IF_DESCRIPTION, utf8(program)],
        [IF_TSRESOL, Uint8Array.of(NANOSECONDS)],
      ]),
    ),
    ...ways
      .flatMap((way) => way.steps.map((step, i) => ({ way, step, i })))
      .sort((a, b) => a.step.ns - b.step.ns)
      .map(({ way, step, i }) => packet(system.startedNs, way, step, i)),
  ];
  const file = new Uint8Array(blocks.reduce((sum, one) => sum + one.byteLength, 0));
  let at = 0;
  for (const one of blocks) {
    file.set(one, at);
    at += one.byteLength;
  }
  return file;
}

function sectionHead(): Uint8Array {
  const head = new Uint8Array(16);
  const view = new DataView(head.buffer);
  view.setUint32(0, BYTE_ORDER, true);
  view.setUint16(4, 1, true); // version 1.0
  view.setBigInt64(8, -1n, true); // of a length that is not said
  return head;
}

function packet(startedNs: bigint, way: PacketWay, step: PacketStep, i: number): Uint8Array {
  const time = startedNs + BigInt(step.ns);
  const head = words(
    step.shardIndex,
    Number(time >> 32n),
    Number(time & 0xffff_ffffn),
    way.data.byteLength,
    way.wireBytes,
  );
  const body = new Uint8Array(head.byteLength + up(way.data.byteLength));
  body.set(head);
  body.set(way.data, head.byteLength);
  const id = new Uint8Array(8);
  new DataView(id.buffer).setBigUint64(0, BigInt(way.number), true);
  const stage = `packet ${way.packet}, stage ${i + 1} of ${way.steps.length}, ${step.shard}`;
  return block(ENHANCED_PACKET, body, [
    [OPT_COMMENT, utf8(`${stage}: ${stepText(step)}`)],
    [EPB_PACKETID, id],
  ]);
}

function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

function block(
  type: number,
  body: Uint8Array,
  options: readonly (readonly [code: number, value: Uint8Array])[],
): Uint8Array {
  const optionBytes = options.reduce((sum, [, value]) => sum + 4 + up(value.byteLength), 4);
  const total = 12 + body.byteLength + optionBytes;
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, total, true);
  bytes.set(body, 8);
  let at = 8 + body.byteLength;
  for (const [code, value] of options) {
    view.setUint16(at, code, true);
    view.setUint16(at + 2, value.byteLength, true);
    bytes.set(value, at + 4);
    at += 4 + up(value.byteLength);
  }
  // opt_endofopt is four zeros; behind it the length once more.
  view.setUint32(total - 4, total, true);
  return bytes;
}
