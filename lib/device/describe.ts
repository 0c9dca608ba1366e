// What `vanity device list` and `info` tell, with the keys of their JSON.
import type { Host } from '../host/host.js';
import { describe, groupHint, NOIOMMU_SWITCH, noIommuHint, noIommuProblem } from './bind.js';
import { blockers, companions, hasIommu, reservedOf } from './group.js';
import { mayOpen } from './nodes.js';
import { type Bar, type Interface, isIdle, isVfio, type PciDevice, scan } from './pci.js';
import type { Records } from './record.js';
import { select } from './select.js';
import { hex } from './units.js';
import { openBy, openNodes, usesOf } from './use.js';

export interface DeviceSummary {
  address: string;
  /** vendor:device. */
  id: string;
  /** Class, subclass and programming interface, six hexadecimal digits. */
  class: string;
  kind: string;
  driver: string | null;
  iommu_group: number | null;
  numa_node: number | null;
  slot: string | null;
  serials: readonly string[];
  interfaces: readonly Interface[];
  /** 0: none; null: only root may know. */
  msix_vectors: number | null;
  reset_methods: readonly string[];
  /** Why it must not be taken away. */
  in_use: readonly string[];
}

export interface Obstacle {
  problem: string;
  /** What to type; null when no command mends it. */
  fix: string | null;
}

export interface DeviceInfo extends DeviceSummary {
  /** The driver that `unbind` restores; null when none was taken away. */
  driver_before: string | null;
  group_viable: boolean;
  group_members: readonly {
    address: string;
    kind: string;
    driver: string | null;
    blocks: boolean;
  }[];
  /** Addresses that DMA cannot use. */
  reserved_regions: readonly { first: string; last: string; kind: string }[];
  bars: readonly Bar[];
  /** False where only root may read them. */
  capabilities_known: boolean;
  capabilities: readonly string[];
  interrupts: {
    msix: { vectors: number; table_bar: number; table_offset: string } | null;
    msi: { vectors: number; maskable: boolean } | null;
    intx: boolean;
  };
  link: { gts: number | null; width: number; gts_max: number | null; width_max: number } | null;
  sriov: { vfs: number; total_vfs: number } | null;
  virtio: readonly { kind: string; bar: number; offset: string; bytes: number }[];
  dma_bits: number | null;
  bus_master: boolean;
  nodes: readonly string[];
  open_by: readonly string[];
  damage: readonly string[];
  obstacles: readonly Obstacle[];
}

export function summarize(host: Host, records: Records): DeviceSummary[] {
  const devices = scan(host);
  const uses = usesOf(host, devices);
  const known = records.all();
  const open = openNodes(host, devices);
  return devices.map((device) => {
    const record = known.get(device.address);
    const halfway =
      record !== undefined && !isVfio(device.driver) && device.override === 'vfio-pci'
        ? [`a bind of it was cut off: vanity device unbind ${device.address}`]
        : [];
    return summaryOf(device, [
      ...halfway,
      ...(uses.get(device.address) ?? []),
      ...(open.get(device.address) ?? []).map((process) => `open in ${process}`),
    ]);
  });
}

function summaryOf(device: PciDevice, uses: readonly string[]): DeviceSummary {
  const { config } = device;
  return {
    address: device.address,
    id: `${device.vendor}:${device.device}`,
    class: device.class,
    kind: device.kind,
    driver: device.driver,
    iommu_group: device.group,
    numa_node: device.node,
    slot: device.slot,
    serials: device.serials,
    interfaces: device.interfaces,
    msix_vectors: config.complete ? (config.msix?.vectors ?? 0) : null,
    reset_methods: device.resetMethods,
    in_use: uses,
  };
}

