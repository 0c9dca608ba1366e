// Finds running systems by the segments they keep in the runtime directory. Readers remove nothing:
// a segment that nobody holds is reported as stale, and the next start clears it away.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { VanityError } from '../errors.js';
import { native } from '../native.js';
import { SEGMENT_MEMBER, unpackArchive } from './archive.js';
import { Segment, text } from './segment.js';

export interface FoundSystem {
  name: string;
  path: string;
  /** Whether its process still holds the segment. */
  live: boolean;
  /** An archive that `vanity dump` wrote. */
  archive?: boolean;
}

const ARCHIVE = '.tar';

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
  if (name?.endsWith(ARCHIVE)) return { name, path: name, live: false, archive: true };
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

/** As `chooseSystem`, and a system that is gone is as good when it has left its segment. */
export function chooseLeft(
  name: string | undefined,
  command: string,
  directory: string = native.runtimeDirectory(),
): FoundSystem {
  const left = findSystems(directory).filter(
    (system) => name === undefined || system.name === name,
  );
  const [only, second] = left;
  if (only && !second && !only.live) return only;
  return chooseSystem(name, command, directory);
}

/** The bytes of a segment as they are now. */
export function readSegment(system: FoundSystem): ArrayBuffer {
  try {
    if (!system.archive) return native.openSegment(system.path).slice(0);
  } catch (error) {
    throw VanityError.from(error);
  }
  return readMember(system.path, SEGMENT_MEMBER).slice().buffer as ArrayBuffer;
}

/** A member of an archive. Throws VANITY_E_ARCHIVE when it has none of that name. */
export function readMember(archive: string, name: string): Uint8Array {
  try {
    const members = unpackArchive(new Uint8Array(readFileSync(archive)));
    const found = members.find((member) => member.name === name);
    if (found) return found.content;
  } catch (error) {
    throw VanityError.from(error);
  }
  throw new VanityError('VANITY_E_ARCHIVE', { problem: `it has no member "${name}"` });
}

/** Maps the segment of a system of another process. It stays readable after that system has ended. */
export function openSystem(system: FoundSystem): Segment {
  if (system.archive) return new Segment(readSegment(system));
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

// Inodes under flock; undefined when that can't be read. Asking the kernel is the only way to look that
// takes no lock itself, and so can't disturb a start. Without their devices: overlay file systems and
// btrfs give another one to stat(2) than to /proc/locks.
function heldInodes(): Set<string> | undefined {
  try {
    const locks = readFileSync('/proc/locks', 'utf8');
    const held = locks.matchAll(/^\d+: FLOCK\s+\S+\s+WRITE\s+\S+\s+[0-9a-f]+:[0-9a-f]+:(\d+) /gm);
    return new Set(Array.from(held, ([, inode]) => inode ?? ''));
  } catch {
    return undefined;
  }
}

function isHeld(path: string, held: Set<string> | undefined): boolean {
  try {
    const { ino } = statSync(path, { bigint: true });
    return held === undefined || held.has(String(ino));
  } catch {
    return false;
  }
}

/** The index of the shard of that name. Throws VANITY_E_SHARD_NONE, with those that there are. */
export function shardIndex(segment: Segment, shard: string): number {
  const names = shardNames(segment);
  const index = names.indexOf(shard);
  if (index >= 0) return index;
  throw new VanityError('VANITY_E_SHARD_NONE', {
    system: segment.name,
    shard,
    shards: names.join(', '),
  });
}

/** Names of a system's shards, in manifest order. */
export function shardNames(segment: Segment): string[] {
  return segment.rows('shards').map((row) => text(row, 'name'));
}

export function processLives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process exists all the same.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
