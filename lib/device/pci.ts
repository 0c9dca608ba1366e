// The PCI devices of a host, as /sys/bus/pci shows them.
import { join } from 'node:path';
import type { Host } from '../host/host.js';
import { CONFIG_BYTES_MAX, type ConfigSpace, parseConfig } from './config.js';
import { shown } from './units.js';

export interface Bar {
  readonly index: number;
  readonly kind: 'memory' | 'io';
  readonly bytes: number;
  readonly prefetchable: boolean;
  readonly address64: boolean;
}

export interface Interface {
  readonly name: string;
  readonly mac: string | null;
  readonly up: boolean;
}

export interface PciDevice {
  readonly address: string;
  /** Folder of the device, without links: below it is all that it drives. */
  readonly folder: string;
  /** Four hexadecimal digits. */
  readonly vendor: string;
  readonly device: string;
  /** Six hexadecimal digits: class, subclass, programming interface. */
  readonly class: string;
  /** The class in words. */
  readonly kind: string;
  readonly driver: string | null;
  /** What driver_override says; null when it says nothing. */
  readonly override: string | null;
  readonly group: number | null;
  readonly node: number | null;
  readonly slot: string | null;
  /** Device serial number, or that of an NVMe controller. */
  readonly serials: readonly string[];
  readonly resetMethods: readonly string[];
  /** As its kernel driver set it; null when there is none, for then nobody has asked the device. */
  readonly dmaBits: number | null;
  readonly bars: readonly Bar[];
  readonly config: ConfigSpace;
  readonly interfaces: readonly Interface[];
  readonly vfs: number;
  /** /dev/vfio/N and /dev/vfio/devices/vfioN, when there. */
  readonly nodes: readonly string[];
}

export const DEVICES = 'sys/bus/pci/devices';
export const ADDRESS = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;

const ADDRESS_IN_PATH = /\/([0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])(?=\/|$)/g;

/** Drivers that hand a device to a process, or to nobody: they leave DMA to whoever owns the group. */
export function isVfio(driver: string | null): boolean {
  return driver !== null && /(^|[-_])vfio([-_]|$)/.test(driver);
}

export function isIdle(driver: string | null): boolean {
  return driver === null || isVfio(driver) || driver === 'pci-stub' || driver === 'pcieport';
}

/** Every PCI device, by address. */
export function scan(host: Host): PciDevice[] {
  const interfaces = interfacesByDevice(host);
  const slots = slotsByDevice(host);
  return host
    .list(DEVICES)
    .filter((address) => ADDRESS.test(address))
    .map((address) => read(host, address, interfaces.get(address) ?? [], slots));
}

/** The PCI device that a folder of sysfs belongs to: the innermost address on the way. */
export function ownerOf(path: string): string | undefined {
  return [...path.matchAll(ADDRESS_IN_PATH)].at(-1)?.[1];
}

function read(
  host: Host,
  address: string,
  interfaces: readonly Interface[],
  slots: ReadonlyMap<string, string>,
): PciDevice {
  const base = join(DEVICES, address);
  const text = (name: string) => host.read(join(base, name)) ?? '';
  const hex = (name: string, digits: number) => text(name).replace(/^0x/, '').padStart(digits, '0');
  const config = parseConfig(host.bytes(join(base, 'config'), CONFIG_BYTES_MAX));
  const driver = host.link(join(base, 'driver')) ?? null;
  const override = text('driver_override');
  const group = Number(host.link(join(base, 'iommu_group')) ?? Number.NaN);
  const node = Number(text('numa_node') || -1);
  const bits = Number(text('dma_mask_bits'));
  const kind = hex('class', 6);
  const serials = [
    ...(config.serial === null ? [] : [config.serial]),
    ...host.list(join(base, 'nvme')).flatMap((name) => shown(text(`nvme/${name}/serial`)) || []),
  ];
  return {
    address,
    folder: host.real(base) ?? `/${base}`,
    vendor: hex('vendor', 4),
    device: hex('device', 4),
    class: kind,
    kind: kindOf(kind),
    driver,
    override: override === '' || override === '(null)' ? null : override,
    group: Number.isInteger(group) ? group : null,
    node: node >= 0 ? node : null,
    slot: slots.get(address.slice(0, -2)) ?? null,
    serials,
    resetMethods: text('reset_method').split(/\s+/).filter(Boolean),
    dmaBits: bits > 0 && !isIdle(driver) ? bits : null,
    bars: barsOf(text('resource')),
    config,
    interfaces,
    vfs: Number(text('sriov_numvfs')) || 0,
    nodes: nodesOf(host, base, group),
  };
}

