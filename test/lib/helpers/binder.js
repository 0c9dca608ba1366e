// One of several processes that want the same device: node binder.js ROOT COMMAND ADDRESS START. Prints what it did.
import { join } from 'node:path';
import { bind, unbind } from '../../../dist/device/bind.js';
import { Records } from '../../../dist/device/record.js';
import { Kernel } from './machine.js';

const [root, command, address, start] = process.argv.slice(2);
// Slow writes, so that two that do not wait for each other are sure to meet.
class Slow extends Kernel {
  write(path, text) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    super.write(path, text);
  }
}
Atomics.wait(
  new Int32Array(new SharedArrayBuffer(4)),
  0,
  0,
  Math.max(0, Number(start) - Date.now()),
);
const [done] = (command === 'bind' ? bind : unbind)(
  new Slow(root),
  new Records(join(root, 'run')),
  [address],
);
console.log(JSON.stringify(done));
