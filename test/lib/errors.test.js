import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { errors, fill, VanityError, warnings } from '../../dist/errors.js';
import { errorsText as text } from '../../docs/reference/generate-tables.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const document = readFileSync(join(root, 'docs/reference/errors.md'), 'utf8');

function codesIn(folder, pattern) {
  const files = readdirSync(join(root, folder), { recursive: true }).filter((f) => pattern.test(f));
  return files.flatMap((file) =>
    [...readFileSync(join(root, folder, file), 'utf8').matchAll(/["']VANITY_[EW]_\w+["']/g)].map(
      ([quoted]) => ({ file, code: quoted.slice(1, -1) }),
    ),
  );
}

test('the document has exactly the codes of the table', (t) => {
  const headings = [...document.matchAll(/^### (VANITY_\w+)$/gm)].map(([, code]) => code);
  t.deepEqual(headings, [...Object.keys(errors), ...Object.keys(warnings)]);
});

test('the document is what docs/reference/generate-tables.js writes', (t) => {
  t.is(document, text, 'run: node docs/reference/generate-tables.js');
});

test('every code that the native core raises is in the table', (t) => {
  const raised = codesIn('native', /\.(cpp|hpp|h)$/);
  t.true(raised.length > 0);
  const missing = raised.filter(({ code }) => !Object.hasOwn({ ...errors, ...warnings }, code));
  t.deepEqual(missing, []);
});

test('every code that lib/ raises is in the table', (t) => {
  const all = { ...errors, ...warnings };
  t.deepEqual(
    codesIn('lib', /\.ts$/).filter(({ code }) => !Object.hasOwn(all, code)),
    [],
  );
});

test('every row has a message and a hint', (t) => {
  for (const [code, { message, hint }] of Object.entries({ ...errors, ...warnings })) {
    t.regex(code, /^VANITY_[EW]_[A-Z_]+$/);
    t.true(message.length > 0 && hint.length > 0, code);
  }
});

test('templates are filled in, and braces can be written', (t) => {
  t.is(fill('{a} and {b} in {{ {a} }}', { a: 1, b: 'x' }), '1 and x in { 1 }');
  t.is(fill('{a}', { a: '{b}', b: 'no' }), '{b}', 'what is filled in is not a template');
  t.is(fill('{toString}', {}), '{toString}');
});

test('an error carries code, message, hint and exit code', (t) => {
  const error = new VanityError('VANITY_E_USAGE', { problem: 'no such command' });
  t.true(error instanceof Error);
  t.is(error.message, 'no such command');
  t.is(error.code, 'VANITY_E_USAGE');
  t.is(error.exitCode, 2);
  t.is(new VanityError('VANITY_E_NAME', {}).exitCode, 1);
});

test('an error of the native core keeps its own words', (t) => {
  const native = Object.assign(new Error('core 3 is owned by process 7'), {
    code: 'VANITY_E_CORE_IN_USE',
    hint: 'choose another core',
  });
  const error = VanityError.from(native);
  t.is(error.code, 'VANITY_E_CORE_IN_USE');
  t.is(error.message, 'core 3 is owned by process 7');
  t.is(error.hint, 'choose another core');
  t.is(error.cause, native);
  t.is(VanityError.from(error), error);
  const bare = VanityError.from({ code: 'VANITY_E_FIFO', message: 'refused', hint: '' });
  t.notRegex(bare.hint, /\{/);
  t.is(VanityError.from(new TypeError('oops')).code, 'VANITY_E_INTERNAL');
  t.is(VanityError.from({ code: 'toString' }).code, 'VANITY_E_INTERNAL');
  t.is(VanityError.from(undefined).code, 'VANITY_E_INTERNAL');
});