// Lines of start, end and flags: six BARs, then the ROM and what bridges and SR-IOV have.
const IO = 0x100n;
const MEMORY = 0x200n;
const PREFETCH = 0x2000n;
const ADDRESS64 = 0x100000n;

export function barsOf(resource: string): Bar[] {
  return resource
    .split('\n')
    .slice(0, 6)
    .flatMap((line, index) => {
      const numbers = line.split(/\s+/);
      if (numbers.length !== 3 || !numbers.every((n) => /^0x[0-9a-f]{1,16}$/.test(n))) return [];
      const [start, end, flags] = numbers.map(BigInt) as [bigint, bigint, bigint];
      const bytes = Number(end - start + 1n);
      if ((flags & (IO | MEMORY)) === 0n || end < start || !Number.isSafeInteger(bytes)) return [];
      return [
        {
          index,
          kind: (flags & MEMORY) !== 0n ? ('memory' as const) : ('io' as const),
          bytes,
          prefetchable: (flags & PREFETCH) !== 0n,
          address64: (flags & ADDRESS64) !== 0n,
        },
      ];
    });
}

function nodesOf(host: Host, base: string, group: number): string[] {
  const candidates = [
    `/dev/vfio/${group}`,
    `/dev/vfio/noiommu-${group}`,
    ...host.list(join(base, 'vfio-dev')).map((name) => `/dev/vfio/devices/${name}`),
  ];
  return candidates.filter((path) => host.exists(path));
}

function interfacesByDevice(host: Host): Map<string, Interface[]> {
  const found = new Map<string, Interface[]>();
  for (const name of host.list('sys/class/net')) {
    const base = `sys/class/net/${name}`;
    const address = ownerOf(host.real(base) ?? '');
    if (address === undefined) continue;
    const flags = Number(host.read(`${base}/flags`) ?? 0);
    const mac = host.read(`${base}/address`) || null;
    const others = found.get(address) ?? [];
    found.set(address, [...others, { name, mac, up: (flags & 1) !== 0 }]);
  }
  return found;
}

// By domain, bus and device: all functions are in one slot.
function slotsByDevice(host: Host): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of host.list('sys/bus/pci/slots')) {
    const address = host.read(`sys/bus/pci/slots/${name}/address`);
    if (address !== undefined && !found.has(address)) found.set(address, name);
  }
  return found;
}

// Longest prefix wins; PCI Code and ID Assignment 1.15.
const KINDS: Record<string, string> = {
  '00': 'unclassified',
  '01': 'storage',
  '0104': 'RAID',
  '0106': 'SATA',
  '0107': 'SAS',
  '0108': 'NVMe',
  '02': 'network',
  '0200': 'Ethernet',
  '0207': 'InfiniBand',
  '03': 'display',
  '0300': 'VGA',
  '04': 'multimedia',
  '05': 'memory',
  '06': 'bridge',
  '0600': 'host bridge',
  '0601': 'ISA bridge',
  '0604': 'PCI bridge',
  '07': 'communication',
  '08': 'system',
  '0b': 'processor',
  '0b40': 'co-processor',
  '0c': 'serial bus',
  '0c03': 'USB',
  '0c05': 'SMBus',
  '10': 'encryption',
  '11': 'signal processing',
  '12': 'accelerator',
  ff: 'unassigned',
};

function kindOf(code: string): string {
  return KINDS[code.slice(0, 4)] ?? KINDS[code.slice(0, 2)] ?? `class ${code}`;
}
