// Format and lint of both languages; `--fix` writes. A tool that is not installed is named, not ignored.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { join } from 'node:path';
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
  const { ok, end, output } = await run(command, args, { seconds: 1100 });
  console.log(`${ok ? '✔' : '✘'} ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  if (!ok) console.log(`${output.slice(-20000)}\n${command}: ${end}`);
  tally.add(ok ? 1 : 0, ok ? 0 : 1);
}

const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' });
const own = listed
  .split('\n')
  .filter((path) => /^(native|test|bench|examples)\/.*\.(cpp|hpp|c|h)$/.test(path));
const core = ['native/sources.txt', 'native/sim/system/sources.txt']
  .flatMap((list) => readFileSync(list, 'utf8').split('\n'))
  .filter((path) => path.startsWith('native/') && !path.startsWith('native/addon/'));

function tidy() {
  const good = join(homedir(), '.cache', 'vanity', 'tidy');
  mkdirSync(good, { recursive: true });
  const flags = `-std=c++20 -Inative/include -Inative -DVANITY_VERSION='"0"'`;
  const one = `
    set -- $(case "$0" in native/sim/system/*) echo -DVANITY_SIM ;; esac)
    key=$({ g++ -E -C ${flags} "$@" "$0"; cat .clang-tidy; clang-tidy --version; } | sha256sum | cut -d ' ' -f 1)
    [ -e "${good}/$key" ] && touch "${good}/$key" && exit 0
    clang-tidy --quiet "$0" -- ${flags} "$@" 2>&1 && : >"${good}/$key"`;
  return `find "${good}" -type f -mtime +30 -delete
    printf '%s\\n' ${[...new Set(core)].join(' ')} | xargs -P ${availableParallelism()} -n 1 sh -c ${quoted(one)}`;
}
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

await check('biome', 'node_modules/.bin/biome', [
  'check',
  ...(fix ? ['--write'] : []),
  '--error-on-warnings',
]);
await check('clang-format', 'clang-format', [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...own]);
// One translation unit a process, as many at once as there are cores; the headers are seen through them. What
// was found good is not looked at again as long as nothing that it is made of changes, comments included.
if ((await run('which', ['clang-tidy'])).ok) await check('clang-tidy', '/bin/sh', ['-c', tidy()]);
else await check('clang-tidy', 'clang-tidy', []);
tally.finish();
