import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { createProgram } from '../../dist/cli/program.js';
import { labSegment } from './helpers/segment.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const REFERENCE = fileURLToPath(new URL('../../docs/reference/cli.md', import.meta.url));

/** Runs vanity to its end. */
function vanity(args, env = {}) {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [MAIN, ...args],
      { env: { ...process.env, ...env } },
      (error, stdout, stderr) => {
        resolve({ code: error ? error.code : 0, stdout, stderr });
      },
    );
  });
}

/** A runtime directory with these systems: [file, segment, held by a living process]. */
async function directory(t, ...systems) {
  const path = mkdtempSync(join(tmpdir(), 'vanity-cli-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  for (const [name, segment, held] of systems) {
    const file = join(path, `${name}.segment`);
    writeFileSync(file, new Uint8Array(segment));
    if (!held) continue;
    // What a system does itself: it holds its segment until it ends.
    const holder = spawn('flock', [file, 'sh', '-c', 'echo held; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    t.teardown(() => process.kill(-holder.pid, 'SIGKILL'));
    await new Promise((resolve) => holder.stdout.once('data', resolve));
  }
  return { VANITY_RUNTIME_DIR: path };
}

test('usage errors end with 2 and name the nearest right thing', async (t) => {
  const cases = [
    [['rnu'], /Did you mean run\?/],
    [['run'], /missing required argument 'manifest'/],
    [['run', 'x.toml', '--durration', '5s'], /Did you mean --duration\?/],
    [['run', 'x.toml', '--duration', '5'], /--duration must be a time such as 500ms/],
    [['run', 'x.toml', '--interval', '0s'], /--interval must be a time/],
    [['top', '--sort', 'size'], /--sort must be one of pps, busy, name/],
    [['check', 'x.toml', '--graph', 'png'], /It is dot or svg/],
    [['stats', 'a', 'b'], /too many arguments/],
    [['bench', 'channel', '--rounds', 'many'], /--rounds must be a whole number/],
  ];
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await vanity(args);
    t.is(code, 2, args.join(' '));
    t.is(stdout, '', args.join(' '));
    t.regex(stderr, /^error\[VANITY_E_USAGE\]: /, args.join(' '));
    t.regex(stderr, message);
    t.regex(stderr, /\nhint: /);
  }
});

test('without arguments it prints help and ends with 2; asked for help, with 0', async (t) => {
  const bare = await vanity([]);
  t.is(bare.code, 2);
  t.regex(bare.stderr, /Usage: vanity/);
  const asked = await vanity(['--help']);
  t.is(asked.code, 0);
  t.regex(asked.stdout, /Usage: vanity/);
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url)));
  t.is((await vanity(['--version'])).stdout, `${version}\n`);
});

