// What a killed system leaves, who removes it, and what nobody may take from a living one.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { usableCpus } from '../../dist/host/cpus.js';
import { leftOut } from './helpers/left-out.js';
import {
  parse,
  scratch,
  sharedFiles,
  startSystem,
  startVanity,
  stats,
  until,
  vanity,
  writeManifest,
} from './helpers/vanity.js';

const NAME = `left${process.pid}`;
const CORES = usableCpus();

/** One pinned shard that makes packets and keeps none. */
function pinned(folder, name, core = CORES[0], extra = '') {
  return writeManifest(
    folder,
    `[system]
name = "${name}"
oversubscribe = true
${extra}
[shards.source]
program = "generate"
core = ${core}
options = { rate = 1000 }
[shards.end]
program = "sink"
core = ${core}
[channels.link]
from = "source"
to = "end"
`,
    `${name}.toml`,
  );
}

const lock = (core) => `vanity-core-${core}.lock`;
const holder = (core) => readFileSync(join('/dev/shm', lock(core)), 'utf8');
const runtime = (folder) =>
  existsSync(join(folder, 'runtime')) ? readdirSync(join(folder, 'runtime')).sort() : [];
const freeHugePages = () =>
  /HugePages_Free:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];

async function interrupt(t, system) {
  system.kill('SIGINT');
  const ended = await system.ended;
  t.is(ended.code, 0, ended.stderr);
}

test.serial('what SIGKILL leaves, the next start finds and removes', async (t) => {
  const folder = scratch(t);
  const system = await startSystem(t, folder, [pinned(folder, `${NAME}a`)]);
  t.deepEqual(runtime(folder), [`${NAME}a.segment`]);
  t.is(holder(CORES[0]), `${system.pid}`);
  const huge = freeHugePages();
  system.kill('SIGKILL');
  t.is((await system.ended).signal, 'SIGKILL');
  t.deepEqual(runtime(folder), [`${NAME}a.segment`]);
  t.true(sharedFiles().includes(lock(CORES[0])));
  t.true(Number(freeHugePages()) >= Number(huge), 'its memory is gone with it');

  // Of another name, on the same core.
  const next = await startSystem(t, folder, [pinned(folder, `${NAME}b`)]);
  t.deepEqual(runtime(folder), [`${NAME}b.segment`]);
  t.is(holder(CORES[0]), `${next.pid}`);
  await interrupt(t, next);
  t.deepEqual(runtime(folder), []);
  t.not(existsSync(join('/dev/shm', lock(CORES[0]))) && holder(CORES[0]), `${next.pid}`);
});

test.serial('the same name starts again after SIGKILL', async (t) => {
  const folder = scratch(t);
  const manifest = pinned(folder, NAME);
  const first = await startSystem(t, folder, [manifest]);
  first.kill('SIGKILL');
  await first.ended;
  const second = await startSystem(t, folder, [manifest]);
  t.is((await stats(t, folder, NAME)).pid, second.pid);
  await interrupt(t, second);
  t.deepEqual(runtime(folder), []);
});

test.serial('two systems of one name: the second is told who runs', async (t) => {
  const folder = scratch(t);
  const first = await startSystem(t, folder, [pinned(folder, NAME)]);
  const other = CORES.at(-1);
  const second = await vanity(
    t,
    folder,
    ['run', pinned(folder, NAME, other), '--json', '--quiet'],
    {
      expectBusyCore: CORES.length === 1 ? '1' : '',
    },
  );
  t.is(second.code, 1);
  const { error } = parse(second);
  if (CORES.length > 1) {
    t.is(error.code, 'VANITY_E_NAME_IN_USE');
    t.true(error.message.includes(`${first.pid}`), error.message);
  }
  t.deepEqual(runtime(folder), [`${NAME}.segment`]);
  const before = (await stats(t, folder, NAME)).shards.end.consumed;
  t.true(await until(async () => (await stats(t, folder, NAME)).shards.end.consumed > before));
  await interrupt(t, first);
});

