// Binds a device of a machine that is a folder, and dies by SIGKILL right after write number N.
import { join } from 'node:path';
import { bind } from '../../../dist/device/bind.js';
import { Records } from '../../../dist/device/record.js';
import { Kernel } from './machine.js';

const [root, address, at] = process.argv.slice(2);

class Killed extends Kernel {
  write(path, text) {
    super.write(path, text);
    if (this.writes === Number(at)) process.kill(process.pid, 'SIGKILL');
  }
}

bind(new Killed(root), new Records(join(root, 'run')), [address]);
