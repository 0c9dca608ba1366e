// vanity apply: makes a running system what another manifest says, and prints what came of it.
import { VanityError } from '../errors.js';
import type { Action } from '../manifest/difference.js';
import {
  type ApplyReport,
  type ApplyStep,
  applyManifest,
  previousManifest,
  readNext,
} from '../runtime/apply.js';
import { chooseSystem, openSystem } from '../telemetry/systems.js';
import { table } from '../text/table.js';
import { notice, print, printJson } from './output.js';
import { changedText } from './plan.js';

export interface ApplyCommandOptions {
  confirm?: number;
  dryRun?: boolean;
  drain?: boolean;
  bursts?: number;
  back?: boolean;
  set?: string[];
  json?: boolean;
}

/** Nothing was changed; it was, and is as before; not all of it is. */
const EXITS: Partial<Record<ApplyReport['outcome'], number>> = { refused: 1, undone: 3, stuck: 4 };

export async function applyCommand(
  system: string,
  manifest: string | undefined,
  options: ApplyCommandOptions,
): Promise<number> {
  if ((manifest === undefined) !== (options.back === true)) {
    const problem = 'it takes a manifest, or --back for the one before';
    throw new VanityError('VANITY_E_USAGE', { problem });
  }
  const next = manifest === undefined ? undefined : readNext(manifest, options.set ?? []);
  const found = chooseSystem(system, 'apply');
  const segment = openSystem(found);
  const interrupt = new AbortController();
  const abort = (): void => interrupt.abort();
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  let report: ApplyReport;
  try {
    report = await applyManifest(segment, found.path, next ?? previousManifest(segment), {
      dryRun: options.dryRun === true,
      drain: options.drain === true,
      signal: interrupt.signal,
      ...(options.confirm === undefined ? {} : { confirm: options.confirm }),
      ...(options.bursts === undefined ? {} : { bursts: options.bursts }),
    });
  } finally {
    process.off('SIGINT', abort);
    process.off('SIGTERM', abort);
  }
  if (options.json) printJson(report);
  else {
    print(...reportLines(report));
    if (report.error) notice('error', report.error);
  }
  return EXITS[report.outcome] ?? 0;
}

function reportLines(report: ApplyReport): string[] {
  const { system, generation, confirm } = report;
  const sentence = {
    nothing: `${system} is what this manifest says`,
    rehearsed: `${system} could be what this manifest says; nothing was changed`,
    applied: `${system} runs generation ${generation} of its manifest, confirmed after ${confirm.waited_ms / 1000} s`,
    refused: `${system} is as it was; nothing was changed`,
    undone: `${system} is as it was again, generation ${generation} of its manifest`,
    stuck: `${system} is neither what it was nor what this manifest says`,
  }[report.outcome];
  if (report.steps.length === 0) return [sentence];
  const rows = report.steps.map((step) => [
    step.action satisfies Action,
    step.part,
    step.name,
    OUTCOMES[step.outcome],
    costs(step),
    (
      report.changes.find(({ part, name }) => part === step.part && name === step.name)?.changed ??
      []
    )
      .map(changedText)
      .join('; '),
  ]);
  const titles = ['action', 'part', 'name', 'outcome', 'cost', 'for'];
  return [
    sentence,
    '',
    ...table(
      titles.map((title) => ({ title })),
      rows,
    ),
    ...worseLines(report),
  ];
}

const OUTCOMES = {
  done: 'done',
  refused: 'refused',
  back: 'back again',
  stuck: 'stuck',
} satisfies Record<ApplyStep['outcome'], string>;

function costs({ certificates }: ApplyStep): string {
  if (certificates.length === 0) return 'no pause';
  return certificates
    .map(({ outcome, pause_us, packets: { unaccounted, dropped } }) => {
      if (outcome === 'refused' || outcome === 'rehearsed') return outcome;
      if (pause_us === 0) return 'started anew';
      const lost = dropped.fault + dropped.channel_full + dropped.port_full;
      const missing = unaccounted ? `, ${unaccounted} unaccounted` : '';
      return `${pause_us} us, ${lost} lost${missing}`;
    })
    .join(', then ');
}

function worseLines({ confirm: { worse, waited_ms } }: ApplyReport): string[] {
  if (worse.length === 0) return [];
  return [
    '',
    `worse after ${waited_ms / 1000} s:`,
    ...worse.map(({ shard, what, before, after }) => `  ${shard}: ${what} ${before} -> ${after}`),
  ];
}