test('every command has examples, and the reference names every command and flag', async (t) => {
  const reference = readFileSync(REFERENCE, 'utf8');
  for (const command of createProgram(() => {}).commands) {
    const name = command.name();
    const helps = await Promise.all(
      [[name], ...command.commands.map((inner) => [name, inner.name()])].map(async (words) => {
        const { code, stdout } = await vanity([...words, '--help']);
        t.is(code, 0);
        t.regex(stdout, /\nExamples:\n {2}\$ (sudo )?vanity /, words.join(' '));
        return stdout;
      }),
    );
    const stdout = helps.join('\n');
    const section = reference.split(/^## /m).find((part) => part.startsWith(`vanity ${name}\n`));
    t.truthy(section, `docs/reference/cli.md has no section "vanity ${name}"`);
    for (const [flag] of stdout.matchAll(/^ {2}--[a-z-]+/gm)) {
      t.true(section.includes(`\`${flag.trim()}`), `${name} ${flag.trim()} is not documented`);
    }
    for (const [flag] of section.matchAll(/`--[a-z-]+/g)) {
      t.true(stdout.includes(flag.slice(1)), `${name} has no ${flag.slice(1)}`);
    }
  }
});

test('a command of commands prints help by itself, and names the nearest right one', async (t) => {
  const bare = await vanity(['device']);
  t.is(bare.code, 2);
  t.regex(bare.stderr, /^Usage: vanity device/);
  const wrong = await vanity(['device', 'lst']);
  t.is(wrong.code, 2);
  t.regex(wrong.stderr, /Did you mean list\?/);
});

test('errors are plain on stderr, JSON on stdout when asked, with a stack only for debugging', async (t) => {
  const plain = await vanity(['run', '/nonexistent.toml']);
  t.is(plain.code, 1);
  t.is(plain.stdout, '');
  t.regex(plain.stderr, /^error\[VANITY_E_MANIFEST_READ\]: .*\nhint: .*\n$/);
  const json = await vanity(['run', '/nonexistent.toml', '--json']);
  t.is(json.code, 1);
  t.is(json.stderr, '');
  t.is(JSON.parse(json.stdout).error.code, 'VANITY_E_MANIFEST_READ');
  const debug = await vanity(['stats', 'x', '--json'], { VANITY_DEBUG: '1' });
  t.regex(debug.stderr, /\n {4}at /);
});

test('stats: the one system that runs, by name, by path, as text and as JSON', async (t) => {
  const env = await directory(t, ['lab', labSegment({ pid: 4711 }), true]);
  for (const args of [[], ['lab'], [join(env.VANITY_RUNTIME_DIR, 'lab.segment')]]) {
    const { code, stdout, stderr } = await vanity(['stats', ...args], env);
    t.is(stderr, '');
    t.is(code, 0);
    t.regex(stdout, /^lab: running after 1\.0 s/);
    t.regex(stdout, /^link {5}rx > tx/m);
  }
  const { stdout } = await vanity(['stats', '--json'], env);
  const summary = JSON.parse(stdout);
  t.is(summary.shards.rx.received, 1000);
  t.is(summary.live, true);
});

test('stats: none, several, unknown, stale, damaged', async (t) => {
  const failure = async (args, env) => {
    const { code, stdout, stderr } = await vanity(['stats', ...args], env);
    t.is(code, 1);
    t.is(stdout, '');
    return stderr;
  };
  t.regex(await failure([], await directory(t)), /VANITY_E_SYSTEM_NONE/);
  t.regex(await failure([], { VANITY_RUNTIME_DIR: '/nonexistent' }), /VANITY_E_SYSTEM_NONE/);

  const two = await directory(t, ['a', labSegment(), true], ['b', labSegment(), true]);
  t.regex(await failure([], two), /VANITY_E_SYSTEM_MANY.*a, b\nhint: .*vanity stats a/);
  t.regex(await failure(['c'], two), /VANITY_E_SYSTEM_UNKNOWN.*running: a, b/);

  const stale = await directory(t, ['old', labSegment({ name: 'old', pid: 99 }), false]);
  t.regex(await failure([], stale), /VANITY_E_SYSTEM_STALE.*process 99 ended/);
  t.regex(await failure(['old'], stale), /VANITY_E_SYSTEM_STALE/);
  const path = join(stale.VANITY_RUNTIME_DIR, 'old.segment');
  t.true(readFileSync(path).length > 0, 'a reader removes nothing');
  const named = await vanity(['stats', path], stale);
  t.is(named.code, 0);
  t.regex(named.stderr, /^stale: process 99/);

  const damaged = await directory(t, ['bad', new ArrayBuffer(8192).slice(0, 100), true]);
  t.regex(await failure([], damaged), /VANITY_E_SEGMENT/);
  const foreign = await directory(t, ['bad', new Uint8Array(8192).fill(65).buffer, true]);
  t.regex(await failure([], foreign), /VANITY_E_SEGMENT_INVALID/);
});

test('top --once prints one view without colors or screen control', async (t) => {
  const env = await directory(t, ['lab', labSegment(), true]);
  const { code, stdout } = await vanity(['top', '--once', '--interval', '10ms'], env);
  t.is(code, 0);
  t.regex(stdout, /^vanity top {2}lab {2}running/);
  t.regex(stdout, /^CHANNEL/m);
  t.false(stdout.includes('\u001b'));
});

test('a reader that goes away early is no error', async (t) => {
  const env = await directory(t, ['lab', labSegment(), true]);
  const { code, stderr } = await new Promise((resolve) => {
    execFile(
      'bash',
      ['-c', `set -o pipefail; "${process.execPath}" "${MAIN}" stats | true`],
      { env: { ...process.env, ...env } },
      (error, _, stderr) => resolve({ code: error ? error.code : 0, stderr }),
    );
  });
  t.is(code, 0);
  t.is(stderr, '');
});

test('bench lists what there is, and knows no other', async (t) => {
  const { benches } = JSON.parse((await vanity(['bench', '--json'])).stdout);
  t.true(benches.some(({ name }) => name === 'channel'));
  const { code, stderr } = await vanity(['bench', 'chanel']);
  t.is(code, 1);
  t.regex(stderr, /VANITY_E_BENCH_UNKNOWN/);
});

test('doctor examines this very host', async (t) => {
  const { code, stdout } = await vanity(['doctor', '--json']);
  t.is(code, 0);
  const { rows } = JSON.parse(stdout);
  t.true(rows.length > 15);
  for (const { name, status, found, why } of rows) {
    t.true(['ok', 'warn', 'missing'].includes(status), name);
    t.not(found, '', name);
    t.not(why, '', name);
  }
});
