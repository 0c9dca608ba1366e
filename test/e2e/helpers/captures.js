// Writes and reads capture files, plainly and apart from the code under test.
// A packet is { ns: bigint, data: Buffer }.
import { readFileSync, writeFileSync } from 'node:fs';

/** UDP frames between a few hosts; number i in the first bytes of the payload, times of odd nanoseconds. */
export function packets(n, gap_ns = 1_234_567n) {
  return Array.from({ length: n }, (_, i) => {
    const payload = Buffer.alloc(18 + ((i * 37) % 1400), i & 0xff);
    payload.writeUInt32BE(i);
    const data = Buffer.concat([
      Buffer.from('0200000000020200000000010800', 'hex'),
      Buffer.from('4500000000000000401100000a0000010a000002', 'hex'),
      Buffer.from('0000003500000000', 'hex'),
      payload,
    ]);
    data.writeUInt16BE(data.length - 14, 16);
    data.writeUInt8(1 + (i % 7), 29);
    data.writeUInt16BE(1024 + (i % 11), 34);
    data.writeUInt16BE(data.length - 34, 38);
    return { ns: 1_700_000_000_000_000_789n + BigInt(i) * gap_ns, data };
  });
}

/** A pcap file with nanoseconds. */
export function writePcap(path, list) {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b23c4d, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(262_144, 16);
  head.writeUInt32LE(1, 20);
  const records = list.flatMap(({ ns, data }) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(Number(ns / 1_000_000_000n), 0);
    record.writeUInt32LE(Number(ns % 1_000_000_000n), 4);
    record.writeUInt32LE(data.length, 8);
    record.writeUInt32LE(data.length, 12);
    return [record, data];
  });
  writeFileSync(path, Buffer.concat([head, ...records]));
  return path;
}

/** The packets of a little-endian pcap or pcapng file. */
export function readCapture(path) {
  const file = readFileSync(path);
  return file.readUInt32LE(0) === 0x0a0d0d0a ? readPcapng(file) : readPcap(file);
}

function readPcap(file) {
  const unit = { 2712847316: 1000n, 2712812621: 1n }[file.readUInt32LE(0)];
  const list = [];
  for (let at = 24; at < file.length; ) {
    const length = file.readUInt32LE(at + 8);
    const seconds = BigInt(file.readUInt32LE(at));
    const ns = seconds * 1_000_000_000n + BigInt(file.readUInt32LE(at + 4)) * unit;
    list.push({ ns, data: file.subarray(at + 16, at + 16 + length) });
    at += 16 + length;
  }
  return list;
}

function readPcapng(file) {
  const list = [];
  let unit = 1000n;
  for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4)) {
    const type = file.readUInt32LE(at);
    if (type === 1) {
      // Interface description: option 9, if_tsresol, says the power of ten.
      for (let option = at + 16; file.readUInt16LE(option) !== 0; ) {
        const length = file.readUInt16LE(option + 2);
        if (file.readUInt16LE(option) === 9) unit = 10n ** BigInt(9 - file.readUInt8(option + 4));
        option += 4 + Math.ceil(length / 4) * 4;
      }
    } else if (type === 6) {
      const time = (BigInt(file.readUInt32LE(at + 12)) << 32n) | BigInt(file.readUInt32LE(at + 16));
      const length = file.readUInt32LE(at + 20);
      list.push({ ns: time * unit, data: file.subarray(at + 28, at + 28 + length) });
    }
  }
  return list;
}
