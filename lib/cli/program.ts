// The command line, declared: every command, flag and example. What a command does is loaded when it runs.
import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { limits } from '../manifest/limits.js';
import { HOSTED_MODES } from '../runtime/hosted.js';
import type { ApplyCommandOptions } from './apply.js';
import type { BenchOptions } from './bench.js';
import type { BenchWakeOptions } from './bench-wake.js';
import type { ChannelsOptions } from './channels.js';
import type { CheckOptions } from './check.js';
import type { DeviceBindOptions, DeviceOptions } from './device.js';
import type { DumpOptions } from './dump.js';
import type { HoldOptions } from './hold.js';
import type { PlanOptions } from './plan.js';
import type { ReloadCommandOptions } from './reload.js';
import type { ReportOptions } from './report.js';
import type { RunOptions } from './run.js';
import type { SimOptions } from './sim.js';
import type { StatsOptions } from './stats.js';
import type { TopOptions } from './top.js';
import type { TraceOptions } from './trace.js';

const packageFile = new URL('../../package.json', import.meta.url);

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

function graphFormat(value: string): string {
  if (value !== 'dot' && value !== 'svg') throw new InvalidArgumentError('It is dot or svg.');
  return value;
}

function turnsOf(value: string): number {
  const turns = Number(value);
  if (!Number.isInteger(turns) || turns < 1 || turns > 1e6) {
    throw new InvalidArgumentError('It is a whole number from 1 to 1000000.');
  }
  return turns;
}

function wholeOf(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!Number.isInteger(number) || number < min || number > max) {
      throw new InvalidArgumentError(`It is a whole number from ${min} to ${max}.`);
    }
    return number;
  };
}

function hostedMode(value: string): string {
  if (!HOSTED_MODES.some((mode) => mode === value))
    throw new InvalidArgumentError(`It is ${HOSTED_MODES.join(' or ')}.`);
  return value;
}

function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n`;
}

/** The whole command line; `done` gets the exit code of the command that ran. */
export function createProgram(done: (exitCode: number) => void): Command {
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string };
  const program = new Command('vanity');
  program
    .description('Runs a declared system of pinned shards and channels, and shows what it does.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help of a command')
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .addHelpText(
      'after',
      `${examples('vanity run examples/flow-split/vanity.toml --duration 5s', 'vanity top')}
Exit codes: 0 ok, 1 something failed, 2 wrong usage.
Environment: VANITY_RUNTIME_DIR, VANITY_WAIT, VANITY_DEBUG=1, NO_COLOR.
`,
    );

  program
    .command('run')
    .description('boot a system from its manifest and run it')
    .argument('<manifest>', 'path of the TOML file')
    .option('--duration <time>', 'stop after this time: 500ms, 5s, 2m, 1h')
    .option('--set <key=value>', 'override a value of the manifest; may be repeated', collect)
    .option('--metrics <address>', 'serve Prometheus metrics: :9464 is 127.0.0.1:9464')
    .option('--interval <time>', 'time between live figures', '1s')
    .option('--quiet', 'no live figures')
    .option('--json', 'end with one JSON object on stdout')
    .option(
      '--sim <mode>',
      'run on any machine: threads, one for each shard and not pinned; pool, few for all of them',
      hostedMode,
    )
    .option(
      '--threads <n>',
      'of --sim pool; as many as there are processors when not given',
      wholeOf(1, limits.poolThreads),
    )
    .addHelpText(
      'after',
      examples(
        'vanity run vanity.toml',
        'vanity run vanity.toml --sim threads --duration 5s',
        'vanity run vanity.toml --sim pool --threads 2',
        'vanity run vanity.toml --duration 5s --json | jq .lost',
        'vanity run vanity.toml --set ports.in.file=other.pcap --metrics :9464',
      ),
    )
    .action(async (manifest: string, options: RunOptions) => {
      done(await (await import('./run.js')).runCommand(manifest, options));
    });

  program
    .command('check')
    .description('find everything that is wrong with a manifest')
    .argument('<manifest>', 'path of the TOML file')
    .option('--set <key=value>', 'override a value of the manifest; may be repeated', collect)
    .option('--host', 'hold its devices and cores against this host as well')
    .option('--graph <format>', 'draw the system instead: dot or svg', graphFormat)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples(
        'vanity check vanity.toml',
        'sudo vanity check --host vanity.toml',
        'vanity check vanity.toml --graph svg > system.svg',
      ),
    )
    .action(async (manifest: string, options: CheckOptions) => {
      const [{ checkCommand }, { wantsColor }] = await Promise.all([
        import('./check.js'),
        import('./output.js'),
      ]);
      done(checkCommand(manifest, { ...options, color: wantsColor(process.stderr) }));
    });

  program
    .command('plan')
    .description('compare two manifests: what is kept, reloaded, moved, restarted, added, removed')
    .argument('<old>', 'path of the TOML file of the system that runs')
    .argument('<new>', 'path of the other one')
    .option('--all', 'show what is kept as well')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `${examples('vanity plan running.toml next.toml', 'vanity plan running.toml next.toml --json | jq .commands')}
