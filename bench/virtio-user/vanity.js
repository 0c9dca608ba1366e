// A Vanity system at one end of a socket, watched from outside through its segment.
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findSystems, openSystem } from '../../dist/index.js';
import { BURST, RING, until } from './measure.js';

const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const START_MS = 20_000;

const list = (name, count) => `[${Array(count).fill(`"${name}"`).join(', ')}]`;

/** One shard behind a port of `driver`, which sends (`tx`) or receives (`rx`) all there is. */
export const oneShard = ({ driver, socket, way, size, packed, queues, core }) => `
[system]
name = "${driver}"

[ports.socket]
driver = "${driver}"
socket = ${JSON.stringify(socket)}
${driver === 'virtio-user' ? `ring = ${RING}\npacked = "${packed ? 'yes' : 'no'}"` : ''}
interrupts = false
buffers = 8192
overflow = "block"
${way} = ${list('work', queues)}

[shards.work]
program = "${way === 'tx' ? 'generate' : 'sink'}"
burst = ${BURST}
core = ${core}
${way === 'tx' ? `options = { size = ${size}, buffers = 8192 }` : ''}
`;

/** In at one socket and out of the other, through two shards and a channel, or in one; asleep when nothing comes. */
export function forwarder({ sockets, packed, cores }) {
  const [one] = cores;
  const last = cores.length === 1 ? 'in' : 'out';
  const port = (name, way, shard) => `
[ports.${name}]
driver = "virtio-user"
socket = ${JSON.stringify(sockets[way === 'rx' ? 0 : 1])}
ring = ${RING}
packed = "${packed ? 'yes' : 'no'}"
overflow = "block"
${way} = "${shard}"
`;
  const shard = (name, core) => `
[shards.${name}]
program = "forward"
burst = ${BURST}
core = ${core}
`;
  const second = `${shard('out', cores[1])}
[channels.across]
from = "in"
to = "out"
capacity = 4096
overflow = "block"
`;
  return `
[system]
name = "forward"
oversubscribe = ${cores[1] === one}
${port('in', 'rx', 'in')}${port('out', 'tx', last)}${shard('in', one)}${cores.length > 1 ? second : ''}`;
}

/** The other side of a forwarder: what comes out of the one socket goes into the other. `feeds`: and there is something. */
export function wheel({ sockets, core, feeds }) {
  const port = (name, way, socket) => `
[ports.${name}]
driver = "vhost-user"
socket = ${JSON.stringify(socket)}
overflow = "drop"
${way} = "wheel"
`;
  // A few packets a second are enough: they stay, until the rings are full of them.
  const fed = `
[shards.feed]
program = "generate"
core = ${core}
options = { rate = 4000, count = 0 }

[channels.feeding]
from = "feed"
to = "wheel"
`;
  return `
[system]
name = "wheel"
oversubscribe = ${feeds}
${port('into', 'tx', sockets[0])}${port('from', 'rx', sockets[1])}
[shards.wheel]
program = "forward"
burst = ${BURST}
core = ${core}
${feeds ? fed : ''}`;
}

export class Vanity {
  constructor(folder, name, manifest) {
    this.runtime = join(folder, name);
    mkdirSync(this.runtime, { recursive: true });
    const file = join(folder, `${name}.toml`);
    writeFileSync(file, manifest);
    this.child = spawn(process.execPath, [CLI, 'run', file, '--quiet', '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, VANITY_RUNTIME_DIR: this.runtime },
    });
    this.out = '';
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        this.out += text;
      });
    this.gone = false;
    this.ended = new Promise((resolve) => {
      this.child.on('close', () => {
        this.gone = true;
        resolve();
      });
    });
  }

  get pid() {
    return this.child.pid;
  }

  #check() {
    if (this.gone) throw new Error(`vanity ended:\n${this.out.slice(-2000)}`);
  }

  /** It runs: its sockets are there, or looked for. */
  async ready() {
    this.segment = await until('vanity runs', START_MS, () => {
      this.#check();
      const [system] = findSystems(this.runtime);
      if (!system?.live) return undefined;
      try {
        const segment = openSystem(system);
        return segment.state() === 'running' ? segment : undefined;
      } catch {
        return undefined; // it is still being written
      }
    });
  }

  /** Somebody is at the other end of each of its sockets. */
  joined() {
    return until('all ports are up', START_MS, () => {
      this.#check();
      return this.segment.rows('ports').every(({ state }) => state === 'up');
    });
  }

  #packets(direction) {
    return this.segment
      .rows('queues')
      .filter((queue) => queue.direction === direction)
      .reduce((sum, { packets }) => sum + Number(packets), 0);
  }

  /** Packets a second over so long, of all queues of that direction ("rx" or "tx"). */
  async rate(direction, ms) {
    const before = this.#packets(direction);
    const from = performance.now();
    await sleep(ms);
    this.#check();
    return ((this.#packets(direction) - before) * 1000) / (performance.now() - from);
  }

  async end() {
    this.child.kill('SIGINT');
    await Promise.race([this.ended, sleep(5000)]);
    this.child.kill('SIGKILL');
    await this.ended;
  }
}
