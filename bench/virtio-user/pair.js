// A driver and a back-end at the two ends of one socket, each Vanity's or DPDK's, on a core of its own.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Testpmd } from '../testpmd.js';
import { BURST, kindOf, RING, settle, until, WINDOW_MS } from './measure.js';
import { oneShard, Vanity } from './vanity.js';

const BACK_END_CORE = 0;
const DRIVER_CORE = 1;

let pairs = 0;

function dpdk({ name, core, vdev, sends, work, huge }) {
  const { size, queues } = work;
  return new Testpmd({
    name,
    core,
    huge,
    vdevs: [vdev],
    mode: sends ? 'txonly' : 'rxonly',
    more: [
      ...['--auto-start', `--burst=${BURST}`, `--rxd=${RING}`, `--txd=${RING}`],
      ...[`--rxq=${queues}`, `--txq=${queues}`, `--txpkts=${size}`],
    ],
  });
}

/**
 * Packets a second of `work` ({ direction, size, packed, queues }), as seen by the driver: it transmits or
 * receives. DPDK counts where it is at one end, by the same counter whoever is at the other; where it is at both, the
 * side that receives counts.
 */
export async function pair({ driver, backEnd }, work, { folder, huge }) {
  const socket = join(folder, `${++pairs}.sock`);
  const { size, packed, queues, direction } = work;
  const ends = { backEnd: null, driver: null };
  const sends = { driver: direction === 'transmit', backEnd: direction === 'receive' };
  const one = (end, core) => ({
    driver: end === 'driver' ? 'virtio-user' : 'vhost-user',
    way: sends[end] ? 'tx' : 'rx',
    ...{ socket, size, packed, queues, core },
  });
  try {
    ends.backEnd =
      backEnd === 'vanity'
        ? new Vanity(folder, 'back-end', oneShard(one('backEnd', BACK_END_CORE)))
        : dpdk({
            name: 'vanity-vhost',
            core: BACK_END_CORE,
            vdev: `net_vhost0,iface=${socket},queues=${queues}`,
            sends: sends.backEnd,
            ...{ work, huge },
          });
    await ends.backEnd.ready();
    await until('the back-end listens', 5000, () => existsSync(socket));
    ends.driver =
      driver === 'vanity'
        ? new Vanity(folder, 'driver', oneShard(one('driver', DRIVER_CORE)))
        : dpdk({
            name: 'vanity-user',
            core: DRIVER_CORE,
            vdev: `net_virtio_user0,path=${socket},queues=${queues},queue_size=${RING},packed_vq=${packed ? 1 : 0}`,
            sends: sends.driver,
            ...{ work, huge },
          });
    await ends.driver.ready();
    if (driver === 'vanity') await ends.driver.joined();
    if (backEnd === 'vanity') await ends.backEnd.joined();
    await settle();
    const receiver = sends.driver ? 'backEnd' : 'driver';
    const counts = { driver, backEnd };
    const [counting] = [receiver, 'driver', 'backEnd'].filter((end) => counts[end] === 'dpdk');
    const way = sends[counting ?? receiver] ? 'tx' : 'rx';
    if (counting === undefined) return await ends[receiver].rate(way, WINDOW_MS);
    const [rates] = await ends[counting].rates(WINDOW_MS);
    return rates[way];
  } finally {
    await ends.driver?.end();
    await ends.backEnd?.end();
  }
}

/** Of a work, as figures are named. */
export const nameOf = ({ direction, size, packed, queues }) =>
  `${direction} ${size} B ${kindOf({ packed })}${queues > 1 ? ` ${queues} queues` : ''}`;
