// The files through which VFIO is reached: each interface has one of the device, or its group, and one of the whole.
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import type { Host } from '../host/host.js';
import type { PciDevice } from './pci.js';
import { openBy } from './use.js';

export interface Way {
  readonly backend: 'group' | 'cdev';
  /** That of the device; undefined when there is none. */
  readonly node: string | undefined;
  /** That of the whole. */
  readonly entry: string;
  /** What a kernel needs to have both. */
  readonly option: string;
}

const CDEV = '/dev/vfio/devices/';

/** The ways to a device that vfio-pci has. */
export function waysTo({ nodes }: PciDevice): Way[] {
  return [
    {
      backend: 'cdev',
      node: nodes.find((name) => name.startsWith(CDEV)),
      entry: '/dev/iommu',
      option: 'CONFIG_VFIO_DEVICE_CDEV and CONFIG_IOMMUFD',
    },
    {
      backend: 'group',
      node: nodes.find((name) => !name.startsWith(CDEV)),
      entry: '/dev/vfio/vfio',
      option: 'CONFIG_VFIO_GROUP',
    },
  ];
}

export function mayOpen(host: Host, path: string): boolean {
  try {
    accessSync(join(host.root, path), constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const isOwn = (process_: string) => process_.endsWith(`(${process.pid})`);

/** Whether this process came with the device open, by the protocol of sd_listen_fds(3). */
export function isInherited(host: Host, device: PciDevice): boolean {
  return process.env.LISTEN_PID === String(process.pid) && openBy(host, device).some(isOwn);
}

/** Of processes that have a device open, those that are not this one. */
export function others(processes: readonly string[]): string[] {
  return processes.filter((name) => !isOwn(name));
}
