// The files through which VFIO is reached: each interface has one of the device, or its group, and one of the whole.
import { accessSync, constants, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from '../host/host.js';
import type { PciDevice } from './pci.js';

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

/** Whether this process may open it, or came with it open, by the protocol of sd_listen_fds(3). */
export function reaches(host: Host, path: string): boolean {
  return mayOpen(host, path) || inherited(host).includes(path);
}

function inherited(host: Host): string[] {
  if (process.env.LISTEN_PID !== String(process.pid)) return [];
  return host.list('proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(join(host.root, 'proc/self/fd', fd));
    } catch {
      return [];
    }
  });
}
