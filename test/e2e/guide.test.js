// The guide, followed step by step in an empty folder.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import { command, missing, ROOT, shell, shellBlocks } from './helpers/paste.js';

const guide = join(ROOT, 'docs/guide/getting-started.md');

/** Files that a reader is told to save. */
function saved(path) {
  const text = readFileSync(path, 'utf8');
  return [...text.matchAll(/as `([\w.-]+)`:\n\n```\w+\n([\s\S]*?)^```$/gm)];
}

test('getting started: from an empty folder to an own program', async (t) => {
  if (await missing(t, 'cc', 'curl')) return;
  const folder = mkdtempSync(join(tmpdir(), 'vanity-guide-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  // In place of `npm install`, which the tests of the package try.
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/vanity'));
  command(join(folder, 'node_modules/.bin'));
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');

  const files = saved(guide);
  t.deepEqual(
    files.map(([, name]) => name),
    ['vanity.toml', 'small.c'],
  );
  for (const [, name, text] of files) writeFileSync(join(folder, name), text);

  const { code, stdout, stderr } = await shell(shellBlocks(guide).join('\n'), folder);
  t.is(code, 0, `${stdout}\n${stderr}`);
  t.regex(stdout, /^first: stopped after .*, 0 packets lost$/m);
  t.regex(stderr, /Did you mean "sink"/);
  const [, large] = /^mine +large +([\d,]+)$/m.exec(stdout);
  t.true(Number(large.replaceAll(',', '')) > 1000);
  t.regex(stdout, /large: [1-9]\d+/);
  t.regex(stdout, /^vanity_shard_user_total\{.*counter="large".*\} [1-9]/m);
});

test('the picture in the README is what `vanity check --graph svg` draws', async (t) => {
  const { stdout } = await shell(
    `node '${ROOT}/dist/cli/main.js' check examples/flow-split/vanity.toml --graph svg`,
    ROOT,
  );
  t.is(stdout, readFileSync(join(ROOT, 'docs/images/flow-split.svg'), 'utf8'));
});

test('documents link to what is there', (t) => {
  const documents = ['README.md', 'CHANGELOG.md'];
  for (const folder of ['docs', 'examples']) {
    for (const path of readdirSync(join(ROOT, folder), { recursive: true })) {
      if (path.endsWith('.md') && !path.startsWith('reference/api/')) {
        documents.push(join(folder, path));
      }
    }
  }
  t.true(documents.length > 15);
  for (const document of documents) {
    const text = readFileSync(join(ROOT, document), 'utf8').replace(/^```[\s\S]*?^```$/gm, '');
    for (const [, link] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)) {
      t.true(existsSync(join(ROOT, dirname(document), link)), `${document}: ${link}`);
    }
  }
});
