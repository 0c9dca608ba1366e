// Packets that circulate: a back-end of two sockets hands what comes out of the one into the other, and between them a forwarder
// does the same the other way. What the forwarder takes of a core while nothing circulates, and how fast it is when something
// does. The back-end is DPDK's, with one core, or Vanity's. The forwarder is testpmd io, with one; Vanity in one shard, with one;
// or two shards and a channel, with one each where there are so many.
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Testpmd } from '../testpmd.js';
import { BURST, cpuShare, RING, settle, until, WINDOW_MS } from './measure.js';
import { forwarder, Vanity, wheel } from './vanity.js';

const BACK_END_CORE = 0;
const CORES_WANTED = 3;
/** Has each of two shards a core of its own? */
export const coresAreEnough = () => cpus().length >= CORES_WANTED;
/** Each forwarder, and the cores of its shards. */
export const FORWARDERS = {
  testpmd: null,
  one: [1],
  two: coresAreEnough() ? [1, 2] : [1, 1],
};

// As many as a ring holds, so that none is lost at the start.
const CIRCULATE = RING / BURST;
const IDLE_MS = 3000;
const CALM_MS = 9000; // Node tidies up once, some eight seconds after its start
const rings = [`--burst=${BURST}`, `--rxd=${RING}`, `--txd=${RING}`];

let systems = 0;

// Packets go one way: what would come back ends in net_null.
function testpmd(sockets, packed, huge) {
  const user = (i) =>
    `net_virtio_user${i},path=${sockets[i]},queue_size=${RING},packed_vq=${packed ? 1 : 0}`;
  return new Testpmd({
    name: 'vanity-user',
    core: 1,
    huge,
    vdevs: [user(0), user(1), 'net_null0,no-rx=1'],
    mode: 'io',
    more: ['--port-topology=chained', '--auto-start', ...rings],
  });
}

/**
 * One of FORWARDERS at work: { rate: packets a second, idle: share of a core that it takes before }, the latter when
 * asked for by `idles`.
 */
export async function forward(who, { packed, idles }, { folder, huge }) {
  const sockets = [0, 1].map((i) => join(folder, `forward-${++systems}-${i}.sock`));
  let peer;
  const backEnd = new Testpmd({
    name: 'vanity-vhost',
    core: BACK_END_CORE,
    huge,
    vdevs: sockets.map((socket, i) => `net_vhost${i},iface=${socket}`),
    mode: 'io',
    more: rings,
  });
  try {
    await backEnd.ready();
    await until('the back-end listens', 5000, () => sockets.every((socket) => existsSync(socket)));
    const cores = FORWARDERS[who];
    peer = cores
      ? new Vanity(folder, 'forward', forwarder({ sockets, packed, cores }))
      : testpmd(sockets, packed, huge);
    await peer.ready();
    if (cores) await peer.joined();
    await settle();
    let idle = null;
    if (idles) {
      if (cores) await sleep(CALM_MS);
      idle = await cpuShare(peer.pid, IDLE_MS);
    }
    backEnd.say(`start tx_first ${CIRCULATE}`);
    await settle();
    const rates = await backEnd.rates(WINDOW_MS);
    return { idle, rate: rates[1].rx };
  } finally {
    await peer?.end();
    await backEnd.end();
  }
}

/** The same of Vanity at both ends. */
export async function forwardAlone(who, { packed }, { folder }) {
  const sockets = [0, 1].map((i) => join(folder, `forward-${++systems}-${i}.sock`));
  const at = { sockets, core: BACK_END_CORE };
  const cores = FORWARDERS[who];
  let backEnd = new Vanity(folder, 'wheel', wheel({ ...at, feeds: false }));
  let peer;
  try {
    await backEnd.ready();
    peer = new Vanity(folder, 'forward', forwarder({ sockets, packed, cores }));
    await peer.ready();
    await peer.joined();
    await sleep(CALM_MS);
    const idle = await cpuShare(peer.pid, IDLE_MS);
    await backEnd.end();
    backEnd = new Vanity(folder, 'wheel', wheel({ ...at, feeds: true }));
    await backEnd.ready();
    await peer.joined();
    await settle();
    return { idle, rate: await peer.rate('tx', WINDOW_MS) };
  } finally {
    await peer?.end();
    await backEnd.end();
  }
}
