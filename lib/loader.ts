/**
 * Finds and loads the addon: first the prebuild of the package, then a local build. When neither
 * loads, the error says what was looked for, what was found there, where this is, and what to type.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VanityError } from './errors.js';

export interface Host {
  readonly platform: string;
  readonly arch: string;
  /** `glibc 2.36`, or `musl`. */
  readonly libc: string;
  /** As `process.versions.node`. */
  readonly node: string;
}

const packageRoot = fileURLToPath(new URL('..', import.meta.url));
const nodeMin = [20, 19] as const;

function hostHere(): Host {
  const report = process.report as unknown as { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  report.excludeNetwork = true; // otherwise the report asks the name server about every socket
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  if (before !== undefined) report.excludeNetwork = before;
  return {
    platform: process.platform,
    arch: process.arch,
    libc: header?.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl',
    node: process.versions.node,
  };
}

function nodeIsOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < nodeMin[0] || (major === nodeMin[0] && minor < nodeMin[1]);
}

/** The places that are looked at, in this order. `bindings` knows local builds, but not prebuilds. */
function candidates(root: string, host: Host): { prebuild: string; local: string[] } {
  const require = createRequire(import.meta.url);
  const bindings = require('bindings') as (options: object) => string;
  const prebuild = join(root, 'prebuilds', `${host.platform}-${host.arch}`, 'vanity.node');
  try {
    return { prebuild, local: [bindings({ bindings: 'vanity', module_root: root, path: true })] };
  } catch (error) {
    return { prebuild, local: (error as { tries?: string[] }).tries ?? [] };
  }
}

function hintFor(root: string, host: Host, damaged: boolean): string {
  if (host.platform !== 'linux') return 'Vanity runs on Linux only.';
  if (nodeIsOld(host.node)) {
    return `Install Node ${nodeMin.join('.')} or later (22, 24 and 26 are supported).`;
  }
  if (existsSync(join(root, 'scripts', 'build.js'))) return 'Type: npm run build';
  const again = 'npm install --force vanity';
  const source = `(cd ${root.replace(/\/$/, '')} && npx node-gyp rebuild)`;
  if (damaged) return `Install the package anew: ${again}; or build it here: ${source}`;
  return `There is no prebuild for this machine. With g++ 12, make and python3, type: ${source}`;
}

function reasonFor(host: Host, tried: readonly string[]): string {
  if (host.platform !== 'linux') return `this is ${host.platform}, not Linux`;
  if (nodeIsOld(host.node)) {
    return `Node ${host.node} is too old, ${nodeMin.join('.')} is the oldest that works`;
  }
  if (tried.length > 0) return 'a file was found, but it does not load';
  if (host.libc === 'musl') return 'prebuilds need glibc, and this system has musl';
  return `no prebuild and no local build for ${host.platform}-${host.arch}`;
}

/** The program that runs whole systems under the simulator; throws VANITY_E_SIM_BUILD. */
export function findSimulator(root: string = packageRoot): string {
  const places = [
    join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'vanity-sim'),
    join(root, 'build', 'Release', 'vanity-sim'),
  ];
  const found = places.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new VanityError('VANITY_E_SIM_BUILD', {
    places: places.join(', '),
    hint: existsSync(join(root, 'scripts', 'build.js'))
      ? 'Type: npm run build:native'
      : `Compile the target vanity-sim of binding.gyp: (cd ${root.replace(/\/$/, '')} && npx node-gyp rebuild)`,
  });
}

/** The program that shards run in that are processes of their own; throws VANITY_E_PROCESS. */
export function findShardProcess(root: string = packageRoot): string {
  const places = [
    join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'vanity-shard'),
    join(root, 'build', 'Release', 'vanity-shard'),
  ];
  const found = places.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new VanityError('VANITY_E_PROCESS', { reason: `looked for ${places.join(', ')}` });
}

/** Loads the addon of the package at `root`; throws VANITY_E_NATIVE_LOAD. */
export function loadAddon(root: string = packageRoot, where?: Host): unknown {
  const require = createRequire(import.meta.url);
  const { platform, arch, versions } = process;
  const quick = where ?? { platform, arch, libc: '', node: versions.node };
  const { prebuild, local } = candidates(root, quick);
  const failures: string[] = [];
  const found: string[] = [];
  if (quick.platform === 'linux' && !nodeIsOld(quick.node)) {
    const absent: string[] = [];
    for (const path of [prebuild, ...local]) {
      if (!existsSync(path)) {
        absent.push(path);
        continue;
      }
      try {
        return require(path);
      } catch (error) {
        const text = (error as Error).message.split('\n')[0] ?? '';
        failures.push(path);
        found.push(`  ${path}: ${text.replace(`${path}: `, '')}`);
      }
    }
    if (absent.includes(prebuild)) found.unshift(`  ${prebuild}: not there`);
    const places = absent.filter((path) => path !== prebuild).map((path) => relative(root, path));
    if (places.length > 0) found.push(`  no local build under ${root}: ${places.join(', ')}`);
  }
  const host = where ?? hostHere();
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string;
  };
  found.push(
    `  vanity ${version} on ${host.platform}-${host.arch}, ${host.libc}, Node ${host.node}`,
  );
  throw new VanityError('VANITY_E_NATIVE_LOAD', {
    reason: reasonFor(host, failures),
    found: found.join('\n'),
    hint: hintFor(root, host, failures.length > 0),
  });
}
