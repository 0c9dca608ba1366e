// Golden files: text that a test expects to the letter. UPDATE_GOLDEN=1 writes them anew.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

export function golden(t, name, text) {
  const path = fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
  if (process.env.UPDATE_GOLDEN) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  t.true(existsSync(path), `${name} is missing; write it with UPDATE_GOLDEN=1`);
  t.is(text, readFileSync(path, 'utf8'));
}