test.serial('one core for two processes: the second is told whose it is', async (t) => {
  const folder = scratch(t);
  const first = await startSystem(t, folder, [pinned(folder, `${NAME}a`)]);
  const second = await vanity(t, folder, ['run', pinned(folder, `${NAME}b`), '--json'], {
    expectBusyCore: '1',
  });
  t.is(second.code, 1);
  const { error } = parse(second);
  t.is(error.code, 'VANITY_E_CORE_IN_USE');
  t.true(error.message.includes(`process ${first.pid}`), error.message);
  t.deepEqual(runtime(folder), [`${NAME}a.segment`]);
  t.is(holder(CORES[0]), `${first.pid}`);
  await interrupt(t, first);
});

test.serial('a start takes nothing from a living system, nor does its end', async (t) => {
  if (CORES.length < 2) return leftOut(t, 'it needs two cores');
  const folder = scratch(t);
  const first = await startSystem(t, folder, [pinned(folder, `${NAME}a`)]);
  const second = await startSystem(t, folder, [pinned(folder, `${NAME}b`, CORES[1])]);
  t.deepEqual(runtime(folder), [`${NAME}a.segment`, `${NAME}b.segment`]);
  t.is(holder(CORES[0]), `${first.pid}`);
  t.is(holder(CORES[1]), `${second.pid}`);
  second.kill('SIGKILL');
  await second.ended;
  const third = await startSystem(t, folder, [pinned(folder, `${NAME}c`, CORES[1])]);
  t.deepEqual(runtime(folder), [`${NAME}a.segment`, `${NAME}c.segment`]);
  await interrupt(t, third);
  t.is((await stats(t, folder, `${NAME}a`)).state, 'running');
  t.is(holder(CORES[0]), `${first.pid}`);
  await interrupt(t, first);
  t.deepEqual(runtime(folder), []);
});

test.serial('in the default place too: the folder of the user goes when it is empty', async (t) => {
  const folder = scratch(t);
  const mine = `vanity-${process.getuid()}`;
  const where = { VANITY_RUNTIME_DIR: '' };
  const inside = () => (sharedFiles().includes(mine) ? readdirSync(join('/dev/shm', mine)) : []);
  const system = await startSystem(t, folder, [pinned(folder, NAME)], where);
  t.true(inside().includes(`${NAME}.segment`));
  await interrupt(t, system);
  t.false(inside().includes(`${NAME}.segment`));
  // Others may have theirs in it.
  if (inside().length === 0) t.true(await until(() => !sharedFiles().includes(mine), 2000));
});

test.serial('no room for the segment: an error, and nothing started', async (t) => {
  const folder = scratch(t);
  const ended = await startVanity(t, folder, ['run', pinned(folder, NAME), '--json'], {
    VANITY_RUNTIME_DIR: '/proc/none',
  }).ended;
  t.is(ended.code, 1);
  const { error } = parse(ended);
  t.true(['VANITY_E_RUNTIME_DIR', 'VANITY_E_CORE_IN_USE'].includes(error.code), error.code);
});

test.serial('other processes see a system live: its figures advance', async (t) => {
  const folder = scratch(t);
  const system = await startSystem(t, folder, [pinned(folder, NAME), '--metrics', '127.0.0.1:0']);
  await system.printed('metrics: ');
  const [, url] = /metrics: (\S+)/.exec(system.stderr);
  const scrape = async () => {
    const text = await (await fetch(url)).text();
    const line = `vanity_shard_consumed_total{system="${NAME}",shard="end"} `;
    const found = text.split('\n').find((one) => one.startsWith(line));
    t.truthy(found, text);
    return Number(found.slice(line.length));
  };
  const one = (await stats(t, folder, NAME)).shards.end.consumed;
  const metric = await scrape();
  await sleep(200);
  t.true((await scrape()) > metric);
  t.true((await stats(t, folder, NAME)).shards.end.consumed > one);
  const top = await vanity(t, folder, ['top', NAME, '--once', '--interval', '200ms']);
  t.is(top.code, 0);
  t.regex(top.stdout, /source +generate/);
  await interrupt(t, system);
});
