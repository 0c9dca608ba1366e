// What the guide of devices shows is what the code does.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { checkCommand } from '../../dist/cli/check.js';
import { errors, warnings } from '../../dist/errors.js';
import { loadManifestText } from '../../dist/manifest/plan.js';

const guide = readFileSync(new URL('../../docs/guide/devices.md', import.meta.url), 'utf8');
const manifests = [...guide.matchAll(/^```toml\n([\s\S]*?)^```$/gm)].map(([, text]) => text);

/** The shards that a part of a manifest names, and a way between them. */
function whole(part) {
  const shards = part.includes('"worker"') ? ['worker', 'other'] : ['left', 'right'];
  const sections = shards.map((name) => `[shards.${name}]\nprogram = "forward"\n`);
  const way = (from, to) => `[channels.${from}]\nfrom = "${from}"\nto = "${to}"\n`;
  const [a, b] = shards;
  return `[system]\nname = "guide"\n${sections.join('')}${way(a, b)}${way(b, a)}${part}`;
}

test('its manifests are valid', (t) => {
  t.is(manifests.length, 2);
  for (const part of manifests) {
    const { plan, warnings: found } = loadManifestText('guide.toml', whole(part));
    t.deepEqual(found, []);
    t.is(plan.devices.length, 1);
  }
});

test('vanity check prints the grants that it shows', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-guide-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'vanity.toml');
  writeFileSync(file, whole(manifests[0]));
  let out = '';
  const code = checkCommand(file, {
    out: (text) => {
      out += text;
    },
    err: (text) => t.fail(text),
  });
  t.is(code, 0);
  const shown = guide
    .split('\n')
    .filter((line) => /^ {4}(\[devices| {2}(reg|vec|mem)| {13}pool)/.test(line));
  t.is(shown.length, 6);
  for (const line of shown) t.true(out.split('\n').includes(line.slice(4)), `${line}\n${out}`);
});

test('codes that it names exist', (t) => {
  const codes = guide.match(/VANITY_[EW]_\w+/g);
  t.true(codes.length > 0);
  for (const code of codes) t.true(code in errors || code in warnings, code);
});
