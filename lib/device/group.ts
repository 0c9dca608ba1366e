// IOMMU groups: what the hardware cannot keep apart goes to one owner, or to nobody.
import type { Host } from '../host/host.js';
import { DEVICES, isIdle, type PciDevice } from './pci.js';

/** A range of I/O addresses, both ends included. */
export interface Window {
  readonly first: bigint;
  readonly last: bigint;
}

export interface Reserved extends Window {
  /** msi, direct, reserved, ... as the kernel names it. */
  readonly kind: string;
}

/** Whether the group is one that VFIO made up because there is no IOMMU. */
export function isNoiommu(host: Host, group: number): boolean {
  return host.read(`sys/kernel/iommu_groups/${group}/name`) === 'vfio-noiommu';
}

export function hasIommu(host: Host, device: PciDevice): boolean {
  return device.group !== null && !isNoiommu(host, device.group);
}

/** The other devices of its group. */
export function companions(device: PciDevice, all: readonly PciDevice[]): PciDevice[] {
  if (device.group === null) return [];
  return all.filter(({ group, address }) => group === device.group && address !== device.address);
}

/** Companions that keep the group from its owner: a kernel driver that does DMA has them. */
export function blockers(device: PciDevice, all: readonly PciDevice[]): PciDevice[] {
  return companions(device, all).filter(({ driver }) => !isIdle(driver));
}

export function reservedOf(host: Host, group: number): Reserved[] {
  const text = host.read(`sys/kernel/iommu_groups/${group}/reserved_regions`) ?? '';
  return text.split('\n').flatMap((line) => {
    const match = /^(0x[0-9a-f]{1,16}) (0x[0-9a-f]{1,16}) (\S+)$/.exec(line);
    if (!match) return [];
    const [first, last] = [BigInt(match[1] as string), BigInt(match[2] as string)];
    return first <= last ? [{ first, last, kind: match[3] as string }] : [];
  });
}

/** Address bits of the IOMMU in front of a device; 64 when it doesn't say. */
export function iommuBits(host: Host, device: PciDevice): number {
  // VT-d 4.1 §11.4.2: MGAW in bits 21:16, supported table depths (SAGAW) in bits 12:8.
  const text = host.read(`${DEVICES}/${device.address}/iommu/intel-iommu/cap`);
  if (text === undefined || !/^[0-9a-f]{1,16}$/.test(text)) return 64;
  const cap = BigInt(`0x${text}`);
  const widest = Number((cap >> 16n) & 0x3fn) + 1;
  const depths = Number((cap >> 8n) & 0x1fn);
  const depth = depths & 8 ? 57 : depths & 4 ? 48 : 39;
  return Math.min(widest, depth);
}

/** What VFIO lets a process map: the addresses of the IOMMU without what is reserved. */
export function windowsOf(bits: number, reserved: readonly Reserved[]): Window[] {
  let free: Window[] = [{ first: 0n, last: (1n << BigInt(bits)) - 1n }];
  for (const { first, last, kind } of reserved) {
    // The kernel gives these up when a device changes hands.
    if (kind === 'direct-relaxable') continue;
    free = free.flatMap((window) => {
      if (last < window.first || first > window.last) return [window];
      const parts: Window[] = [];
      if (first > window.first) parts.push({ first: window.first, last: first - 1n });
      if (last < window.last) parts.push({ first: last + 1n, last: window.last });
      return parts;
    });
  }
  return free;
}
