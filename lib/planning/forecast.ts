// What a manifest does on a host that is known by its model only: the plan becomes queues and shards with costs, is played,
// and what matters of it is told: how much goes through, how long it takes, what is full first.
import { VanityError } from '../errors.js';
import { builtins } from '../manifest/builtins.js';
import type { Plan, PortPlan, ShardPlan } from '../manifest/plan.js';
import type { HostModel, ProgramCost } from './host-model.js';
import { type Played, type QueueSpec, type ShardSpec, simulate } from './simulate.js';

export interface ForecastOptions {
  /** Virtual time, in nanoseconds. */
  readonly timeNs: number;
  readonly seed: number;
  /** Packets a second that come to a port, by its name. */
  readonly arrivals: ReadonlyMap<string, number>;
  /** Nanoseconds a packet costs a shard, by its name or its program's; else what the model says. */
  readonly costs: ReadonlyMap<string, number>;
}

export interface Forecast {
  readonly title: string;
  readonly timeNs: number;
  readonly seed: number;
  /** Packets that left the system, a second. */
  readonly pps: number;
  readonly latencyNs: { readonly p50?: number; readonly p99?: number; readonly p999?: number };
  readonly shards: readonly ShardForecast[];
  readonly channels: readonly QueueForecast[];
  readonly ports: readonly QueueForecast[];
  /** The shard that is nearest to its limit. */
  readonly busiest: string;
  /** The first channel, or receive queue, that had no room; empty: none. */
  readonly firstFull: string;
  readonly dropped: number;
  /** Numbers that no source stands behind. */
  readonly assumed: readonly string[];
  readonly events: number;
}

export interface ShardForecast {
  readonly name: string;
  readonly program: string;
  readonly core: number;
  readonly pps: number;
  /** Its share of the time that it works. */
  readonly busy: number;
}

export interface QueueForecast {
  readonly name: string;
  readonly pps: number;
  readonly dropped: number;
  readonly depthMax: number;
  readonly capacity: number;
  readonly fullNs: number | undefined;
  readonly blockedNs: number;
}

/** Cores for shards that leave it to us: the emptiest, the last of them that is so; a core that a shard names is its own. */
export function spread(plan: Plan, cores: number): number[] {
  const load = new Array<number>(cores).fill(0);
  for (const { core } of plan.shards) {
    if (core === 'auto' || core < 0) continue;
    if (core >= cores) {
      const problem = `a shard is pinned to core ${core}, and the model has ${cores}`;
      throw new VanityError('VANITY_E_FORECAST', { problem });
    }
    load[core] = (load[core] ?? 0) + 1;
  }
  return plan.shards.map(({ core }) => {
    if (core !== 'auto' && core >= 0) return core;
    const least = load.indexOf(Math.min(...load));
    load[least] = (load[least] ?? 0) + 1;
    return least;
  });
}

class Layout {
  readonly cores: readonly number[];

  constructor(
    readonly plan: Plan,
    readonly model: HostModel,
    readonly options: ForecastOptions,
  ) {
    this.cores = spread(plan, model.cores.count.value);
  }

  // A line from the core of one shard to that of another.
  lineNs(from: number, to: number): number {
    const [a = 0, b = 0] = [this.cores[from], this.cores[to]];
    if (a === b) return 0;
    const per = this.model.cores.per_socket.value;
    const { socket, across } = this.model.line_ns;
    return Math.floor(a / per) === Math.floor(b / per) ? socket.value : across.value;
  }

  costOf(shard: ShardPlan): ProgramCost {
    const given = this.options.costs.get(shard.name) ?? this.options.costs.get(shard.program);
    const known = this.model.programs[shard.program];
    if (given !== undefined) {
      const figure = (value: number) => ({ value, source: 'given' });
      return {
        burst_ns: figure(0),
        packet_ns: figure(given * this.model.cores.speed.value),
        lines_in: known?.lines_in ?? figure(0),
        lines_out: known?.lines_out ?? figure(0),
      };
    }
    if (known !== undefined) return known;
    throw new VanityError('VANITY_E_FORECAST', {
      problem: `nothing is known of what program "${shard.program}" costs; give --cost ${shard.name}=NANOSECONDS`,
    });
  }
}

/** A queue that is fed from outside, the shard that reads it, and what a packet of it costs that shard. */
interface Feed {
  readonly queue: number;
  readonly to: number;
  readonly ns: number;
}

/** Queues: the channels in their order, then the receive queues of ports, then what makes packets. */
function queuesOf(layout: Layout): { queues: QueueSpec[]; feeds: Feed[] } {
  const { plan, model, options } = layout;
  const queues: QueueSpec[] = plan.channels.map(({ name, capacity, overflow }) => ({
    name,
    capacity,
    overflow: overflow === 'drop' ? 'drop' : 'block',
  }));
  const feeds: Feed[] = [];
  for (const port of plan.ports) {
    const file = port.driver === 'capture' && port.replay !== 'timed';
    const given = options.arrivals.get(port.name) ?? (file ? Number.POSITIVE_INFINITY : undefined);
    if (given === undefined && port.rx.length > 0) {
      const problem = `nothing is known of what comes to port "${port.name}"; give --arrivals ${port.name}=PACKETS_A_SECOND`;
      throw new VanityError('VANITY_E_FORECAST', { problem });
    }
    port.rx.forEach((to, i) => {
      feeds.push({
        queue: queues.length,
        to,
        ns: model.receive[behind(port)].value / model.cores.speed.value,
      });
      const rate = (given ?? 0) / port.rx.length;
      queues.push({ name: `${port.name}.${i}`, capacity: port.ring, overflow: 'drop', rate });
    });
  }
  plan.shards.forEach((shard, to) => {
    if (shard.program !== 'generate') return;
    const rate = Number(shard.options.rate ?? 0) || Number.POSITIVE_INFINITY;
    feeds.push({ queue: queues.length, to, ns: 0 });
    queues.push({ name: `${shard.name} makes`, capacity: shard.burst, overflow: 'drop', rate });
  });
  return { queues, feeds };
}

