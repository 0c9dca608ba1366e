// One end of the MessagePort that the bench measures beside channels: a writer that posts bursts of 32 and a
// reader that counts, with as many messages under way as the channel has slots.
import { workerData } from 'node:worker_threads';

const { role, port, shared, bytes } = workerData;
const taken = new Int32Array(shared);

if (role === 'reader') {
  let expected = 0;
  port.on('message', (message) => {
    if (new Float64Array(message.buffer, message.byteOffset, 1)[0] !== expected) {
      throw new Error('a message is out of order');
    }
    expected += 1;
    Atomics.add(taken, 0, 1);
  });
} else {
  const message = new Uint8Array(bytes);
  const number = new Float64Array(message.buffer, 0, 1);
  let next = 0;
  const burst = () => {
    while (next - Atomics.load(taken, 0) <= 1024 - 32) {
      for (let i = 0; i < 32; ++i) {
        number[0] = next;
        next += 1;
        port.postMessage(message);
      }
    }
    setImmediate(burst);
  };
  burst();
}