Exit codes: 0 the same, 3 nothing has to stop for it, 4 something has to be restarted or removed.
`,
    )
    .action(async (before: string, after: string, options: PlanOptions) => {
      done((await import('./plan.js')).planCommand(before, after, options));
    });

  program
    .command('top')
    .description('watch a running system')
    .argument('[name]', 'name of the system, or path of its segment; needed when several run')
    .option('--once', 'print one view and end')
    .option('--sort <key>', 'pps, busy or name', 'pps')
    .option('--interval <time>', 'time between views', '1s')
    .option(
      '--at <time>',
      'begin in the last minute: -30s is so long ago, 90s so long after the start',
    )
    .addHelpText(
      'after',
      `${examples(
        'vanity top',
        'vanity top flow-split --once --sort name',
        'vanity top flow-split.tar --at -30s',
      )}
On a terminal: space pauses, left and right seek by a second, down and up by ten, l goes back to the present.
`,
    )
    .action(async (name: string | undefined, options: TopOptions) => {
      done(await (await import('./top.js')).topCommand(name, options));
    });

  program
    .command('stats')
    .description('print the counters of a running system once')
    .argument('[name]', 'name of the system, or path of its segment; needed when several run')
    .option('--json', 'print one JSON object')
    .option('--at <time>', 'as they were: -30s is so long ago, 90s so long after the start')
    .addHelpText('after', examples('vanity stats', "vanity stats --json | jq '.shards'"))
    .action(async (name: string | undefined, options: StatsOptions) => {
      done((await import('./stats.js')).statsCommand(name, options));
    });

  program
    .command('dump')
    .description(
      'write all that is known of a system into one file, also when it is stuck or was killed',
    )
    .argument('[name]', 'name of the system, or path of its segment; needed when there are several')
    .option('--out <file>', 'the tar file; NAME-TIME.tar in this folder when not given')
    .option(
      '--contents <n>',
      'elements of each channel, at most; 64 when not given',
      wholeOf(0, 2 ** 20),
    )
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples('vanity dump', 'vanity dump flow-split --out flow-split.tar'))
    .action(async (name: string | undefined, options: DumpOptions) => {
      done((await import('./dump.js')).dumpCommand(name, options));
    });

  program
    .command('channels')
    .description(
      'what is in the channels of a system: packets and messages that wait, the oldest first',
    )
    .argument('<system>', 'name of the system, path of its segment, or of an archive')
    .argument('[channels...]', 'names of channels; all of them when none is given')
    .option('--contents <n>', 'elements of each, at most; 64 when not given', wholeOf(0, 2 ** 20))
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples('vanity channels flow-split to-left', 'vanity channels flow-split.tar --contents 4'),
    )
    .action(async (system: string, names: string[], options: ChannelsOptions) => {
      done((await import('./channels.js')).channelsCommand(system, names, options));
    });

  program
    .command('trace')
    .description('what shards did, event by event: bursts, waits, faults, and who woke whom')
    .argument('<system>', 'name of the system, path of its segment, or of an archive')
    .argument('[shards...]', 'names of shards; all of them when none is given')
    .option('--on', 'note every burst and wait from now on, and print nothing')
    .option('--off', 'no more')
    .option('-f, --follow', 'go on until Ctrl-C; what is not traced is, for so long')
    .option('--duration <time>', 'the same for so long: 500ms, 5s')
    .option('--fault', 'the events before the last fault')
    .option('--last <n>', 'only so many, the latest', wholeOf(1, 1e9))
    .option('--perfetto <file>', 'write them for https://ui.perfetto.dev instead')
    .option('--packets', 'the ways of sampled packets instead: where each waited, and what for')
    .option(
      '--sample <n>',
      'one of so many packets that come in; 1000 when not given',
      wholeOf(1, 2 ** 32 - 1),
    )
    .option('--pcapng <file>', 'write the sampled packets for Wireshark')
    .option('--json', 'print one JSON object; with --follow or --duration one a line')
    .addHelpText(
      'after',
      examples(
        'vanity trace flow-split --duration 100ms --perfetto trace.json',
        'vanity trace flow-split left right --follow',
        'vanity trace flow-split left --fault',
        'vanity trace flow-split.tar --last 50',
        'vanity trace flow-split left --on',
        'vanity trace flow-split --packets --duration 1s',
        'vanity trace flow-split left --packets --follow --sample 100000',
        'vanity trace flow-split --duration 1s --sample 100 --pcapng ways.pcapng',
      ),
    )
    .action(async (system: string, shards: string[], options: TraceOptions) => {
      done(await (await import('./trace.js')).traceCommand(system, shards, options));
    });

  program
    .command('hold')
    .description(
      'stop the turns of one shard, whatever else is stuck; its channels stay as they are',
    )
    .argument('<system>', 'name of the system, or path of its segment')
    .argument('<shard>', 'name of the shard')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples('vanity hold flow-split left'))
    .action(async (system: string, shard: string, options: HoldOptions) => {
      done(await (await import('./hold.js')).holdCommand('hold', system, shard, 0, options));
    });

  program
    .command('release')
    .description('let a held shard go on')
    .argument('<system>', 'name of the system, or path of its segment')
    .argument('<shard>', 'name of the shard')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples('vanity release flow-split left'))
    .action(async (system: string, shard: string, options: HoldOptions) => {
      done(await (await import('./hold.js')).holdCommand('release', system, shard, 0, options));
    });

  program
    .command('step')
    .description('let a shard take one turn, or some, and hold it again')
    .argument('<system>', 'name of the system, or path of its segment')
    .argument('<shard>', 'name of the shard')
    .option('--turns <n>', 'how many', turnsOf, 1)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples('vanity step flow-split left', 'vanity step flow-split left --turns 10 --json'),
    )
    .action(async (system: string, shard: string, options: HoldOptions & { turns: number }) => {
      const { holdCommand } = await import('./hold.js');
      done(await holdCommand('step', system, shard, options.turns, options));
    });

  program
    .command('restart')
    .description(
      'leave the program of one shard and start it anew; what it held is dropped and counted',
    )
    .argument('<system>', 'name of the system, or path of its segment')
    .argument('<shard>', 'name of the shard, which runs a native module')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples('vanity restart my-system left'))
    .action(async (system: string, shard: string, options: HoldOptions) => {
      done(await (await import('./hold.js')).holdCommand('restart', system, shard, 0, options));
    });

  program
    .command('reload')
    .description(
      'replace the program of one shard while packets flow; what it knows is handed on, and the old one comes back when the new one is not well',
    )
    .argument('<system>', 'name of the system, or path of its segment')
    .argument('<shard>', 'name of the shard, which runs a native module')
    .argument('<program>', 'file of the new module')
    .option('--hold', 'switch at once: what waits in its inputs is for the new one; the default')
    .option('--drain', 'switch when its inputs are empty')
    .option('--budget-us <n>', 'a longer pause is an error', wholeOf(1, 1e9))
    .option('--bursts <n>', 'bursts that it is on trial for: 64', wholeOf(1, limits.reloadBursts))
    .option('--dry-run', 'load, compare and rehearse it, and change nothing')
    .option('--json', 'print the certificate as one JSON object')
    .addHelpText(
      'after',
      examples(
        'vanity reload my-system left build/new.so',
        'vanity reload my-system left build/new.so --dry-run',
        'vanity reload my-system left build/new.so --budget-us 100 --json | jq .packets',
      ),
    )
    .action(async (system: string, shard: string, file: string, options: ReloadCommandOptions) => {
      done(await (await import('./reload.js')).reloadCommand(system, shard, file, options));
    });

  program
    .command('apply')
    .description(
      'make a running system what another manifest says: only what differs is changed, and changed back when a shard gets worse',
    )
    .argument('<system>', 'name of the system, or path of its segment')
    .argument('[manifest]', 'path of the TOML file')
    .option('--confirm <seconds>', 'no shard may get worse for so long: 5', wholeOf(0, 86_400))
    .option('--dry-run', 'load, compare and rehearse all of it, and change nothing')
    .option('--back', 'instead of a manifest: the one that was in force before')
    .option('--drain', 'switch each shard when its inputs are empty')
    .option(
      '--bursts <n>',
      'bursts that each program is on trial for: 64',
      wholeOf(1, limits.reloadBursts),
    )
    .option('--set <key=value>', 'override a value of the manifest; may be repeated', collect)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples(
        'vanity apply my-system new.toml --dry-run',
        'vanity apply my-system new.toml --confirm 30',
        'vanity apply my-system --back',
      ),
    )
    .action(async (system: string, manifest: string | undefined, options: ApplyCommandOptions) => {
      done(await (await import('./apply.js')).applyCommand(system, manifest, options));
    });

  const device = program
    .command('device')
    .description('PCI devices of this host: what there is, and who drives it')
    .addHelpText(
      'after',
      `${examples(
        'vanity device list',
        'vanity device info 01:00.0',
        'sudo vanity device bind 0000:01:00.0',
        'sudo vanity device unbind 0000:01:00.0',
      )}
