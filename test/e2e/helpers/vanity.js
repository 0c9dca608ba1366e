// Starts the command line as a user does, and knows what it may leave behind.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const MAIN = join(ROOT, 'dist/cli/main.js');
const LIMIT_MS = 50_000;
const CORE_WAIT_MS = 20_000;

/** A folder of the test's own, with the runtime directory of its systems in it. */
export function scratch(t) {
  const path = mkdtempSync(join(tmpdir(), 'vanity-e2e-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export function writeManifest(folder, text, name = 'vanity.toml') {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** A process with what it printed so far, and its end. Killed at the latest when the test is over. */
export class Started {
  stdout = '';
  stderr = '';
  over = false;

  constructor(t, command, args, options) {
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    this.child.stdout.on('data', (part) => {
      this.stdout += part;
    });
    this.child.stderr.on('data', (part) => {
      this.stderr += part;
    });
    const limit = setTimeout(() => this.child.kill('SIGKILL'), LIMIT_MS);
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        clearTimeout(limit);
        this.over = true;
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
    t.teardown(() => {
      if (!this.over) this.child.kill('SIGKILL');
    });
  }

  get pid() {
    return this.child.pid;
  }

  /** Waits until it has printed that, on either stream. */
  async printed(text) {
    const seen = () => this.stderr.includes(text) || this.stdout.includes(text);
    if (await until(() => seen() || this.over)) if (seen()) return;
    throw new Error(`it never printed "${text}", but:\n${this.stdout}${this.stderr}`);
  }

  kill(signal) {
    this.child.kill(signal);
  }
}

export function startVanity(t, folder, args, env = {}) {
  return new Started(t, process.execPath, [MAIN, ...args], {
    env: { ...process.env, VANITY_RUNTIME_DIR: join(folder, 'runtime'), ...env },
  });
}

/** Starts `vanity run` and waits until the system runs. */
export async function startSystem(t, folder, args, env = {}) {
  const since = Date.now();
  for (;;) {
    const system = startVanity(t, folder, ['run', ...args], env);
    await until(() => system.over || / runs \(process/.test(system.stderr));
    if (!system.over) return system;
    if (!coreIsBusy(system, since)) throw new Error(system.stdout + system.stderr);
    await sleep(200);
  }
}

/** Runs vanity to its end. */
export async function vanity(t, folder, args, env = {}) {
  const since = Date.now();
  for (;;) {
    const ended = await startVanity(t, folder, args, env).ended;
    if (env.expectBusyCore || !coreIsBusy(ended, since)) return ended;
    await sleep(200);
  }
}

// Other systems of this machine may own the cores for a while.
function coreIsBusy({ stdout, stderr }, since) {
  return (stdout + stderr).includes('VANITY_E_CORE_IN_USE') && Date.now() - since < CORE_WAIT_MS;
}

/** The object that `run --json` ends with. */
export async function runJson(t, folder, args, env = {}) {
  const ended = await vanity(t, folder, ['run', ...args, '--json', '--quiet'], env);
  return { ...ended, json: parse(ended) };
}

export function parse({ stdout, stderr, code, signal }) {
  try {
    return JSON.parse(stdout);
  } catch {
    throw new Error(`no JSON (exit ${code ?? signal}):\n${stdout}${stderr}`);
  }
}

/** The counters of a system as another process reads them. */
export async function stats(t, folder, name, env = {}) {
  return parse(await startVanity(t, folder, ['stats', name, '--json'], env).ended);
}

/** True as soon as the condition is, false when it never was in time. */
export async function until(condition, ms = 20_000) {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) {
    if (await condition()) return true;
  }
  return false;
}

/** Everything of this process that outlives it if nobody removes it. */
export function sharedFiles() {
  return readdirSync('/dev/shm').filter((name) => name.startsWith('vanity-'));
}

/** CPU time of a process in seconds, all its threads together. */
export function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
