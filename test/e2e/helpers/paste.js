// Runs documents the way a reader does: pastes their shell blocks, one after another, into one shell.
import { spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { leftOut } from './left-out.js';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const MAIN = join(ROOT, 'dist/cli/main.js');

/** The ```sh blocks of a document. */
export function shellBlocks(path) {
  const text = readFileSync(path, 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block]) => block);
}

/** A folder as a clone with everything built is to a reader; what is made in it goes with it. */
export function clone(t) {
  const path = mkdtempSync(join(tmpdir(), 'vanity-paste-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  mkdirSync(join(path, 'native'));
  for (const part of ['include', 'port']) {
    symlinkSync(join(ROOT, 'native', part), join(path, 'native', part));
  }
  cpSync(join(ROOT, 'examples'), join(path, 'examples'), {
    recursive: true,
    filter: (file) => !/\.so$|node_modules/.test(file),
  });
  command(join(path, 'node_modules/.bin'));
  writeFileSync(join(path, 'package.json'), '{ "private": true, "type": "module" }\n');
  symlinkSync(ROOT, join(path, 'node_modules/vanity'));
  return path;
}

/** Puts `vanity` where npx looks for it. */
export function command(bin) {
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'vanity'), `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`);
  chmodSync(join(bin, 'vanity'), 0o755);
}

/**
 * Runs a script to its end; whatever it started and left goes after `seconds`, or at its end. While
 * somebody else's system owns the cores it waits and tries again, after `before`.
 */
export async function shell(script, cwd, { seconds = 60, before = '' } = {}) {
  for (let tries = 1; ; ++tries) {
    const result = await once(script, cwd, seconds);
    if (result.code === 0 || tries === 20) return result;
    if (!/VANITY_E_CORE_IN_USE/.test(result.stderr + result.stdout)) return result;
    if (before !== '') await once(before, cwd, seconds);
    await new Promise((resolve) => setTimeout(resolve, 1000 + 500 * Math.random()));
  }
}

function once(script, cwd, seconds) {
  return new Promise((resolve) => {
    const env = { ...process.env, VANITY_RUNTIME_DIR: join(cwd, '.runtime'), NO_COLOR: '1' };
    const child = spawn('bash', ['-euo', 'pipefail', '-c', script], { cwd, env, detached: true });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (part) => {
      stdout += part;
    });
    child.stderr.on('data', (part) => {
      stderr += part;
    });
    const group = (signal) => {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // Nothing of it is left.
      }
    };
    const timer = setTimeout(() => group('SIGKILL'), seconds * 1000);
    child.on('exit', () => group('SIGTERM'));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code: signal ?? code, stdout, stderr });
    });
  });
}

/** Ends the test, and says so, when a tool is not there. */
export async function missing(t, ...tools) {
  for (const tool of tools) {
    const { code } = await shell(`command -v ${tool}`, tmpdir());
    if (code === 0) continue;
    leftOut(t, `${tool} is not there`);
    return true;
  }
  return false;
}
