// Shards, channels and receive queues in virtual time. A shard takes a burst of one of its inputs, is busy for what that
// costs, and passes it on; it waits when it finds nothing, and for room in a channel that blocks. Shards of one core take
// turns. Packets are counted in bursts, never one by one, so that a billion a second can be played.
import { Random } from './random.js';

/** What packets come from: a channel, or a queue that is fed from outside. */
export interface QueueSpec {
  readonly name: string;
  readonly capacity: number;
  /** From a shard: a channel. */
  readonly overflow: 'drop' | 'block';
  /** Packets a second from outside; Infinity: always full. None of a channel. */
  readonly rate?: number;
}

export interface ShardSpec {
  readonly name: string;
  readonly core: number;
  readonly burst: number;
  readonly burstNs: number;
  readonly packetNs: number;
  /** Indices of queues, and what a packet of each costs besides. */
  readonly inputs: readonly { readonly queue: number; readonly ns: number }[];
  /** -1: leaves the system. */
  readonly outputs: readonly { readonly queue: number; readonly ns: number }[];
  /** To one of the outputs, to each of them, or to none. */
  readonly passes: 'one' | 'each' | 'none';
  /** From waiting to its first instruction; while it polls still, `pollNs`. */
  readonly wakeNs: number;
  readonly pollNs: number;
  readonly spinNs: number;
}

export interface SimulationSpec {
  readonly queues: readonly QueueSpec[];
  readonly shards: readonly ShardSpec[];
  readonly switchNs: number;
  readonly timeNs: number;
  readonly seed: number;
}

export interface Played {
  readonly timeNs: number;
  readonly shards: readonly { readonly packets: number; readonly busyNs: number }[];
  readonly queues: readonly {
    readonly arrived: number;
    readonly dropped: number;
    readonly depthMax: number;
    /** When it was full for the first time; undefined: never. */
    readonly fullNs: number | undefined;
    /** How long a producer waited for room. */
    readonly blockedNs: number;
  }[];
  /** Packets that left the system, and how long they were in it. */
  readonly left: number;
  readonly latency: Latencies;
  readonly events: number;
}

/** Times in buckets of 1/16 of a power of two. */
export class Latencies {
  readonly #counts = new Float64Array(64 * 16);
  #total = 0;
  max = 0;

  add(ns: number, count: number): void {
    const bucket = ns <= 1 ? 0 : Math.floor(Math.log2(ns) * 16);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + count;
    this.#total += count;
    if (ns > this.max) this.max = ns;
  }

  /** Undefined when nothing was timed. */
  quantile(share: number): number | undefined {
    let left = this.#total * share;
    for (let bucket = 0; this.#total > 0 && bucket < this.#counts.length; bucket++) {
      left -= this.#counts[bucket] ?? 0;
      if (left <= 0) return Math.min(this.max, 2 ** ((bucket + 1) / 16));
    }
    return undefined;
  }
}

// Packets of one age.
interface Chunk {
  count: number;
  readonly born: number;
}

class Queue {
  readonly chunks: Chunk[] = [];
  depth = 0;
  arrived = 0;
  dropped = 0;
  depthMax = 0;
  fullNs: number | undefined;
  blockedNs = 0;
  #since = 0;
  /** Who waits for room. */
  readonly waiting: Shard[] = [];
  reader: Shard | undefined;

  constructor(readonly spec: QueueSpec) {}

