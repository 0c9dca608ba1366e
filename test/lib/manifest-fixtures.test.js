import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { errors, warnings } from '../../dist/errors.js';
import { loadManifest, loadManifestText, ManifestErrors } from '../../dist/manifest/plan.js';
import { renderError } from '../../dist/manifest/render.js';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures');
const tomls = (folder) =>
  readdirSync(join(fixtures, folder)).filter((file) => file.endsWith('.toml'));

function problemsOf(load) {
  try {
    load();
    return [];
  } catch (error) {
    if (!(error instanceof ManifestErrors)) throw error;
    return error.errors;
  }
}

// UPDATE_GOLDEN=1 writes the messages; read the difference before you commit it.
for (const file of tomls('invalid')) {
  test(`invalid/${file} says what its golden message says`, (t) => {
    const path = join(fixtures, 'invalid', file);
    const golden = path.replace(/toml$/, 'txt');
    const problems = problemsOf(() => loadManifest(path));
    const text = `${problems.map((p) => renderError(p)).join('\n\n')}\n`.replaceAll(path, file);
    if (process.env.UPDATE_GOLDEN) writeFileSync(golden, text);
    t.true(problems.length > 0);
    t.true(existsSync(golden), `${golden} is missing`);
    t.is(text, readFileSync(golden, 'utf8'));
    for (const problem of problems) {
      t.true(Object.hasOwn(errors, problem.code), problem.code);
      t.truthy(problem.location, `${problem.code} has no place`);
      t.notRegex(
        problem.message + problem.hint,
        /\{\w+\}/,
        'a word of the template is not filled in',
      );
      t.true(problem.hint.length > 0, `${problem.code} has no hint`);
    }
  });
}

for (const file of tomls('valid')) {
  test(`valid/${file} is valid`, (t) => {
    const path = join(fixtures, 'valid', file);
    const problems = problemsOf(() => t.truthy(loadManifest(path).plan));
    t.deepEqual(
      problems.map((p) => renderError(p)),
      [],
    );
  });
}

test('every code that the manifest can raise has a fixture', (t) => {
  const raised = new Set(
    tomls('invalid').flatMap((file) =>
      problemsOf(() => loadManifest(join(fixtures, 'invalid', file))).map(({ code }) => code),
    ),
  );
  const source = fileURLToPath(new URL('../../lib/manifest', import.meta.url));
  const files = readdirSync(source, { recursive: true }).filter((name) => name.endsWith('.ts'));
  const named = new Set(
    files.flatMap((name) => readFileSync(join(source, name), 'utf8').match(/VANITY_E_\w+/g) ?? []),
  );
  // Those come from the file itself, the command line or this machine, and have tests of their own.
  const elsewhere = [
    'VANITY_E_MANIFEST_READ',
    'VANITY_E_MANIFEST_SIZE',
    'VANITY_E_MANIFEST_KIND',
    'VANITY_E_SET',
    'VANITY_E_CORES',
    'VANITY_E_CORE_ABSENT',
    'VANITY_E_LIMIT',
    'VANITY_E_CHANNEL_FAN',
    'VANITY_E_APPLY',
    'VANITY_E_SEGMENT_INVALID',
    'VANITY_E_INTERNAL',
  ];
  for (const code of named)
    t.true(raised.has(code) || elsewhere.includes(code), `${code} has no fixture`);
});

test('a loader of text reads what stands for a file', (t) => {
  const text = readFileSync(join(fixtures, 'valid', 'flow-split.toml'), 'utf8');
  t.is(loadManifestText('flow-split.toml', text).plan.shards.length, 4);
  t.true(Object.keys(warnings).every((code) => code.startsWith('VANITY_W_')));
});
