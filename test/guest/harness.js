// What scripts in the guest count their checks with, and how they call the command line.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

let passed = 0;
let failed = 0;

export function check(what, truth, detail = '') {
  if (truth) passed++;
  else failed++;
  console.log(
    `${truth ? 'ok' : 'not ok'} ${what}${truth || detail === '' ? '' : `: ${JSON.stringify(detail)}`}`,
  );
}

export function equal(what, found, wanted) {
  check(what, JSON.stringify(found) === JSON.stringify(wanted), { found, wanted });
}

export function refused(what, run, code, pattern = /./) {
  try {
    check(what, false, run());
  } catch (error) {
    check(
      what,
      error.code === code && pattern.test(error.message),
      `${error.code} ${error.message}`,
    );
  }
}

export function vanity(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** The last line, and the end. */
export function end() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
