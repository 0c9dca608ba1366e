// Runs the shipping command on real systems, each in a runtime directory of its own.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
export const EXAMPLE = fileURLToPath(
  new URL('../../examples/flow-split/vanity.toml', import.meta.url),
);

const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** Compiles modules of the native tests into a workspace. */
export function modules(at, ...names) {
  for (const name of names) {
    const source = root(`test/native/modules/${name}.c`);
    const [compiler, ...language] = existsSync(source) ? ['cc'] : ['c++', '-std=c++20'];
    const options = [...language, '-O2', '-fPIC', '-shared', `-I${root('native/include')}`];
    const file = compiler === 'cc' ? source : `${source}pp`;
    const { status, stderr } = spawnSync(
      compiler,
      [...options, file, '-o', join(at.path, `${name}.so`)],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(stderr);
  }
}

/** A folder for manifests and segments that goes when the test ends. */
export function workspace(t) {
  const path = mkdtempSync(join(tmpdir(), 'vanity-e2e-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  const env = { ...process.env, VANITY_RUNTIME_DIR: join(path, 'runtime') };
  const running = new Set();
  t.teardown(() => {
    for (const child of running) child.kill('SIGKILL');
  });
  return {
    path,
    file(name, text) {
      writeFileSync(join(path, name), text);
      return join(path, name);
    },
    /** What systems have left in the runtime directory. */
    left() {
      try {
        return readdirSync(env.VANITY_RUNTIME_DIR);
      } catch {
        return [];
      }
    },
    /** As `start`, on a terminal of its own; `said` looks at its screen. */
    terminal(...args) {
      const line = [process.execPath, MAIN, ...args].map((word) => `'${word}'`).join(' ');
      return this.spawn(
        'script',
        ['-qefc', `stty cols 100 rows 40; exec ${line}`, '/dev/null'],
        'stdout',
      );
    },
    /** Starts vanity; `ended` settles with { code, signal, stdout, stderr }. */
    start(...args) {
      return this.spawn(process.execPath, [MAIN, ...args], 'stderr');
    },
    spawn(command, args, listen) {
      const child = spawn(command, args, { env });
      running.add(child);
      let stdout = '';
      let stderr = '';
      const seen = [];
      child.stdout.on('data', (part) => {
        stdout += part;
        for (const check of seen) check();
      });
      child.stderr.on('data', (part) => {
        stderr += part;
        for (const check of seen) check();
      });
      const ended = new Promise((resolve) => {
        child.on('close', (code, signal) => {
          running.delete(child);
          resolve({ code, signal, stdout, stderr });
        });
      });
      return {
        pid: child.pid,
        ended,
        kill: (signal) => child.kill(signal),
        type: (keys) => child.stdin.write(keys),
        /** Until it has said this; whoever ends before it fails the test. */
        said: (pattern) =>
          new Promise((resolve, reject) => {
            const check = () => {
              const match = pattern.exec(listen === 'stdout' ? stdout : stderr);
              if (match) resolve(match);
            };
            seen.push(check);
            check();
            ended.then(() =>
              reject(new Error(`ended without saying ${pattern}:\n${stdout}${stderr}`)),
            );
          }),
      };
    },
    run(...args) {
      return this.start(...args).ended;
    },
  };
}

/** Packets with numbers, a program of a test between, and one that checks the numbers, as TOML. */
export const numbered = (name, middle, { rate = 100_000, more = '' } = {}) => `
[system]
name = "${name}"
oversubscribe = true
[shards.source]
program = "numberer.so"
options = { buffers = 4096, rate = ${rate} }
[shards.middle]
program = "${middle}"
${more}
[shards.end]
program = "checker.so"
[channels.first]
from = "source"
to = "middle"
overflow = "block"
[channels.second]
from = "middle"
to = "end"
overflow = "block"
`;

/** A generator, a stage between and a sink, as TOML. */
export function generator({ name = 'e2e', options = '', middle = 'forward', extra = '' } = {}) {
  return `
[system]
name = "${name}"
oversubscribe = true
[shards.source]
program = "generate"
options = { ${options} }
[shards.middle]
program = "${middle}"
[shards.end]
program = "sink"
[channels.first]
from = "source"
to = "middle"
overflow = "block"
[channels.second]
from = "middle"
to = "end"
overflow = "block"
${extra}`;
}
