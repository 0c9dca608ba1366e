// Compares captures of two wires: what a host sent on one must come out on the other, packet by packet and in order.
//   node test/guest/captures.js FROM.pcap[@BYTES] TO.pcap[@BYTES] MAC...
// For each MAC (of a host whose packets the forwarder takes from FROM to TO) says how many there were, from the given
// byte of the file on. Exit code 1 when one is missing, twice there, out of place or not the same.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

// Microseconds and nanoseconds, this machine's byte order: what QEMU and DPDK write.
const MAGICS = [0xa1b2c3d4, 0xa1b23c4d];
const SHORTEST = 60; // NICs of real Ethernet pad to this

/** The frames of a capture, as views of it; `path@BYTES` leaves out what was there when it had that many. */
export function frames(name) {
  const [path, start = '24'] = name.split('@');
  const bytes = readFileSync(path);
  if (bytes.length < 24 || !MAGICS.includes(bytes.readUInt32LE(0)))
    throw new Error(`${path} is no capture`);
  const found = [];
  for (let at = Number(start); at + 16 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    if (at + 16 + length > bytes.length) break; // QEMU is still writing it
    found.push(bytes.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return found;
}

const sender = (frame) => frame.toString('hex', 6, 12);
const same = (a, b) => {
  const short = Math.min(a.length, b.length);
  const padding = a.length > b.length ? a.subarray(short) : b.subarray(short);
  return (
    a.compare(b, 0, short, 0, short) === 0 &&
    (padding.length === 0 ||
      (Math.max(a.length, b.length) === SHORTEST && padding.every((byte) => byte === 0)))
  );
};

// What stands where the two begin to differ.
function difference(sent, came, at) {
  const show = (frame) =>
    frame ? `${frame.length} bytes ${frame.toString('hex', 0, 74)}` : 'nothing';
  const place = (frame, among) => (frame ? among.findIndex((other) => same(other, frame)) : -1);
  return (
    `sent ${show(sent[at])} (came at ${place(sent[at], came)}), ` +
    `came ${show(came[at])} (sent at ${place(came[at], sent)})`
  );
}

/** What happened to the frames of `mac` between two captures. */
export function compare(from, to, mac) {
  const address = mac.replaceAll(':', '').toLowerCase();
  const sent = from.filter((frame) => sender(frame) === address);
  const came = to.filter((frame) => sender(frame) === address);
  let equal = 0;
  while (equal < sent.length && equal < came.length && same(sent[equal], came[equal])) equal++;
  return { sent: sent.length, came: came.length, equal, next: difference(sent, came, equal) };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [from, to, ...macs] = process.argv.slice(2);
  const captures = [frames(from), frames(to)];
  let good = macs.length > 0;
  for (const mac of macs) {
    const { sent, came, equal, next } = compare(...captures, mac);
    console.log(`${mac}: ${sent} sent, ${came} came, the first ${equal} the same`);
    if (sent > 0 && sent === came && equal === sent) continue;
    console.log(`then ${next}`);
    good = false;
  }
  process.exitCode = good ? 0 : 1;
}
