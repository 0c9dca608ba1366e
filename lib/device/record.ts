// What a device was before it was handed over: one small file a device in the runtime directory. It is on disk before
// anything changes and removed after everything is back, so it tells the way home wherever a process ends.
import {
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { VanityError } from '../errors.js';
import { native } from '../native.js';
import { ADDRESS } from './pci.js';

const name = z.string().regex(/^[\w.-]{1,64}$/);

const schema = z.strictObject({
  address: z.string().regex(ADDRESS),
  /** The driver before; null when there was none. */
  driver: name.nullable(),
  /** driver_override before; null when it was empty. */
  override: name.nullable(),
  macs: z.array(z.string().max(32)).max(256),
  serials: z.array(z.string().max(128)).max(16),
  /** As its kernel driver had set it. */
  dmaBits: z.int().min(1).max(64).nullable(),
});

export type DriverRecord = z.infer<typeof schema>;

const SUFFIX = '.json';
const SYSTEM_DIRECTORY = '/dev/shm/vanity-0';

export class Records {
  /** Where records are written. */
  readonly folder: string;
  readonly #others: readonly string[];

  /** `others` are runtime directories that are read too: an ordinary user wants to know what root has bound. */
  constructor(runtimeDirectory: string, others: readonly string[] = []) {
    this.folder = join(runtimeDirectory, 'devices');
    this.#others = others.map((other) => join(other, 'devices'));
  }

  /** What was bound from here: only root binds, but everybody may know. */
  static here(): Records {
    return new Records(native.runtimeDirectory(), [SYSTEM_DIRECTORY]);
  }

  path(address: string): string {
    return join(this.folder, address + SUFFIX);
  }

  /** Every readable record, by address. */
  all(): Map<string, DriverRecord> {
    const found = new Map<string, DriverRecord>();
    for (const folder of [...this.#others, this.folder]) {
      for (const file of filesIn(folder)) {
        const record = parse(join(folder, file));
        if (record) found.set(record.address, record);
      }
    }
    return found;
  }

  read(address: string): DriverRecord | undefined {
    const path = this.path(address);
    if (!filesIn(this.folder).includes(address + SUFFIX)) return undefined;
    const record = parse(path);
    if (record?.address === address) return record;
    throw new VanityError('VANITY_E_DEVICE_RECORD', {
      path,
      what: 'understood',
      reason: 'it is damaged',
      hint: `Remove it, and let the kernel choose the driver: sudo rm ${path} && sudo vanity device unbind ${address}`,
    });
  }

  /** Returns when the record would survive anything but a reboot, which forgets drivers as well. */
  write(record: DriverRecord): void {
    const path = this.path(record.address);
    try {
      for (const folder of [dirname(this.folder), this.folder]) {
        mkdirSync(folder, { recursive: true, mode: 0o755 });
        // Anybody may make a folder of that name in /dev/shm.
        const status = lstatSync(folder);
        if (!status.isDirectory() || status.uid !== process.getuid?.()) {
          throw new Error(`${folder} is not a folder of this user`);
        }
      }
      const half = `${path}.tmp`;
      const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
      const fd = openSync(half, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o644);
      try {
        writeSync(fd, `${JSON.stringify(record)}\n`);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(half, path);
      syncFolder(this.folder);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const hint = 'Set VANITY_RUNTIME_DIR to a folder on a tmpfs that you may write.';
      throw new VanityError(
        'VANITY_E_DEVICE_RECORD',
        { path, what: 'written', reason, hint },
        { cause: error },
      );
    }
  }

  remove(address: string): void {
    rmSync(this.path(address), { force: true });
    rmSync(`${this.path(address)}.tmp`, { force: true });
    if (filesIn(this.folder).length > 0) syncFolder(this.folder);
    else rmSync(this.folder, { recursive: true, force: true });
  }
}

// A folder that somebody else made tells nothing that can be trusted.
function filesIn(folder: string): string[] {
  try {
    const { uid } = lstatSync(folder);
    if (uid !== 0 && uid !== process.getuid?.()) return [];
    return readdirSync(folder).filter((file) => file.endsWith(SUFFIX));
  } catch {
    return [];
  }
}

function parse(path: string): DriverRecord | undefined {
  try {
    return schema.safeParse(JSON.parse(readFileSync(path, 'utf8'))).data;
  } catch {
    return undefined;
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
