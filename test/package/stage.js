// A copy of the work tree to pack from, so that packing touches neither build/ nor prebuilds/.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';

const stage = resolve('.cache/package/stage');
const supported = ['20.19.0', '22', '24', '26'];

/** Standard output of a command; its error output becomes part of the message when it fails. */
export function run(command, args, options = {}) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe', ...options });
  } catch (error) {
    throw new Error(`${error.message}\n${error.stdout}`.slice(-4000));
  }
}

/** Stages, makes the prebuild (when the sources of the last one differ) and packs; the tarball. */
export function pack() {
  const listed = run('git', ['ls-files', '-co', '--exclude-standard'])
    .split('\n')
    .filter(existsSync);
  const prebuilds = join(stage, '../prebuilds');
  const sum = createHash('sha256');
  for (const path of listed.filter((p) => /^(native\/|binding\.gyp|package-lock)/.test(p)).sort()) {
    sum.update(path).update(readFileSync(path));
  }
  const digest = sum.digest('hex');
  rmSync(stage, { recursive: true, force: true });
  for (const path of listed) cpSync(path, join(stage, path));
  symlinkSync(resolve('node_modules'), join(stage, 'node_modules'));
  if (!existsSync(join(prebuilds, digest))) {
    run('npm', ['run', 'prebuildify'], { cwd: stage });
    rmSync(prebuilds, { recursive: true, force: true });
    cpSync(join(stage, 'prebuilds'), prebuilds, { recursive: true });
    writeFileSync(join(prebuilds, digest), '');
  }
  cpSync(prebuilds, join(stage, 'prebuilds'), { recursive: true });
  rmSync(join(stage, 'prebuilds', digest));
  run(process.execPath, ['scripts/build.js', 'ts'], { cwd: stage });
  const packed = run('npm', ['pack', '--json', '--silent', '--ignore-scripts'], { cwd: stage });
  const [{ filename, files }] = JSON.parse(packed);
  return { stage, tarball: join(stage, filename), files: files.map(({ path }) => path).sort() };
}

/** An empty project in which the tarball was installed with no compiler in reach. */
export function install(tarball) {
  const project = resolve('.cache/package/project');
  const bin = resolve('.cache/package/bin');
  for (const folder of [project, bin]) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }
  for (const tool of ['node', 'npm', 'npx', 'sh', 'env']) {
    symlinkSync(run('which', [tool]).trim(), join(bin, tool));
  }
  writeFileSync(
    join(project, 'package.json'),
    '{ "name": "consumer", "private": true, "type": "module" }',
  );
  const env = { HOME: process.env.HOME, PATH: bin };
  run('npm', ['install', '--silent', tarball], { cwd: project, env });
  return { project, env };
}

/** Every supported Node, the oldest that works first, from npm's own packages. */
export function nodes() {
  return supported.map((version) => {
    const prefix = resolve(process.env.VANITY_CACHE ?? '.cache', 'node', version);
    const path = join(prefix, `node_modules/node-linux-${process.arch}/bin/node`);
    if (!existsSync(path)) {
      mkdirSync(prefix, { recursive: true });
      writeFileSync(join(prefix, 'package.json'), '{ "private": true }');
      run('npm', [
        'install',
        '--silent',
        '--prefix',
        prefix,
        `node-linux-${process.arch}@${version}`,
      ]);
    }
    return { version: run(path, ['--version']).trim(), path };
  });
}
