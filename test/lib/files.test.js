import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { checkWritable, writeWhole } from '../../dist/cli/files.js';

function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'vanity-files-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

test('what can be written is left as it was by the check, and whole after the write', (t) => {
  const path = folder(t);
  const [fresh, old] = [join(path, 'new.csv'), join(path, 'old.csv')];
  writeFileSync(old, 'before');
  for (const file of [fresh, old, '/dev/null']) t.notThrows(() => checkWritable('--csv', file));
  t.deepEqual(readdirSync(path), ['old.csv']);
  t.is(readFileSync(old, 'utf8'), 'before');
  for (const file of [fresh, old, '/dev/null']) writeWhole('--csv', file, 'after');
  t.deepEqual(readdirSync(path).sort(), ['new.csv', 'old.csv']);
  t.is(readFileSync(fresh, 'utf8'), 'after');
  t.is(readFileSync(old, 'utf8'), 'after');
});

test('what cannot be written says why', (t) => {
  const path = folder(t);
  writeFileSync(join(path, 'file'), '');
  const cases = [
    ['', /it has no name/],
    [path, /it is a folder/],
    [join(path, 'none', 'x'), /the folder .*none does not exist/],
    [join(path, 'file', 'x'), /file is no folder/],
    ['/proc/x', /no file can be created in \/proc/],
  ];
  for (const [file, reason] of cases) {
    const error = t.throws(() => checkWritable('--html', file), { code: 'VANITY_E_OUTPUT' }, file);
    t.regex(error.message, reason);
    t.regex(error.message, /^--html /);
    t.regex(error.hint, /--html /);
  }
  t.throws(() => writeWhole('--html', join(path, 'none', 'x'), ''), { code: 'VANITY_E_OUTPUT' });
});

const unprivileged = process.getuid() === 0 ? test.skip : test;
unprivileged('a folder of somebody else', (t) => {
  const path = folder(t);
  chmodSync(path, 0o500);
  t.throws(() => checkWritable('--csv', join(path, 'x')), { message: /may not write/ });
  chmodSync(path, 0o700);
});