  /** Brings what came from outside up to now. */
  arrive(now: number, random: Random): void {
    const { rate, capacity } = this.spec;
    if (rate === undefined || now <= this.#since) return;
    if (rate === Number.POSITIVE_INFINITY) {
      this.depth = capacity; // which is no finding
      return;
    }
    const came = random.poisson((rate * (now - this.#since)) / 1e9);
    this.dropped += came - this.offer(came, (this.#since + now) / 2, now);
    this.#since = now;
  }

  /** Something came just now, while nobody looked. */
  arriveOne(now: number): void {
    this.dropped += 1 - this.offer(1, now, now);
    this.#since = now;
  }

  nextArrival(now: number, random: Random): number {
    const { rate } = this.spec;
    return rate === undefined || rate === 0
      ? Number.POSITIVE_INFINITY
      : now + random.exponential(1e9 / rate);
  }

  /** How many there was room for. */
  offer(count: number, born: number, now: number): number {
    const room = Math.min(count, this.spec.capacity - this.depth);
    this.arrived += count;
    if (room > 0) {
      this.chunks.push({ count: room, born });
      this.depth += room;
    }
    if (this.depth > this.depthMax) this.depthMax = this.depth;
    if (room < count || this.depth === this.spec.capacity) this.fullNs ??= now;
    return room;
  }

  take(count: number, now: number): Chunk[] {
    if (this.spec.rate === Number.POSITIVE_INFINITY) {
      this.arrived += count;
      return [{ count, born: now }];
    }
    const taken: Chunk[] = [];
    let left = count;
    while (left > 0) {
      const first = this.chunks[0];
      if (first === undefined) break;
      const part = Math.min(left, first.count);
      taken.push({ count: part, born: first.born });
      left -= part;
      first.count -= part;
      if (first.count === 0) this.chunks.shift();
    }
    this.depth -= count - left;
    return taken;
  }
}

type State = 'ready' | 'busy' | 'waiting' | 'waking' | 'blocked';

class Shard {
  state: State = 'ready';
  turn = 0;
  packets = 0;
  busyNs = 0;
  waitingSince = 0;
  waits = 0;
  blockedSince = 0;
  /** What it has in hand, for each output. */
  readonly held: Chunk[][];
  nextOutput = 0;

  constructor(
    readonly spec: ShardSpec,
    readonly inputs: readonly Queue[],
    readonly outputs: readonly (Queue | undefined)[],
    readonly core: Core,
  ) {
    this.held = outputs.map(() => []);
  }
}

class Core {
  readonly ready: Shard[] = [];
  running: Shard | undefined;
  last: Shard | undefined;
}

interface Happening {
  readonly at: number;
  readonly order: number;
  readonly what: () => void;
}

// A binary heap, by time and then by order of asking.
class Agenda {
  readonly #heap: Happening[] = [];
  #order = 0;

  at(time: number, what: () => void): void {
    const heap = this.#heap;
    heap.push({ at: time, order: this.#order++, what });
    let child = heap.length - 1;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!before(heap[child] as Happening, heap[parent] as Happening)) break;
      swap(heap, child, parent);
      child = parent;
    }
  }

  next(): Happening | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    heap[0] = last;
    for (let parent = 0; ; ) {
      let least = parent;
      for (const child of [2 * parent + 1, 2 * parent + 2]) {
        const found = heap[child];
        if (found !== undefined && before(found, heap[least] as Happening)) least = child;
      }
      if (least === parent) return first;
      swap(heap, least, parent);
      parent = least;
    }
  }
}

function before(a: Happening, b: Happening): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
function swap(heap: Happening[], a: number, b: number): void {
  [heap[a], heap[b]] = [heap[b] as Happening, heap[a] as Happening];
}

/** What Linux lets one thread run while others are ready. */
const SLICE_NS = 3e6;

class Simulation {
  readonly #random: Random;
  readonly #agenda = new Agenda();
  readonly #queues: readonly Queue[];
  readonly #shards: readonly Shard[];
  readonly #latency = new Latencies();
  #now = 0;
  #left = 0;
  #events = 0;

  constructor(readonly spec: SimulationSpec) {
    this.#random = new Random(spec.seed);
    this.#queues = spec.queues.map((queue) => new Queue(queue));
    const cores = new Map<number, Core>();
    const queue = (index: number) => this.#queues[index];
    this.#shards = spec.shards.map((shard) => {
      const core = cores.get(shard.core) ?? new Core();
      cores.set(shard.core, core);
      const inputs = shard.inputs.flatMap((input) => queue(input.queue) ?? []);
      const made = new Shard(
        shard,
        inputs,
        shard.outputs.map((output) => queue(output.queue)),
        core,
      );
      for (const input of inputs) input.reader = made;
      return made;
    });
  }

  play(): Played {
    for (const shard of this.#shards) shard.core.ready.push(shard);
    for (const core of new Set(this.#shards.map(({ core }) => core))) this.#dispatch(core);
    for (;;) {
      const next = this.#agenda.next();
      if (next === undefined || next.at > this.spec.timeNs) break;
      this.#now = next.at;
      this.#events++;
      next.what();
    }
    for (const shard of this.#shards) this.#unblock(shard, this.spec.timeNs);
    return {
      timeNs: this.spec.timeNs,
      shards: this.#shards.map(({ packets, busyNs }) => ({ packets, busyNs })),
      queues: this.#queues.map(({ arrived, dropped, depthMax, fullNs, blockedNs }) => ({
        arrived,
        dropped,
        depthMax,
        fullNs,
        blockedNs,
      })),
      left: this.#left,
      latency: this.#latency,
      events: this.#events,
    };
  }

  // Gives the core to who is next.
  #dispatch(core: Core): void {
    if (core.running !== undefined) return;
    const shard = core.ready.shift();
    if (shard === undefined) return;
    core.running = shard;
    const pause = core.last === undefined || core.last === shard ? 0 : this.spec.switchNs;
    core.last = shard;
    shard.state = 'busy';
    const began = this.#now + pause;
    if (pause === 0) this.#turn(shard, began);
    else this.#agenda.at(began, () => this.#turn(shard, began));
  }

  #yield(shard: Shard, state: State): void {
    shard.state = state;
    shard.core.running = undefined;
    if (state === 'ready') shard.core.ready.push(shard);
    this.#dispatch(shard.core);
  }

  // One turn of a shard that has its core since `since`.
  #turn(shard: Shard, since: number): void {
    if (!this.#deliver(shard)) {
      this.#block(shard);
      return;
    }
    const { inputs, spec } = shard;
    for (let i = 0; i < inputs.length; i++) {
      const at = (shard.turn + i) % inputs.length;
      const queue = inputs[at] as Queue;
      queue.arrive(this.#now, this.#random);
      if (queue.depth === 0) continue;
      shard.turn = at + 1;
      const count = Math.min(spec.burst, queue.depth);
      const taken = queue.take(count, this.#now);
      this.#room(queue);
      const inNs = spec.inputs[at]?.ns ?? 0;
      const ns = spec.burstNs + count * (spec.packetNs + inNs) + this.#pass(shard, taken);
      shard.packets += count;
      shard.busyNs += ns;
      this.#agenda.at(this.#now + ns, () => {
        if (this.#deliver(shard)) this.#goOn(shard, since);
        else this.#block(shard);
      });
      return;
    }
    this.#wait(shard);
  }

  #goOn(shard: Shard, since: number): void {
    if (shard.core.ready.length > 0 && this.#now - since >= SLICE_NS) this.#yield(shard, 'ready');
    else this.#turn(shard, since);
  }

  // Into its hands, by output; what the passing costs.
  #pass(shard: Shard, taken: readonly Chunk[]): number {
    const { passes, outputs } = shard.spec;
    if (passes === 'none' || outputs.length === 0) {
      for (const { count: n, born } of taken) this.#leave(n, born);
      return 0;
    }
    let ns = 0;
    for (const chunk of taken) {
      if (passes === 'each') {
        outputs.forEach((output, i) => {
          shard.held[i]?.push({ ...chunk });
          ns += chunk.count * output.ns;
        });
        continue;
      }
      // Evenly, and what is left over by chance.
      const even = Math.floor(chunk.count / outputs.length);
      const rest = chunk.count - even * outputs.length;
      const first = rest === 0 ? 0 : this.#random.below(outputs.length);
      outputs.forEach((output, i) => {
        const extra = (i - first + outputs.length) % outputs.length < rest ? 1 : 0;
        if (even + extra === 0) return;
        shard.held[i]?.push({ count: even + extra, born: chunk.born });
        ns += (even + extra) * output.ns;
      });
    }
    return ns;
  }

  // False: some channel that blocks has no room.
  #deliver(shard: Shard): boolean {
    let all = true;
    shard.held.forEach((held, i) => {
      const queue = shard.outputs[i];
      while (held.length > 0) {
        const chunk = held[0] as Chunk;
        if (queue === undefined) {
          this.#leave(chunk.count, chunk.born);
          held.shift();
          continue;
        }
        const room = queue.offer(chunk.count, chunk.born, this.#now);
        if (room > 0) this.#wake(queue.reader);
        if (room === chunk.count) {
          held.shift();
        } else if (queue.spec.overflow === 'drop') {
          queue.dropped += chunk.count - room;
          held.shift();
        } else {
          queue.arrived -= chunk.count - room; // it comes again
          chunk.count -= room;
          if (!queue.waiting.includes(shard)) queue.waiting.push(shard);
          all = false;
          return;
        }
      }
    });
    return all;
  }

  #block(shard: Shard): void {
    shard.blockedSince = this.#now;
    this.#yield(shard, 'blocked');
  }
  #unblock(shard: Shard, now: number): void {
    if (shard.state !== 'blocked') return;
    shard.held.forEach((held, i) => {
      const queue = shard.outputs[i];
      if (held.length > 0 && queue !== undefined) queue.blockedNs += now - shard.blockedSince;
    });
  }

  // There is room again: whoever waits looks soon.
  #room(queue: Queue): void {
    for (const shard of queue.waiting.splice(0)) {
      if (shard.state !== 'blocked') continue;
      this.#unblock(shard, this.#now);
      shard.state = 'waking';
      this.#agenda.at(this.#now + shard.spec.pollNs, () => this.#ready(shard));
    }
  }

  #wait(shard: Shard): void {
    shard.waitingSince = this.#now;
    const wait = ++shard.waits;
    this.#yield(shard, 'waiting');
    for (const queue of shard.inputs) {
      const next = queue.nextArrival(this.#now, this.#random);
      if (next > this.spec.timeNs) continue;
      this.#agenda.at(next, () => {
        if (shard.state !== 'waiting' || shard.waits !== wait) return;
        queue.arriveOne(next);
        this.#wake(shard);
      });
    }
  }

  #wake(shard: Shard | undefined): void {
    if (shard === undefined || shard.state !== 'waiting') return;
    const { spec } = shard;
    const polls = this.#now - shard.waitingSince < spec.spinNs;
    shard.state = 'waking';
    this.#agenda.at(this.#now + (polls ? spec.pollNs : spec.wakeNs), () => this.#ready(shard));
  }

  #ready(shard: Shard): void {
    shard.state = 'ready';
    shard.core.ready.push(shard);
    this.#dispatch(shard.core);
  }

  #leave(count: number, born: number): void {
    this.#left += count;
    this.#latency.add(this.#now - born, count);
  }
}

/** Plays it; the same specification gives the same figures. */
export function simulate(spec: SimulationSpec): Played {
  return new Simulation(spec).play();
}
