/** The drivers of NICs as the manifest sees them. */

import { limits } from './limits.js';
import type { DeviceEntry } from './schema.js';

export type NicDriver = Exclude<DeviceEntry['driver'], 'vfio'>;

export interface NicRules {
  /** Queues of each direction that the driver knows how to use. */
  readonly queues: number;
  /** Smallest buffers it receives into. */
  readonly bufferBytes: number;
}

export const nicDrivers: Readonly<Record<NicDriver, NicRules>> = {
  'virtio-net': { queues: limits.queuesPerPort, bufferBytes: limits.bufferBytesMin },
  e1000e: { queues: 2, bufferBytes: 384 },
};

/** Descriptors of a ring when the manifest doesn't say. */
export const RING = 256;