function behind({ driver }: PortPlan): keyof HostModel['receive'] {
  if (driver === 'device') return 'device';
  return driver === 'capture' ? 'capture' : 'socket';
}

function passesOf(program: string): ShardSpec['passes'] {
  if (program === 'sink') return 'none';
  return program === 'mirror' ? 'each' : 'one';
}

function shardsOf(layout: Layout, feeds: readonly Feed[]): ShardSpec[] {
  const { plan, model } = layout;
  const speed = model.cores.speed.value;
  const shared = new Set(layout.cores).size < layout.cores.length;
  return plan.shards.map((shard, index) => {
    const cost = layout.costOf(shard);
    const inputs = [
      ...feeds.filter(({ to }) => to === index),
      ...plan.channels.flatMap(({ from, to }, queue) =>
        to === index ? [{ queue, ns: cost.lines_in.value * layout.lineNs(from, to) }] : [],
      ),
    ];
    const channels = plan.channels.flatMap(({ from, to }, queue) =>
      from === index ? [{ queue, ns: cost.lines_out.value * layout.lineNs(from, to) }] : [],
    );
    const ports = plan.ports.flatMap(({ tx }) =>
      tx.filter((each) => each === index).map(() => ({ queue: -1, ns: 0 })),
    );
    const outputs = [...channels, ...ports];
    return {
      name: shard.name,
      core: layout.cores[index] ?? 0,
      burst: shard.burst,
      burstNs: cost.burst_ns.value / speed,
      packetNs: cost.packet_ns.value / speed,
      inputs,
      outputs: builtins.get(shard.program)?.firstOutputOnly ? outputs.slice(0, 1) : outputs,
      passes: passesOf(shard.program),
      wakeNs: model.wake_ns.value,
      pollNs: model.line_ns.socket.value,
      spinNs: shared ? 0 : shard.spinNsMax,
    };
  });
}

function assumedOf(plan: Plan, model: HostModel): string[] {
  const programs = new Set(plan.shards.map(({ program }) => program));
  const found: string[] = [];
  const look = (name: string, figure: { source: string }) => {
    if (/^assumed\b/.test(figure.source)) found.push(name);
  };
  look('cores.count', model.cores.count);
  look('cores.per_socket', model.cores.per_socket);
  look('cores.speed', model.cores.speed);
  look('line_ns.socket', model.line_ns.socket);
  look('line_ns.across', model.line_ns.across);
  look('wake_ns', model.wake_ns);
  look('switch_ns', model.switch_ns);
  for (const kind of new Set(plan.ports.filter(({ rx }) => rx.length > 0).map(behind)))
    look(`receive.${kind}`, model.receive[kind]);
  for (const [name, cost] of Object.entries(model.programs)) {
    if (!programs.has(name)) continue;
    for (const [key, figure] of Object.entries(cost)) look(`programs.${name}.${key}`, figure);
  }
  return found;
}

/** Plays a plan on a model; the same arguments give the same answer, on any machine. */
export function forecast(plan: Plan, model: HostModel, options: ForecastOptions): Forecast {
  const layout = new Layout(plan, model, options);
  const { queues, feeds } = queuesOf(layout);
  const shards = shardsOf(layout, feeds);
  const { timeNs, seed } = options;
  const spec = { queues, shards, switchNs: model.switch_ns.value, timeNs, seed };
  return tell(layout, spec.queues, simulate(spec), options);
}

function tell(
  layout: Layout,
  queues: readonly QueueSpec[],
  played: Played,
  { timeNs, seed }: ForecastOptions,
): Forecast {
  const { plan, model, cores } = layout;
  const perSecond = (count: number) => (count / timeNs) * 1e9;
  const shards = plan.shards.map(({ name, program }, i) => ({
    name,
    program,
    core: cores[i] ?? 0,
    pps: perSecond(played.shards[i]?.packets ?? 0),
    busy: (played.shards[i]?.busyNs ?? 0) / timeNs,
  }));
  const told = played.queues.map((queue, i) => {
    const { name = '', capacity = 0 } = queues[i] ?? {};
    const { arrived, dropped, depthMax, fullNs, blockedNs } = queue;
    return { name, pps: perSecond(arrived), dropped, depthMax, capacity, fullNs, blockedNs };
  });
  // What is always full from outside is no finding.
  const overflows = told
    .filter(
      (queue, i) => queue.fullNs !== undefined && queues[i]?.rate !== Number.POSITIVE_INFINITY,
    )
    .sort((a, b) => (a.fullNs ?? 0) - (b.fullNs ?? 0));
  const busiest = [...shards].sort((a, b) => b.busy - a.busy)[0];
  const { latency } = played;
  const quantiles = {
    p50: latency.quantile(0.5),
    p99: latency.quantile(0.99),
    p999: latency.quantile(0.999),
  };
  return {
    title: model.title,
    timeNs,
    seed,
    pps: perSecond(played.left),
    latencyNs: Object.fromEntries(Object.entries(quantiles).filter(([, ns]) => ns !== undefined)),
    shards,
    channels: told.slice(0, plan.channels.length),
    ports: told.slice(plan.channels.length),
    busiest: busiest?.name ?? '',
    firstFull: overflows[0]?.name ?? '',
    dropped: told.reduce((sum, { dropped }) => sum + dropped, 0),
    assumed: assumedOf(plan, model),
    events: played.events,
  };
}
