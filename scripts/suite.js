// A suite is a command that ends with "N passed, N failed"; what dies without it has failed.
import { spawn } from 'node:child_process';

/** Runs a command, collects its output, and shows it as it comes when `show` is set. */
export function run(command, args, { env = {}, show = false, seconds = 600 } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let output = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, seconds * 1000);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
        if (show) process.stdout.write(text);
      });
    }
    child.on('error', (error) => {
      output += `${error.message}\n`;
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const end = timedOut ? `no end after ${seconds} s` : (signal ?? `exit code ${code}`);
      resolve({ ok: code === 0, end, output });
    });
  });
}

export class Tally {
  passed = 0;
  failed = 0;

  add(passed, failed) {
    this.passed += passed;
    this.failed += failed;
  }

  /** Prints the last line and ends the process; having run nothing is a failure too. */
  finish() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    process.exit(this.failed === 0 && this.passed > 0 ? 0 : 1);
  }
}
