// Finds running systems by the segments they keep in the runtime directory. Readers remove nothing:
// a segment that nobody holds is reported as stale, and the next start clears it away.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { VanityError } from '../errors.js';
import { native } from '../native.js';
import { Segment } from './segment.js';

export interface FoundSystem {
  name: string;
  path: string;
  /** Whether its process still holds the segment. */
  live: boolean;
}

const SUFFIX = '.segment';

/** Every segment of the runtime directory, by name. */
export function findSystems(directory: string = native.runtimeDirectory()): FoundSystem[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  const held = heldInodes();
  return names
    .filter((name) => name.endsWith(SUFFIX))
    .sort()
    .map((name) => {
      const path = join(directory, name);
      return { name: name.slice(0, -SUFFIX.length), path, live: isHeld(path, held) };
    });
}

/**
 * The one system that `name` means: a name, the path of a segment, or nothing when exactly one runs.
 * `command` is for the hint when several do.
 */
export function chooseSystem(
  name: string | undefined,
  command: string,
  directory: string = native.runtimeDirectory(),
): FoundSystem {
  if (name?.includes('/')) {
    return { name, path: name, live: isHeld(name, heldInodes()) };
  }
  const found = findSystems(directory);
  const live = found.filter((system) => system.live);
  if (name !== undefined) {
    const match = found.find((system) => system.name === name);
    if (match?.live) return match;
    if (match) throw stale(match);
    throw new VanityError('VANITY_E_SYSTEM_UNKNOWN', {
      name,
      found: live.length > 0 ? `running: ${live.map((s) => s.name).join(', ')}` : 'nothing is',
      hint: live[0]
        ? `Type: vanity ${command} ${live[0].name}`
        : 'Start it: vanity run path/to/vanity.toml',
    });
  }
  const [only, second] = live;
  if (only && second) {
    throw new VanityError('VANITY_E_SYSTEM_MANY', {
      names: live.map((system) => system.name).join(', '),
      command,
      example: only.name,
    });
  }
  if (only) return only;
  if (found.length === 1 && found[0]) throw stale(found[0]);
  throw new VanityError('VANITY_E_SYSTEM_NONE', { directory });
}

/** Maps the segment of a system of another process. It stays readable after that system has ended. */
export function openSystem(system: FoundSystem): Segment {
  try {
    return new Segment(native.openSegment(system.path));
  } catch (error) {
    throw VanityError.from(error);
  }
}

function stale(system: FoundSystem): VanityError {
  let pid = '?';
  try {
    pid = String(openSystem(system).pid);
  } catch {
    // Whatever it was, it is not a readable segment now; the path says enough.
  }
  return new VanityError('VANITY_E_SYSTEM_STALE', { name: system.name, pid, path: system.path });
}

// Inodes under flock, as "device:inode" of /proc/locks; undefined when that can't be read. Asking the
// kernel is the only way to look that takes no lock itself, and so can't disturb a start.
function heldInodes(): Set<string> | undefined {
  try {
    const held = new Set<string>();
    for (const line of readFileSync('/proc/locks', 'utf8').split('\n')) {
      const match = /^\d+: FLOCK\s+\S+\s+WRITE\s+\S+\s+([0-9a-f]+):([0-9a-f]+):(\d+) /.exec(line);
      if (!match) continue;
      const [, major = '', minor = '', inode = ''] = match;
      held.add(`${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}:${inode}`);
    }
    return held;
  } catch {
    return undefined;
  }
}

function isHeld(path: string, held: Set<string> | undefined): boolean {
  try {
    const { dev, ino } = statSync(path);
    // As glibc's gnu_dev_major and gnu_dev_minor, for what fits a number.
    const major = (dev >>> 8) & 0xfff;
    const minor = (dev & 0xff) | ((Math.floor(dev / 0x1000) & ~0xff) >>> 0);
    return held === undefined || held.has(`${major}:${minor}:${ino}`);
  } catch {
    return false;
  }
}
