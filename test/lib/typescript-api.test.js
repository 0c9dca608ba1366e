// Holds the page of the TypeScript API against what the package exports.
import { readFileSync } from 'node:fs';
import test from 'ava';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

test('every export is named, and everything named in the first column is exported', (t) => {
  const source = read('lib/index.ts').replace(/\/\*[\s\S]*?\*\//g, '');
  const exported = [...source.matchAll(/export (?:type )?\{([\s\S]*?)\}/g)]
    .flatMap(([, names]) => names.split(','))
    .map((name) => name.replace(/^\s*(?:type )?(?:\w+ as )?/, '').trim())
    .filter(Boolean);
  const testing = read('lib/testing/index.ts');
  const declared = /^export (?:async )?(?:interface|type|class|function) (\w+)/gm;
  exported.push(...[...testing.matchAll(declared)].map(([, name]) => name));
  const page = read('docs/reference/typescript.md');
  t.true(exported.length > 25);
  for (const name of exported) t.true(page.includes(`\`${name}\``), name);
  for (const [, cell] of page.matchAll(/^\| (`[^|]*) \|/gm)) {
    for (const [, name] of cell.matchAll(/`(\w+)`/g)) t.true(exported.includes(name), name);
  }
});
