// vanity run: boots a manifest, shows what happens, ends with a table or one JSON object.
import { checkDevices } from '../device/check.js';
import { Records } from '../device/record.js';
import { VanityError } from '../errors.js';
import { Host } from '../host/host.js';
import { type Loaded, loadSource, ManifestErrors, readSource } from '../manifest/plan.js';
import { summarize, summaryLines } from '../report/summary.js';
import { type HostedMode, hosted } from '../runtime/hosted.js';
import { boot } from '../runtime/run.js';
import { parseDuration } from '../text/format.js';
import { follow } from './live.js';
import { note, notice, print, printJson, wantsColor } from './output.js';

export interface RunOptions {
  duration?: string;
  json?: boolean;
  set?: string[];
  metrics?: string;
  quiet?: boolean;
  interval: string;
  sim?: HostedMode;
  threads?: number;
}

const EXIT_INTERRUPTED = 130; // 128 + SIGINT, as a shell has it

/**
 * Exit code 0: it ended in order and nothing failed, Ctrl-C included. 1: something failed. 130: a second
 * signal stopped it at once.
 */
export async function runCommand(manifest: string, options: RunOptions): Promise<number> {
  const duration =
    options.duration === undefined ? undefined : parseDuration(options.duration, '--duration');
  const interval = parseDuration(options.interval, '--interval');
  if (options.threads !== undefined && options.sim !== 'pool') {
    throw new VanityError('VANITY_E_USAGE', { problem: '--threads is for: vanity run --sim pool' });
  }
  const loaded = load(manifest, options.set ?? []);
  const { warnings } = loaded;
  const { sim, threads } = options;
  const plan = sim === undefined ? loaded.plan : hosted(loaded.plan, sim, threads);
  const system = await boot(plan, {
    metrics: options.metrics,
    warnings,
    manifest: loaded,
    onWarning: (warning) => notice('warning', warning),
  });
  // No handler for SIGINT or SIGTERM here: the kernel thread takes them, and stops in order even when
  // JavaScript is stuck.
  for (const warning of system.warnings) notice('warning', warning);
  if (!options.quiet) {
    note(`${system.name} runs (process ${process.pid}); Ctrl-C stops it in order`);
    if (system.metricsUrl) note(`metrics: ${system.metricsUrl}`);
  }
  const live = options.quiet
    ? undefined
    : follow(() => system.snapshot(), process.stderr, interval, wantsColor(process.stderr));
  const timer = duration === undefined ? undefined : setTimeout(() => system.stop(), duration);
  const { snapshot, failures, interrupted } = await system.ended;
  clearTimeout(timer);
  live?.stop();
  if (options.json) {
    printJson(summarize(snapshot, { warnings: system.warnings, failures }));
  } else {
    print(...summaryLines(snapshot));
  }
  for (const failure of failures) notice('error', failure);
  if (interrupted) return EXIT_INTERRUPTED;
  return failures.length > 0 || snapshot.system.state === 'failed' ? 1 : 0;
}

/** What can be known of the devices is an error before one is touched. */
function load(manifest: string, set: readonly string[]): Loaded {
  const source = readSource(manifest, { set });
  const loaded = loadSource(source);
  const { plan, warnings } = loaded;
  if (plan.devices.length === 0) return loaded;
  const found = checkDevices(source, plan, new Host(), Records.here());
  if (found.errors.length > 0) throw new ManifestErrors(found.errors, warnings);
  return { ...loaded, warnings: [...warnings, ...found.warnings] };
}
