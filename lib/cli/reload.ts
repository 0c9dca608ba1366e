// vanity reload: replaces the program of one shard while it runs, and prints the certificate.
import { VanityError } from '../errors.js';
import { type ReloadCertificate, reloadProgram } from '../runtime/reload.js';
import { chooseSystem, openSystem } from '../telemetry/systems.js';
import { notice, print, printJson } from './output.js';

export interface ReloadCommandOptions {
  hold?: boolean;
  drain?: boolean;
  dryRun?: boolean;
  budgetUs?: number;
  bursts?: number;
  json?: boolean;
}

export async function reloadCommand(
  system: string,
  shard: string,
  program: string,
  options: ReloadCommandOptions,
): Promise<number> {
  if (options.hold && options.drain) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: '--hold and --drain: it is one of the two',
    });
  }
  const found = chooseSystem(system, 'reload');
  const certificate = await reloadProgram(openSystem(found), found.path, shard, program, {
    drain: options.drain === true,
    dryRun: options.dryRun === true,
    ...(options.budgetUs === undefined ? {} : { budgetUs: options.budgetUs }),
    ...(options.bursts === undefined ? {} : { bursts: options.bursts }),
  });
  if (options.json) printJson(certificate);
  else {
    print(...certificateLines(certificate));
    if (certificate.error) notice('error', certificate.error);
  }
  return certificate.ok ? 0 : 1;
}

const named = ({ program, version }: { program: string; version: string }): string =>
  [program, version].filter(Boolean).join(' ') || '?';

function certificateLines(c: ReloadCertificate): string[] {
  const what = {
    kept: `runs ${named(c.to)} in place of ${named(c.from)}, generation ${c.generation}`,
    undone: `goes on with ${named(c.from)}: ${named(c.to)} was on trial for ${c.trial_bursts} bursts and has gone`,
    refused: `goes on with ${named(c.from)}`,
    rehearsed: `could run ${named(c.to)} in place of ${named(c.from)}; nothing was changed`,
  }[c.outcome];
  const lines = [`${c.shard} ${what}`];
  const state = {
    nothing: 'nothing handed on',
    restored: `${c.state.bytes} bytes restored`,
    migrated: `${c.state.bytes} bytes migrated`,
  }[c.state.handed];
  if (c.state.difference.length > 0) {
    lines.push('', 'difference of the states:', ...c.state.difference.map((line) => `  ${line}`));
  }
  if (c.outcome === 'refused') return lines;
  lines.push('', `prepared   ${c.prepare_ms} ms, rehearsed on ${c.rehearsed_bursts} bursts`);
  if (c.outcome === 'rehearsed') return lines;
  const { packets: p } = c;
  const budget = c.budget_us === null ? '' : ` of ${c.budget_us} us allowed`;
  const back = c.outcome === 'undone' ? `, ${c.back_us} us back` : '';
  // Nobody was there to take over from.
  if (c.outcome === 'kept' && c.trial_bursts === 0 && c.pause_us === 0) return lines;
  lines.push(
    `pause      ${c.pause_us} us${budget}${back}`,
    `state      ${state}`,
    `trial      ${c.trial_bursts} bursts, ${c.trial_ms} ms`,
    `packets    ${p.in} in, ${p.out} out, ${p.held} held` +
      [
        [p.held_before, 'held before'],
        [p.made, 'made'],
        [p.consumed, 'ended'],
        [p.filtered, 'filtered'],
      ]
        .flatMap(([n, name]) => (n ? [`, ${n} ${name}`] : []))
        .join(''),
    `dropped    ${p.dropped.channel_full} by a full channel, ${p.dropped.port_full} by a full port, ${p.dropped.fault} by a fault` +
      (p.unaccounted === null ? '' : `; ${p.unaccounted} unaccounted`),
  );
  for (const { generation, received, sent } of c.ranges) {
    lines.push(
      `range      generation ${generation} received ${received.join(' to ')}, sent ${sent.join(' to ')}`,
    );
  }
  if (c.sequence) {
    const { shard, checked, missing, reordered } = c.sequence;
    lines.push(
      `sequence   ${checked} checked by ${shard}, ${missing} missing, ${reordered} out of order`,
    );
  }
  return lines;
}
