// The host's file system as read through one root, so that a folder of files can stand for it.
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { native } from '../native.js';

export class Host {
  readonly root: string;

  constructor(root = '/') {
    this.root = root;
  }

  read(path: string): string | undefined {
    try {
      return readFileSync(join(this.root, path), 'utf8').trim();
    } catch {
      return undefined;
    }
  }

  /** The first `max` bytes; fewer when there are no more, or no right to them. */
  bytes(path: string, max: number): Uint8Array {
    const content = new Uint8Array(max);
    let length = 0;
    try {
      const fd = openSync(join(this.root, path), 'r');
      try {
        for (let got = -1; got !== 0 && length < max; length += got) {
          got = readSync(fd, content, length, max - length, length);
        }
      } finally {
        closeSync(fd);
      }
    } catch {
      // What was read until then is what there is.
    }
    return content.subarray(0, length);
  }

  /** Writes to a file that exists, as sysfs wants it: some of it can't be read, and one write is one request. */
  write(path: string, text: string): void {
    const fd = openSync(join(this.root, path), constants.O_WRONLY);
    try {
      writeSync(fd, text);
    } finally {
      closeSync(fd);
    }
  }

  /** Runs `work` while no other process runs what locks the same file; undefined when they take longer than `ms`. */
  locked<T>(path: string, ms: number, work: () => T): { result: T } | undefined {
    const nap = new Int32Array(new SharedArrayBuffer(4));
    for (const until = Date.now() + ms; ; Atomics.wait(nap, 0, 0, 20)) {
      const fd = native.tryLock(join(this.root, path));
      if (fd >= 0) {
        try {
          return { result: work() };
        } finally {
          closeSync(fd);
        }
      }
      if (Date.now() > until) return undefined;
    }
  }

  list(path: string): string[] {
    try {
      return readdirSync(join(this.root, path)).sort((a, b) =>
        a.localeCompare(b, 'en', { numeric: true }),
      );
    } catch {
      return [];
    }
  }

  /** The last part of what a link points to: the name of a driver, the number of a group. */
  link(path: string): string | undefined {
    try {
      return basename(readlinkSync(join(this.root, path)));
    } catch {
      return undefined;
    }
  }

  /** Where a path leads after all links, from the root. */
  real(path: string): string | undefined {
    try {
      const root = realpathSync(this.root);
      const target = realpathSync(join(this.root, path));
      return root === '/' ? target : target.slice(root.length);
    } catch {
      return undefined;
    }
  }

  exists(path: string): boolean {
    try {
      statSync(join(this.root, path));
      return true;
    } catch {
      return false;
    }
  }

  /** Whether this process has a capability in force. */
  may(capability: number): boolean {
    const status = this.read('proc/self/status') ?? '';
    const caps = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
    return ((caps >> BigInt(capability)) & 1n) === 1n;
  }

  /** Soft limit of this process; Infinity when unlimited, undefined when it can't be read. */
  limit(name: string): number | undefined {
    const line = this.read('proc/self/limits')
      ?.split('\n')
      .find((entry) => entry.startsWith(name));
    const soft = line?.slice(name.length).trim().split(/\s+/)[0];
    if (soft === undefined) return undefined;
    return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
  }

  /** A line that adds kernel parameters and reboots. */
  bootWith(parameters: string): string {
    if (this.exists('usr/sbin/grubby') || this.exists('sbin/grubby')) {
      return `sudo grubby --update-kernel=ALL --args="${parameters}" && sudo reboot`;
    }
    return `sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&${parameters} /' /etc/default/grub && sudo update-grub && sudo reboot`;
  }

  /** What the kernel command line needs for an IOMMU. */
  get iommuParameters(): string {
    const vendor = /^vendor_id\s*:\s*(\w+)/m.exec(this.read('proc/cpuinfo') ?? '')?.[1];
    return vendor === 'GenuineIntel' ? 'intel_iommu=on iommu=pt' : 'iommu=pt';
  }
}
