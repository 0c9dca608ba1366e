// Files that commands write: known to be writable before the work that fills them, and never half written.
import {
  accessSync,
  constants,
  existsSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { VanityError } from '../errors.js';

/** Throws when `path`, given with `option`, can't be written. Tries it: rights alone don't tell of every file system. */
export function checkWritable(option: string, path: string): void {
  const folder = dirname(resolve(path));
  const fail = (reason: string): never => {
    const example = join('.', basename(path) || 'report.html');
    throw new VanityError('VANITY_E_OUTPUT', { option, path, reason, example });
  };
  if (path === '') fail('it has no name');
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory()) fail('it is a folder');
    if (found && !found.isFile()) accessSync(path, constants.W_OK);
    else {
      const draft = draftOf(path);
      writeFileSync(draft, '');
      rmSync(draft);
    }
  } catch (error) {
    if (error instanceof VanityError) throw error;
    fail(reasonOf(error, folder));
  }
}

// Beside its place, so that it can be moved there.
function draftOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
}

/** All of it or nothing: beside its place first. */
export function writeWhole(option: string, path: string, text: string | Uint8Array): void {
  // A device or a pipe is written as it is.
  const found = statSync(path, { throwIfNoEntry: false });
  const direct = found !== undefined && !found.isFile();
  const draft = direct ? path : draftOf(path);
  try {
    writeFileSync(draft, text);
    if (!direct) renameSync(draft, path);
  } catch (error) {
    if (!direct) rmSync(draft, { force: true });
    const example = join('/tmp', basename(path));
    throw new VanityError('VANITY_E_OUTPUT', {
      option,
      path,
      reason: reasonOf(error, dirname(path)),
      example,
    });
  }
}

function reasonOf(error: unknown, path: string): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return existsSync(path)
        ? `no file can be created in ${path}`
        : `the folder ${path} does not exist`;
    case 'ENOTDIR':
      return `${path} is no folder`;
    case 'EACCES':
    case 'EPERM':
      return `you may not write in ${path}`;
    case 'EROFS':
      return `${path} is on a file system that is read-only`;
    case 'ENOSPC':
      return 'the disk is full';
    default:
      return message;
  }
}
