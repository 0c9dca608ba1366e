// Format and lint of both languages; `--fix` writes. A tool that is not installed is named, not ignored.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { run, Tally } from './suite.js';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const fix = process.argv.includes('--fix');
const need = process.env.CI === 'true';
const tally = new Tally();

async function check(name, command, args) {
  const present = command.includes('/') || (await run('which', [command])).ok;
  if (!present) {
    console.log(
      `${need ? '✘' : '-'} ${name}: ${command} is not installed (apt-get install ${command})`,
    );
    if (need) tally.add(0, 1);
    return;
  }
  const start = Date.now();
  const { ok, end, output } = await run(command, args);
  console.log(`${ok ? '✔' : '✘'} ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  if (!ok) console.log(`${output.slice(-20000)}\n${command}: ${end}`);
  tally.add(ok ? 1 : 0, ok ? 0 : 1);
}

const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' });
const own = listed
  .split('\n')
  .filter((path) => /^(native|test|bench|examples)\/.*\.(cpp|hpp|c|h)$/.test(path));
const core = readFileSync('native/sources.txt', 'utf8')
  .split('\n')
  .filter((path) => path.startsWith('native/') && !path.startsWith('native/addon/'));

await check('biome', 'node_modules/.bin/biome', [
  'check',
  ...(fix ? ['--write'] : []),
  '--error-on-warnings',
]);
await check('clang-format', 'clang-format', [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...own]);
// One translation unit a process, as many at once as there are cores; the headers are seen through them.
const tidy = `printf '%s\\n' ${core.join(' ')} | xargs -P ${availableParallelism()} -n 1 sh -c \
'clang-tidy --quiet "$0" -- -std=c++20 -Inative/include -Inative -DVANITY_VERSION=\\"0\\" 2>&1 || exit 1'`;
if ((await run('which', ['clang-tidy'])).ok) await check('clang-tidy', '/bin/sh', ['-c', tidy]);
else await check('clang-tidy', 'clang-tidy', []);
tally.finish();
