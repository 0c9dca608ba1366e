// Prebuilds of the addon, of the process of a shard and of the simulator, cross-compiled where need be: `prebuild.js [--out FOLDER] [x64 arm64 riscv64]`.
// Builds in a copy, so that neither build/ nor prebuilds/ of this checkout is touched by the way.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const machines = { x64: 'x86_64', arm64: 'aarch64', riscv64: 'riscv64' };

const { values, positionals } = parseArgs({
  options: { out: { type: 'string', default: root } },
  allowPositionals: true,
});
const unknown = positionals.find((name) => !(name in machines));
if (unknown) {
  console.error(
    `prebuild.js: no processor "${unknown}"; there are: ${Object.keys(machines).join(', ')}`,
  );
  process.exit(2);
}

// Node's own headers lie beside most Nodes; node-gyp downloads them where it isn't told so.
const prefix = resolve(process.execPath, '..', '..');
if (existsSync(join(prefix, 'include', 'node', 'node.h')))
  process.env.npm_config_nodedir ??= prefix;

for (const arch of positionals.length > 0 ? positionals : Object.keys(machines)) {
  const copy = mkdtempSync(join(tmpdir(), 'vanity-prebuild-'));
  try {
    for (const name of ['native', 'binding.gyp', 'package.json'])
      cpSync(join(root, name), join(copy, name), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
    // By path: prebuildify puts Node's own folder first, and with it the system's compilers before ccache. The plain
    // names for this processor, so that what `npm ci` has compiled is found.
    const tool = (name) => {
      const file = arch === process.arch ? name : `${machines[arch]}-linux-gnu-${name}`;
      const { stdout } = spawnSync('which', [file], { encoding: 'utf8' });
      return stdout.trim() || file;
    };
    const options = ['--napi', '--strip', '--strip-bin', tool('strip'), '--arch', arch];
    const { status, signal } = spawnSync(
      join(root, 'node_modules', '.bin', 'prebuildify'),
      [...options, '--out', resolve(values.out)],
      {
        cwd: copy,
        stdio: 'inherit',
        env: { ...process.env, CC: tool('gcc'), CXX: tool('g++'), AR: tool('ar'), JOBS: 'max' },
      },
    );
    if (status !== 0) {
      console.error(`prebuildify --arch ${arch}: ${signal ?? `exit code ${status}`}`);
      process.exitCode = 1;
      break;
    }
    // prebuildify takes addons only.
    for (const name of ['vanity-shard', 'vanity-sim']) {
      const program = join(resolve(values.out), 'prebuilds', `linux-${arch}`, name);
      copyFileSync(join(copy, 'build', 'Release', name), program);
      spawnSync(tool('strip'), [program], { stdio: 'inherit' });
    }
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