A device is an address (0000:01:00.0 or 01:00.0), vendor:device (8086:10d3), mac=52:54:00:12:34:56,
serial=S4EWNX0R or slot=3, and must mean one device.
`,
    );

  device
    .command('list')
    .description('every PCI device: driver, IOMMU group, interrupts, interfaces, and what uses it')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples('vanity device list', 'vanity device list --json | jq .devices'))
    .action(async (options: DeviceOptions) => {
      done((await import('./device.js')).deviceListCommand(options));
    });

  device
    .command('info')
    .description(
      'one device: BARs, capabilities, its group, and what stands in the way of granting it',
    )
    .argument('<device>', 'address or selector')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples('vanity device info 01:00.0', 'vanity device info 8086:10d3'))
    .action(async (selector: string, options: DeviceOptions) => {
      done((await import('./device.js')).deviceInfoCommand(selector, options));
    });

  device
    .command('bind')
    .description('hand devices to vfio-pci, and note the driver they had')
    .argument('<devices...>', 'addresses or selectors; those of one IOMMU group together')
    .option('--force', 'also when a mounted disk or the way to the network is on it')
    .option('--unsafe-noiommu', 'also when no IOMMU confines its DMA')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples('sudo vanity device bind 01:00.0', 'sudo vanity device bind mac=52:54:00:12:34:56'),
    )
    .action(async (selectors: string[], options: DeviceBindOptions) => {
      done((await import('./device.js')).deviceBindCommand(selectors, options));
    });

  device
    .command('unbind')
    .description('give devices back to the driver they had')
    .argument('<devices...>', 'addresses or selectors')
    .option('--force', 'also when a process has it open; the kernel waits until it closes it')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples('sudo vanity device unbind 01:00.0'))
    .action(async (selectors: string[], options: DeviceBindOptions) => {
      done((await import('./device.js')).deviceUnbindCommand(selectors, options));
    });

  program
    .command('doctor')
    .description('what this host can do, what it lacks, and the command that mends it')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples('vanity doctor', `vanity doctor --json | jq '.rows[] | select(.status != "ok")'`),
    )
    .action(async (options: { json?: boolean }) => {
      done((await import('./doctor.js')).doctorCommand(options));
    });

  program
    .command('sim')
    .description(
      'the shipping code of a system under a scheduler that decides each step, to find what goes wrong; or, with --model, what a manifest would do on a machine that is not here',
    )
    .argument('[manifest]', 'path of the TOML file')
    .option('--schedules <n>', 'executions to go through, 10000', wholeOf(1, 1e12))
    .option('--jobs <n>', 'processes that share them, 1', wholeOf(1, 256))
    .option(
      '--seed <n>',
      'of the schedules, fresh each time; of what a forecast leaves to chance, 1',
    )
    .option(
      '--time <time>',
      'for how long, in the place of --schedules; of a forecast, the virtual time: 1ms to 10s',
    )
    .option('--packets <n>', 'that come to each receive queue and source, 24', wholeOf(1, 1e6))
    .option('--capacity <n>', 'slots of a channel, at most: 8', wholeOf(2, 1 << 20))
    .option('--burst <n>', 'packets of a burst, at most: 4', wholeOf(1, limits.burstMax))
    .option('--buffers <n>', "of a port's pool, at most: 8", wholeOf(1, 1 << 20))
    .option(
      '--holds <claim>',
      'of counters, at the end of a schedule: "a.sent + b.sent = c.received"; may be repeated',
      collect,
    )
    .option('--keep <file>', 'where a failure is kept: NAME.repro')
    .option('--log <file>', 'every step of every schedule; of --replay, its columns')
    .option('--replay <file>', 'runs what was kept again')
    .option('--perfetto <file>', 'of --replay: a trace for https://ui.perfetto.dev')
    .option('--model <host>', 'a forecast: a name, such as xsight-e1, or the path of a model')
    .option(
      '--arrivals <port=rate>',
      'what comes to a port: 14.88M packets a second, or 100Gbps@64, bits a second in frames of so many bytes; may be repeated',
      collect,
    )
    .option(
      '--cost <name=ns>',
      'nanoseconds a packet costs a shard or a program; may be repeated',
      collect,
    )
    .option('--set <key=value>', 'override a value of the manifest; may be repeated', collect)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples(
        'vanity sim examples/flow-split/vanity.toml --schedules 10000 --seed 1',
        'vanity sim vanity.toml --time 3m --jobs 4 --json',
        'vanity sim --replay flow-split.repro --perfetto trace.json',
        'vanity sim examples/flow-split/vanity.toml --model two-core-vm',
        'vanity sim examples/dpu/vanity.toml --model xsight-e1 --arrivals net=800Gbps@1500',
        'vanity sim vanity.toml --model my-host.toml --cost ./router.so=42 --json | jq .busiest',
      ),
    )
    .action(async (manifest: string | undefined, options: SimOptions) => {
      const { model } = options;
      if (model !== undefined && manifest !== undefined) {
        done((await import('./sim.js')).simCommand(manifest, { ...options, model }));
      } else {
        done(await (await import('./sim-system.js')).simSystemCommand(manifest, options));
      }
    });

  const bench = program
    .command('bench')
    .description('measure; without a name, list what can be measured')
    .argument('[name]', 'name of the bench')
    .option('--rounds <n>', 'interleaved rounds; medians are taken over them')
    .option('--reloads <n>', 'of bench reload: how many, 300', wholeOf(1, 10_000))
    .option('--quick', 'few short rounds, to see that it works')
    .option('--json', 'print one JSON object: figures and raw samples')
    // What stands behind "wake" is for wake, also where both know the flag.
    .enablePositionalOptions()
    .helpCommand(false)
    .addHelpText('after', examples('vanity bench', 'vanity bench channel --json > channel.json'))
    .action(async (name: string | undefined, options: BenchOptions) => {
      done(await (await import('./bench.js')).benchCommand(name, options));
    });

  bench
    .command('wake')
    .description('how long a wake takes, by every mechanism this host has, between its processors')
    .option('--quick', 'ten seconds instead of sixty')
    .option('--pairs <list>', 'processors, from-to: 0-1,1-0, or all')
    .option('--mechanisms <list>', 'such as spin,futex,atomics; a wrong name lists them')
    .option('--idle <list>', 'idle times before a signal: 0,10us,1ms')
    .option('--samples <n>', 'wakes of each cell, over all rounds; the time then follows')
    .option('--rounds <n>', 'interleaved rounds; 8, or 4 with --quick')
    .option('--seed <n>', 'decides the order of visits and the sample of pairs; 1')
    .option('--json', 'print the report as one JSON object')
    .option('--csv <file>', 'write one row a cell')
    .option('--html <file>', 'write one self-contained page')
    .addHelpText(
      'after',
      examples(
        'vanity bench wake --quick',
        'vanity bench wake --json > wake.json',
        'vanity bench wake --pairs 2-3,3-2 --mechanisms spin,futex --idle 0,100us --html wake.html',
      ),
    )
    .action(async (options: BenchWakeOptions, command: Command) => {
      const all = { ...command.parent?.opts<BenchWakeOptions>(), ...options };
      done(await (await import('./bench-wake.js')).benchWakeCommand(all));
    });

  program
    .command('report')
    .description('draw a report of bench wake again, or compare two')
    .argument('<report>', 'what bench wake --json wrote; - is stdin')
    .argument('[later]', 'a later one, to be compared with the first')
    .option('--html <file>', 'write it as one page that needs nothing else')
    .option('--csv <file>', 'write every cell of one report, a row each')
    .option('--json', 'print one JSON object: the figures, or the comparison')
    .option('--fail-on-slower', 'exit with 1 when the later one is slower by more than the noise')
    .addHelpText(
      'after',
      examples(
        'vanity report wake.json --html wake.html',
        'vanity report before.json after.json',
        'vanity bench wake --quick --json | vanity report before.json - --fail-on-slower',
      ),
    )
    .action(async (report: string, later: string | undefined, options: ReportOptions) => {
      done((await import('./report.js')).reportCommand(report, later, options));
    });

  return program;
}

/** Parses and runs; resolves to the exit code and throws what a command threw. */
export async function runProgram(args: readonly string[]): Promise<number> {
  const { VanityError } = await import('../errors.js');
  let exitCode = 0;
  let complaint = '';
  const program = createProgram((code) => {
    exitCode = code;
  });
  for (const command of [program, ...program.commands.flatMap((one) => [one, ...one.commands])]) {
    command.configureOutput({
      outputError: (text) => {
        complaint += text;
      },
    });
  }
  if (args.length === 0) {
    program.outputHelp({ error: true });
    return 2;
  }
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    // A command of commands by itself: its help is printed by now.
    if (error.code === 'commander.help') return 2;
    const problem = (complaint || error.message).replace(/^error: /, '').trim();
    throw new VanityError('VANITY_E_USAGE', { problem: problem.replace(/\n/g, ' ') });
  }
  return exitCode;
}
