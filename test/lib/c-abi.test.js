// Holds the reference of the C ABI against the headers: nothing undocumented, nothing made up.
import { readFileSync } from 'node:fs';
import test from 'ava';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const reference = read('docs/reference/c-abi.md');
const code = (path) => read(path).replace(/\/\*[\s\S]*?\*\//g, '');
const program = code('native/include/vanity/program.h');
const packet = code('native/include/vanity/packet.h');

/** The body of `typedef struct NAME { ... }`. */
function struct(source, name) {
  const [, body] = new RegExp(`struct ${name} \\{([\\s\\S]*?)\\n\\}`).exec(source) ?? [];
  return body ?? '';
}
const functions = (body) => [...body.matchAll(/\(\*(\w+)\)\(/g)].map(([, name]) => name);
const fields = (body) =>
  [...body.matchAll(/^\s+(?:const )?\w+\*? (\w+);/gm)].map(([, name]) => name);

/** Members named at the start of a row: `name(arguments)`. */
const rows = [...reference.matchAll(/^\| `(\w+)\(/gm)].map(([, name]) => name);

test('every function of the table has a row, and every row a function', (t) => {
  const api = functions(struct(program, 'vanity_api'));
  t.true(api.length > 25);
  t.deepEqual(rows.toSorted(), api.toSorted());
});

test('rows give the arguments of the header, without types', (t) => {
  const body = struct(program, 'vanity_api');
  for (const name of rows) {
    const [, typed] = new RegExp(`\\(\\*${name}\\)\\(([^)]*)\\)`).exec(body);
    const [, documented] = new RegExp(`^\\| \`${name}\\(([^)]*)\\)`, 'm').exec(reference);
    const count = (text) => (['', 'void'].includes(text) ? 0 : text.split(',').length);
    t.is(count(documented), count(typed), name);
  }
});

test('every field, macro, type and short form is named', (t) => {
  const names = [
    ...functions(struct(program, 'vanity_program')),
    ...fields(struct(program, 'vanity_program')),
    ...fields(struct(program, 'vanity_api')),
    ...fields(struct(packet, 'vanity_packet')),
    ...fields(struct(packet, 'vanity_packet_meta')),
    ...[...program.matchAll(/static inline [^(]*?(\w+)\(/g)].map(([, name]) => name),
    ...[...(program + packet).matchAll(/\bVANITY_[A-Z_]+\b/g)].map(([name]) => name),
    ...[...(program + packet).matchAll(/struct (vanity_\w+)/g)].map(([, name]) => name),
  ].filter((name) => !/_H$/.test(name));
  t.true(names.length > 40);
  for (const name of new Set(names)) t.regex(reference, new RegExp(`\`${name}\\b`), name);
});