export function examineDevice(host: Host, records: Records, selector: string): DeviceInfo {
  const all = scan(host);
  const known = records.all();
  const device = select(selector, all, known);
  const uses = usesOf(host, all).get(device.address) ?? [];
  const processes = openBy(host, device);
  const record = known.get(device.address);
  const { config } = device;
  const blocking = blockers(device, all);
  return {
    ...summaryOf(device, uses),
    driver_before: record?.driver ?? null,
    group_viable: blocking.length === 0,
    group_members: companions(device, all).map(({ address, kind, driver }) => ({
      address,
      kind,
      driver,
      blocks: !isIdle(driver),
    })),
    reserved_regions:
      device.group === null
        ? []
        : reservedOf(host, device.group).map(({ first, last, kind }) => ({
            first: hex(first),
            last: hex(last),
            kind,
          })),
    bars: device.bars,
    capabilities_known: config.complete,
    capabilities: config.capabilities,
    interrupts: {
      msix: config.msix && {
        vectors: config.msix.vectors,
        table_bar: config.msix.tableBar,
        table_offset: hex(config.msix.tableOffset),
      },
      msi: config.msi && { vectors: config.msi.vectors, maskable: config.msi.maskable },
      intx: config.interruptPin !== 0,
    },
    link: config.link && {
      gts: config.link.gts,
      width: config.link.width,
      gts_max: config.link.gtsMax,
      width_max: config.link.widthMax,
    },
    sriov: config.sriov && { vfs: device.vfs, total_vfs: config.sriov.totalVfs },
    virtio: config.virtio.map(({ offset, ...region }) => ({ ...region, offset: hex(offset) })),
    dma_bits: device.dmaBits ?? record?.dmaBits ?? null,
    bus_master: config.busMaster,
    nodes: device.nodes,
    open_by: processes,
    damage: config.damage,
    obstacles: obstaclesOf(host, device, all, uses, processes),
  };
}

function obstaclesOf(
  host: Host,
  device: PciDevice,
  all: readonly PciDevice[],
  uses: readonly string[],
  processes: readonly string[],
): Obstacle[] {
  const { address, config } = device;
  if (config.headerType !== 0 || device.class.startsWith('06')) {
    return [
      { problem: `a ${device.kind} is not handed out; the devices behind it are`, fix: null },
    ];
  }
  const found: Obstacle[] = [];
  if (config.absent) {
    found.push({
      problem: 'it does not answer: unplugged, or asleep',
      fix: `echo 1 | sudo tee /sys/bus/pci/devices/${address}/remove; echo 1 | sudo tee /sys/bus/pci/rescan`,
    });
  }
  const taken = isVfio(device.driver);
  if (!hasIommu(host, device)) {
    const bindIt = `sudo vanity device bind --unsafe-noiommu ${address}`;
    const allowed = host.read(NOIOMMU_SWITCH) === 'Y';
    found.push({
      problem: `no IOMMU confines it: ${noIommuProblem(host)}`,
      fix: taken ? 'unsafe_noiommu = true in its section' : allowed ? bindIt : noIommuHint(host),
    });
  }
  const blocking = blockers(device, all);
  if (blocking.length > 0) {
    const others = blocking.map(describe).join(', ');
    found.push({
      problem: `its IOMMU group has other owners: ${others}`,
      fix: groupHint(device, blocking),
    });
  }
  if (uses.length > 0) found.push({ problem: `it is in use: ${uses.join('; ')}`, fix: null });
  if (!taken) {
    // What is above takes it from its driver as well.
    if (!hasIommu(host, device) || blocking.length > 0) return found;
    const problem = device.driver === null ? 'no driver has it' : `${device.driver} drives it`;
    found.push({ problem, fix: `sudo vanity device bind ${address}` });
  } else if (processes.length > 0) {
    found.push({ problem: `it is open in ${processes.join(', ')}`, fix: null });
  } else {
    const closed = device.nodes.filter((path) => !mayOpen(host, path));
    if (closed.length > 0) {
      found.push({
        problem: `this user may not open ${closed.join(', ')}`,
        fix: `sudo chown $(id -u) ${closed.join(' ')}`,
      });
    }
  }
  return found;
}
