// The guide beside the code.
import { readFileSync } from 'node:fs';
import test from 'ava';
import { native } from '../../dist/native.js';
import { wakeTargets } from '../../dist/wake/figures.js';
import { wakeDefaults, wakeLimits } from '../../dist/wake/limits.js';
import { SCRIPT_MECHANISMS } from '../../dist/wake/node/references.js';

const read = (path) => readFileSync(new URL(`../../docs/${path}`, import.meta.url), 'utf8');
const guide = read('guide/wake-latency.md');

test('the guide has every mechanism, usable here or not, and no other', (t) => {
  const table = guide.split('| mechanism | the waiter |')[1].split('\n\n')[0];
  const rows = table.split('\n').map((row) => row.split('|')[1] ?? '');
  const named = rows.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name));
  const all = [...native.wake.mechanisms(), ...SCRIPT_MECHANISMS].map((m) => m.name);
  t.deepEqual(named.sort(), all.sort());
});

test('the guide has the targets of the table, and the window of adaptive', (t) => {
  const table = guide.split('| figure | target | why |')[1].split('\n\n')[0];
  const cells = table
    .split('\n')
    .flatMap((row) => (row.split('|')[2] ?? '').match(/[\d.]+/g) ?? []);
  const expected = Object.values(wakeTargets).map(String);
  t.deepEqual(cells.sort(), expected.sort());
  t.true(guide.includes(`spins up to ${wakeDefaults.adaptiveSpinNs / 1000} us`));
});

test('the reference has the defaults', (t) => {
  const reference = read('reference/cli.md');
  const { rounds, budgetS } = wakeDefaults;
  t.true(
    reference.includes(
      `visits every cell once: ${rounds.full}, or ${rounds.quick} with \`--quick\``,
    ),
  );
  t.true(reference.includes(`${budgetS.quick} s instead of ${budgetS.full} s`));
  t.true(reference.includes(`up to ${wakeLimits.idleNsMax / 1e9} s: \`0,10us,1ms\``));
  t.true(reference.includes(`above ${wakeLimits.allPairsCpus} processors`));
});
