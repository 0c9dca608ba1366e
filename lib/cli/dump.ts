// vanity dump: everything that is known of a system, in one file, without asking it for anything: also of one that is
// stuck, and of one that was killed and has left its segment.
import { readdirSync, readFileSync } from 'node:fs';
import { arch, release, totalmem, version } from 'node:os';
import { decodeManifest } from '../manifest/running.js';
import { native } from '../native.js';
import { summarize } from '../report/summary.js';
import { examine } from '../runtime/doctor.js';
import { type Member, packArchive, SEGMENT_MEMBER } from '../telemetry/archive.js';
import { archiveContents, CONTENTS_ELEMENTS, CONTENTS_MEMBER } from '../telemetry/contents.js';
import { settleEvents } from '../telemetry/events.js';
import { Segment } from '../telemetry/segment.js';
import { chooseLeft, openSystem, readSegment } from '../telemetry/systems.js';
import { json } from '../text/format.js';
import { checkWritable, writeWhole } from './files.js';
import { note, print, printJson } from './output.js';

export interface DumpOptions {
  out?: string;
  contents?: number;
  json?: boolean;
}

/** What Linux says of a thread; a file that can't be read is left out. */
const THREAD_FILES = ['status', 'stat', 'schedstat', 'wchan', 'stack', 'syscall'];

export function dumpCommand(name: string | undefined, options: DumpOptions): number {
  const found = chooseLeft(name, 'dump');
  const taken = new Date();
  const bytes = readSegment(found);
  settleEvents(openSystem(found), new Segment(bytes));
  const segment = new Segment(bytes.slice(0));
  const contents = archiveContents(segment, found.live, options.contents ?? CONTENTS_ELEMENTS);
  const snapshot = segment.read();
  const stamp = taken.toISOString().replace(/[-:]|\.\d+/g, '');
  const out = options.out ?? `${segment.name}-${stamp}.tar`;
  checkWritable('--out', out);
  const text = (member: string, content: string): Member => ({
    name: member,
    content: new TextEncoder().encode(content),
  });
  const members: Member[] = [
    { name: SEGMENT_MEMBER, content: new Uint8Array(bytes) },
    text(
      'dump.json',
      json({
        system: segment.name,
        pid: segment.pid,
        live: found.live,
        taken: taken.toISOString(),
        monotonicNs: String(process.hrtime.bigint()),
        vanity: native.version,
      }),
    ),
    text('stats.json', json(summarize(snapshot))),
    text(CONTENTS_MEMBER, json(contents)),
    text('host.json', json(hostReport())),
    ...manifestMembers(segment, text),
    ...(found.live ? threads(segment.pid).map(([file, content]) => text(file, content)) : []),
  ];
  const archive = packArchive(members, Math.floor(taken.getTime() / 1000));
  writeWhole('--out', out, archive);
  const report = {
    file: out,
    bytes: archive.byteLength,
    live: found.live,
    members: members.length,
    elements: (contents.channels ?? []).reduce((sum, { elements }) => sum + elements.length, 0),
  };
  if (options.json) printJson(report);
  else {
    const what = found.live ? 'as it runs' : `left by process ${segment.pid}, which is gone`;
    print(`${out}: ${segment.name} ${what}; read it: vanity stats ${out}`);
    if (contents.why !== undefined) note(`without what is in channels: ${contents.why}`);
  }
  return 0;
}

/** As it was applied last, and the plan that has come of it since; programs may have been reloaded. */
function manifestMembers(
  segment: Segment,
  member: (name: string, content: string) => Member,
): Member[] {
  try {
    const found = segment.manifest();
    if (found === undefined) return [];
    const { text } = decodeManifest(found.text);
    return [
      member('manifest.json', found.text),
      ...(text === '' ? [] : [member('manifest.toml', text)]),
    ];
  } catch {
    return []; // spoilt; the segment itself is in the archive
  }
}

function hostReport(): Record<string, unknown> {
  return {
    kernel: `${release()} ${version()}`,
    arch: arch(),
    memoryBytes: totalmem(),
    doctor: examine({
      backends: native.waitBackends(),
      membarrier: native.membarrier(),
      protectionKeys: native.protectionKeys(),
    }),
  };
}

function threads(pid: number): [string, string][] {
  const folder = `/proc/${pid}/task`;
  const read = (path: string): string | undefined => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  };
  let tids: string[] = [];
  try {
    tids = readdirSync(folder);
  } catch {
    // It has just ended.
  }
  return tids.flatMap((tid) =>
    THREAD_FILES.flatMap((file): [string, string][] => {
      const content = read(`${folder}/${tid}/${file}`);
      return content === undefined ? [] : [[`threads/${tid}/${file}`, content]];
    }),
  );
}
