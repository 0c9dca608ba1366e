// Reads capture files of draft-ietf-opsawg-pcapng, as far as tests look at them; throws at what is not in order.
import assert from 'node:assert';

/** { interfaces: [{ name, description, linkType, bytesMax, tsresol }], packets: [{ interface, ns, wireBytes, data, comment, id }] } */
export function readPcapng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u16 = (at) => view.getUint16(at, true);
  const u32 = (at) => view.getUint32(at, true);
  const text = (value) => Buffer.from(value).toString('utf8');
  const options = (at, end) => {
    const found = new Map();
    for (;;) {
      const [code, length] = [u16(at), u16(at + 2)];
      assert.ok(at + 4 + length <= end);
      if (code === 0) {
        assert.deepEqual([length, at + 4], [0, end]);
        return found;
      }
      found.set(code, bytes.subarray(at + 4, at + 4 + length));
      at += 4 + Math.ceil(length / 4) * 4;
    }
  };
  assert.equal(u32(0), 0x0a0d0d0a);
  assert.deepEqual([u32(8), u16(12), u16(14)], [0x1a2b3c4d, 1, 0]);
  assert.equal(view.getBigInt64(16, true), -1n);
  const interfaces = [];
  const packets = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const [type, total] = [u32(at), u32(at + 4)];
    assert.ok(total % 4 === 0 && at + total <= bytes.byteLength);
    assert.equal(u32(at + total - 4), total);
    const end = at + total - 4;
    if (type === 1) {
      const found = options(at + 16, end);
      interfaces.push({
        name: text(found.get(2)),
        description: text(found.get(3)),
        linkType: u16(at + 8),
        bytesMax: u32(at + 12),
        tsresol: found.get(9)[0],
      });
    } else if (type === 6) {
      const held = u32(at + 20);
      const found = options(at + 28 + Math.ceil(held / 4) * 4, end);
      packets.push({
        interface: u32(at + 8),
        ns: (BigInt(u32(at + 12)) << 32n) | BigInt(u32(at + 16)),
        wireBytes: u32(at + 24),
        data: bytes.subarray(at + 28, at + 28 + held),
        comment: text(found.get(1)),
        id: Buffer.from(found.get(5)).readBigUInt64LE(),
      });
    } else assert.equal(type, 0x0a0d0d0a);
    at += total;
  }
  return { interfaces, packets };
}
