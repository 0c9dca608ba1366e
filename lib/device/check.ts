// Holds the devices of a manifest against this host: what would fail at boot is found here, before a device is touched.
import { type ErrorCode, type Parameters, VanityError, type Warning, warn } from '../errors.js';
import { usableCpus } from '../host/cpus.js';
import type { Host } from '../host/host.js';
import { nicGrants, poolsOf } from '../manifest/grants.js';
import { Model } from '../manifest/model.js';
import type { ManifestSource, Path } from '../manifest/parse.js';
import {
  ManifestErrors,
  memoryOf,
  type Plan,
  type PortPlan,
  resolveCores,
} from '../manifest/plan.js';
import { deviceRules } from '../manifest/rules/devices.js';
import type { DeviceEntry } from '../manifest/schema.js';
import {
  describe,
  groupHint,
  NOIOMMU_SWITCH,
  noIommuHint,
  noIommuProblem,
  noiommuSwitchHint,
} from './bind.js';
import {
  blockers,
  companions,
  hasIommu,
  iommuBits,
  reservedOf,
  type Window,
  windowsOf,
} from './group.js';
import { unplaced } from './iova.js';
import { queuesWithInterrupts, unfit } from './nic.js';
import { reaches, waysTo } from './nodes.js';
import { type Bar, isVfio, type PciDevice, scan } from './pci.js';
import type { Records } from './record.js';
import { select } from './select.js';
import { bytesText, hex } from './units.js';
import { openNodes, usesOf } from './use.js';

const CAP_IPC_LOCK = 14;
const CAP_SYS_RAWIO = 17;
const MSIX_ENTRY_BYTES = 16;
const PAGE_BYTES = 4096;
const PAGES = { '2M': 2 ** 21, '1G': 2 ** 30 } as const;

// What devices reach is mapped in pieces of huge pages: the rings of a NIC, and each pool.
const PIECE = 2 ** 21;
const inPieces = (bytes: number) => Math.ceil(bytes / PIECE) * PIECE;

/** Memory that a device maps. */
interface Mapped {
  readonly what: string;
  readonly bytes: number;
  readonly bits: number;
  /** Where the manifest asks for it. */
  readonly at: Path;
  /** Part of an arena: there once, however many devices map it. */
  readonly pool?: string;
}

interface Chosen {
  readonly path: Path;
  readonly value: DeviceEntry;
  readonly device: PciDevice;
  /** The port of a NIC. */
  readonly port: PortPlan | undefined;
  readonly mapped: readonly Mapped[];
}

/** A device of the manifest as it is on this host. */
export interface FoundDevice {
  readonly name: string;
  readonly address: string;
  readonly kind: string;
  readonly driver: string | null;
  readonly iommu_group: number | null;
  /** I/O addresses that are free for DMA, both ends included: an estimate, for only VFIO knows. Empty without an IOMMU. */
  readonly estimated_windows: readonly { readonly first: string; readonly last: string }[];
}

export interface Findings {
  readonly errors: readonly VanityError[];
  readonly warnings: readonly Warning[];
  readonly devices: readonly FoundDevice[];
}

/** What a valid manifest asks of this host and does not get. */
export function checkHost(
  source: ManifestSource,
  plan: Plan,
  host: Host,
  records: Records,
): Findings {
  return new Check(source, plan, host, records, false).run();
}

/** The same for the devices alone, which must be ready to be opened now. */
export function checkDevices(
  source: ManifestSource,
  plan: Plan,
  host: Host,
  records: Records,
): Findings {
  return new Check(source, plan, host, records, true).run();
}

class Check {
  readonly #errors: VanityError[] = [];
  readonly #warnings: Warning[] = [];
  readonly #all: readonly PciDevice[];
  readonly #known: ReturnType<Records['all']>;

  constructor(
    readonly source: ManifestSource,
    readonly plan: Plan,
    readonly host: Host,
    records: Records,
    readonly now: boolean,
  ) {
    this.#all = scan(host);
    this.#known = records.all();
  }

  run(): Findings {
    const model = new Model(this.source);
    const chosen = [...model.devices.values()].flatMap(({ path, value }) => {
      const device = value && this.#find([...path, 'pci'], value.pci);
      return value && device ? [{ path, value, device, ...this.#use(path, value) }] : [];
    });
    if (!this.now) this.#cores();
    this.#handover(chosen);
    for (const one of chosen) {
      this.#backend(one);
      this.#nic(one);
      this.#mmio(one);
      this.#irqs(one);
      this.#dma(one);
    }
    this.#lockedMemory(chosen);
    this.#hugePages(chosen);
    // Two names of one device are known as such only now.
    for (const { value, device } of chosen) value.pci = device.address;
    deviceRules(model);
    return {
      errors: [...this.#errors, ...model.errors],
      warnings: this.#warnings,
      devices: chosen.map(({ path, device }) => ({
        name: String(path[1]),
        address: device.address,
        kind: device.kind,
        driver: device.driver,
        iommu_group: device.group,
        estimated_windows: this.#windows(device).map(({ first, last }) => ({
          first: hex(first),
          last: hex(last),
        })),
      })),
    };
  }

  /** The port that drives it, and all memory that it is to reach. */
  #use(path: Path, value: DeviceEntry): Pick<Chosen, 'port' | 'mapped'> {
    const index = this.plan.devices.findIndex(({ name }) => name === path[1]);
    const port = this.plan.ports.find(({ device }) => device === index);
    const grants = nicGrants(this.plan).get(index);
    const own = value.dma.map(({ name, bytes, bits }, i) => ({
      what: `region "${name}"`,
      bytes,
      bits,
      at: [...path, 'dma', i, 'bytes'],
    }));
    if (port === undefined || grants === undefined) return { port, mapped: own };
    const at = ['ports', port.name];
    const pools = grants.pools.map(({ name, bytes }) => ({
      what: `pool "${name}"`,
      bytes: inPieces(bytes),
      bits: 64,
      at: this.source.has([...at, 'buffers']) ? [...at, 'buffers'] : at,
      pool: name,
    }));
    return { port, mapped: [{ what: 'its rings', bytes: PIECE, bits: 64, at }, ...pools] };
  }

  /** Free I/O addresses as sysfs lets them be estimated; none without an IOMMU, where nobody knows them before. */
  #windows(device: PciDevice): Window[] {
    if (device.group === null || !hasIommu(this.host, device)) return [];
    return windowsOf(iommuBits(this.host, device), reservedOf(this.host, device.group));
  }

  #report(code: ErrorCode, parameters: Parameters, path: Path): void {
    this.#errors.push(new VanityError(code, parameters, { location: this.source.locate(path) }));
  }

  #warn(...[code, parameters, path]: [Warning['code'], Parameters, Path]): void {
    this.#warnings.push(warn(code, parameters, this.source.locate(path)));
  }

  #find(path: Path, selector: string): PciDevice | undefined {
    try {
      return select(selector, this.#all, this.#known, { location: this.source.locate(path) });
    } catch (error) {
      if (!(error instanceof VanityError)) throw error;
      this.#errors.push(error);
      return undefined;
    }
  }

  #cores(): void {
    try {
      this.#warnings.push(...resolveCores(this.plan, usableCpus(this.host.root)).warnings);
    } catch (error) {
      if (!(error instanceof ManifestErrors)) throw error;
      this.#errors.push(...error.errors);
    }
  }

  /** Whether each device is this system's to have. */
  #handover(chosen: readonly Chosen[]): void {
    const uses = usesOf(this.host, this.#all);
    const own = chosen.map(({ device }) => device);
    for (const { path, value, device } of chosen) {
      const at = [...path, 'pci'];
      const pci = device.address;
      if (device.config.headerType !== 0 || device.class.startsWith('06')) {
        this.#report('VANITY_E_DEVICE_KIND', { pci, kind: device.kind }, at);
        continue;
      }
      if (device.config.absent) {
        const hint = 'Look at the card and its power; then: echo 1 | sudo tee /sys/bus/pci/rescan';
        const problem = 'it does not answer: unplugged, or asleep';
        this.#report('VANITY_E_DEVICE_DRIVER', { pci, problem, hint }, at);
        continue;
      }
      this.#iommu(device, value.unsafe_noiommu, [...path, 'unsafe_noiommu'], at);
      const blocking = blockers(device, this.#all).filter((other) => !own.includes(other));
      if (blocking.length > 0) {
        this.#report(
          'VANITY_E_GROUP',
          {
            group: device.group ?? '',
            pci,
            others: blocking.map(describe).join(', '),
            hint: groupHint(device, blocking),
          },
          at,
        );
      }
      const group = [device, ...companions(device, this.#all)];
      const open = [...openNodes(this.host, group).values()].flat();
      const mine = `(${process.pid})`;
      const processes = [...new Set(open)].filter((name) => !name.endsWith(mine));
      if (processes.length > 0) {
        const pid = /\((\d+)\)$/.exec(processes[0] as string)?.[1] ?? '';
        this.#report('VANITY_E_DEVICE_BUSY', { pci, processes: processes.join(', '), pid }, at);
      }
      if (!isVfio(device.driver)) this.#bindable(device, uses.get(pci) ?? [], at);
    }
  }

  #iommu(device: PciDevice, unsafe: boolean, flag: Path, at: Path): void {
    if (hasIommu(this.host, device)) return;
    const pci = device.address;
    const allowed = this.host.read(NOIOMMU_SWITCH) === 'Y';
    if (!unsafe) {
      const hint = allowed
        ? 'Where the device may write to all memory, add to its section: unsafe_noiommu = true'
        : noIommuHint(this.host);
      this.#report('VANITY_E_IOMMU', { pci, problem: noIommuProblem(this.host), hint }, at);
    } else if (!allowed) {
      const problem = 'and the kernel does not let VFIO do without';
      this.#report('VANITY_E_IOMMU', { pci, problem, hint: noiommuSwitchHint(this.host) }, flag);
    } else if (!this.host.may(CAP_SYS_RAWIO)) {
      const problem = 'and VFIO lets only root do without';
      const hint = `Type: sudo vanity run ${this.source.file}`;
      this.#report('VANITY_E_IOMMU', { pci, problem, hint }, flag);
    }
  }

  #bindable(device: PciDevice, uses: readonly string[], at: Path): void {
    const pci = device.address;
    if (uses.length > 0) {
      this.#report('VANITY_E_DEVICE_IN_USE', { pci, uses: uses.join('; ') }, at);
    } else if (!this.#hasVfio()) {
      this.#report(
        'VANITY_E_VFIO',
        {
          reason: 'it is neither loaded nor among the modules of this kernel',
          hint: 'Use a kernel with CONFIG_VFIO_PCI, then: sudo modprobe vfio-pci',
        },
        at,
      );
    } else {
      const driver = device.driver ?? 'nobody';
      if (this.now) this.#report('VANITY_E_VFIO_DRIVER', { address: pci, driver }, at);
      else this.#warn('VANITY_W_DEVICE_DRIVER', { pci, driver }, at);
    }
  }

  /** Whether VFIO's interface that was asked for is there, and open to this user; known once vfio-pci has the device. */
  #backend({ path, value, device }: Chosen): void {
    const pci = device.address;
    const { backend } = value;
    if (!isVfio(device.driver)) return;
    const ways = waysTo(device).filter((way) => backend === 'auto' || way.backend === backend);
    const there = ways.filter(({ node, entry }) => node !== undefined && this.host.exists(entry));
    const [way] = ways;
    if (there.length === 0 && backend !== 'auto' && way !== undefined) {
      const { node, entry, option } = way;
      const absent = node === undefined ? 'node of it below /dev/vfio' : entry;
      this.#report('VANITY_E_DEVICE_BACKEND', { pci, backend, absent, option }, [
        ...path,
        'backend',
      ]);
    }
    const closed = there.map(({ node, entry }) =>
      [node, entry].filter((name) => name !== undefined && !reaches(this.host, name)),
    );
    if (closed.length === 0 || closed.some((nodes) => nodes.length === 0)) return;
    this.#report('VANITY_E_VFIO_PERMISSION', { node: closed.at(-1)?.join(' ') ?? '' }, [
      ...path,
      'pci',
    ]);
  }

  #nic({ path, value, device, port }: Chosen): void {
    if (value.driver === 'vfio' || port === undefined) return;
    const pci = device.address;
    const wrong = unfit(value.driver, device);
    if (wrong !== undefined) {
      const { driver } = value;
      this.#report('VANITY_E_DEVICE_NIC', { pci, driver, ...wrong }, [...path, 'driver']);
      return;
    }
    if (!device.config.complete) {
      this.#warn('VANITY_W_DEVICE_HIDDEN', { pci, file: this.source.file }, path);
      return;
    }
    if (!port.interrupts) return;
    const queues = port.rx.length;
    const most = queuesWithInterrupts(value.driver, device, queues);
    if (most === queues) return;
    const count = device.config.msix?.vectors ?? 0;
    const vectors =
      count > 0
        ? `${count} interrupt vectors`
        : device.config.interruptPin > 0
          ? 'one interrupt pin'
          : 'no interrupts';
    const polled = queues - most;
    this.#warn('VANITY_W_NIC_VECTORS', { port: port.name, pci, vectors, queues, polled, most }, [
      'ports',
      port.name,
      'rx',
    ]);
  }

  #hasVfio(): boolean {
    if (this.host.exists('sys/bus/pci/drivers/vfio-pci')) return true;
    const release = this.host.read('proc/sys/kernel/osrelease');
    return ['modules.dep', 'modules.builtin'].some((list) =>
      /\/vfio-pci\.ko/.test(this.host.read(`lib/modules/${release}/${list}`) ?? ''),
    );
  }

  #mmio({ path, value, device }: Chosen): void {
    for (const [index, { bar: number, offset, bytes }] of value.mmio.entries()) {
      const at = [...path, 'mmio', index];
      const where = `[devices.${path[1]}] mmio[${index}]`;
      const bar = device.bars.find((one) => one.index === number);
      const below = device.bars.find((one) => one.index === number - 1 && one.address64);
      if (bar?.kind !== 'memory') {
        const what =
          bar !== undefined
            ? `BAR ${number} of ${device.address} is a range of ports, not of memory`
            : below !== undefined
              ? `BAR ${number} of ${device.address} is the upper half of BAR ${number - 1}`
              : `${device.address} has no BAR ${number}`;
        this.#report('VANITY_E_BAR', { where, problem: what, hint: barHint(device.bars) }, [
          ...at,
          'bar',
        ]);
      } else if (offset + bytes > bar.bytes) {
        const room = bar.bytes - offset;
        this.#report(
          'VANITY_E_BAR',
          {
            where,
            problem: `${hex(offset)}..${hex(offset + bytes)} goes beyond BAR ${number} of ${device.address}, which has ${bytesText(bar.bytes)}`,
            hint:
              room > 0 ? `Type: bytes = ${room} or less` : `Type an offset below ${hex(bar.bytes)}`,
          },
          [...at, room > 0 ? 'bytes' : 'offset'],
        );
      }
      const { msix } = device.config;
      if (msix === null || msix.tableBar !== number) continue;
      const end = msix.tableOffset + msix.vectors * MSIX_ENTRY_BYTES;
      if (offset >= end || msix.tableOffset >= offset + bytes) continue;
      const room = msix.tableOffset - offset;
      this.#report(
        'VANITY_E_BAR',
        {
          where,
          problem: `the MSI-X table of ${device.address} lies there (${hex(msix.tableOffset)}..${hex(end)}), which Linux alone writes`,
          hint:
            room > 0
              ? `Type: bytes = ${room} or less`
              : `Type: offset = ${Math.ceil(end / PAGE_BYTES) * PAGE_BYTES} or more, if there is anything`,
        },
        [...at, room > 0 ? 'bytes' : 'offset'],
      );
    }
  }

  #irqs({ path, value, device }: Chosen): void {
    const { config, address } = device;
    const hidden = value.irqs.find(({ trigger }) => trigger.startsWith('msi'));
    if (!config.complete && hidden !== undefined) {
      const file = this.source.file;
      this.#warn('VANITY_W_DEVICE_HIDDEN', { pci: address, file }, [...path, 'irqs']);
    }
    const offers = {
      msix: config.msix?.vectors ?? 0,
      msi: config.msi?.vectors ?? 0,
      level: config.interruptPin === 0 ? 0 : 1,
      edge: 0,
    };
    const words = { msix: 'MSI-X', msi: 'MSI', level: 'a pin', edge: 'edge-triggered lines' };
    for (const [index, { vector, trigger }] of value.irqs.entries()) {
      if (!config.complete && trigger.startsWith('msi')) continue;
      const count = offers[trigger];
      if (vector < count) continue;
      const others = (['msix', 'msi', 'level'] as const).filter((kind) => offers[kind] > 0);
      const hint =
        count > 0
          ? `Type: vector = ${count - 1} or less`
          : others.length > 0
            ? `Type: trigger = "${others[0]}"`
            : 'It has none: remove irqs, and poll the device.';
      const problem =
        count > 0
          ? `vector ${vector}; ${address} has ${count} of ${words[trigger]}, from 0`
          : `trigger = "${trigger}", and ${address} has no ${words[trigger].replace('a pin', 'interrupt pin')}`;
      this.#report(
        'VANITY_E_VECTOR',
        { where: `[devices.${path[1]}] irqs[${index}]`, problem, hint },
        [...path, 'irqs', index, count > 0 ? 'vector' : 'trigger'],
      );
    }
  }

  #dma({ path, value, device, mapped }: Chosen): void {
    const width = device.dmaBits ?? this.#known.get(device.address)?.dmaBits ?? 64;
    for (const [index, { bits }] of value.dma.entries()) {
      const at = [...path, 'dma', index, 'bits'];
      if (bits > width && this.source.has(at)) {
        this.#report(
          'VANITY_E_DMA',
          {
            where: `[devices.${path[1]}] dma[${index}]`,
            problem: `bits = ${bits}, and ${device.address} drives ${width} address bits, as its driver set it`,
            hint: `Type: bits = ${width}`,
          },
          at,
        );
      }
    }
    const windows = this.#windows(device);
    if (device.group === null || windows.length === 0) return;
    const reserved = reservedOf(this.host, device.group);
    const bits = iommuBits(this.host, device);
    const requests = mapped.map((one) => ({ ...one, bits: Math.min(one.bits, width) }));
    for (const { what, bytes, largest, below, at } of unplaced(requests, windows)) {
      const taken = reserved.map(({ first, last, kind }) => `${hex(first)}..${hex(last)} ${kind}`);
      this.#report(
        'VANITY_E_DMA',
        {
          where: `[devices.${path[1]}] ${what}`,
          problem: `${bytesText(bytes)} find no room below 2^${Math.min(below, bits)}; the largest gap left has ${bytesText(largest)} (estimated from sysfs; reserved: ${taken.join(', ') || 'nothing'})`,
          hint: 'Type a smaller size, or more bits if the device and the IOMMU have them.',
        },
        at,
      );
    }
  }

  // The largest part stands for all: it is the one to make smaller.
  #lockedMemory(chosen: readonly Chosen[]): void {
    const limit = this.host.limit('Max locked memory');
    const parts = chosen.flatMap(({ mapped }) => mapped);
    const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    if (limit === undefined || total <= limit || this.host.may(CAP_IPC_LOCK)) return;
    // Arenas are locked as well, where the limit allows.
    const needed = total + memoryOf(this.plan).total;
    this.#report(
      'VANITY_E_MEMLOCK',
      { bytes: bytesText(total), limit: bytesText(limit), needed },
      largestOf(parts),
    );
  }

  #hugePages(chosen: readonly Chosen[]): void {
    // Without an IOMMU memory must stay where it is, in pieces as large as can be.
    const bare = chosen.filter(
      ({ value, device }) => value.unsafe_noiommu && !hasIommu(this.host, device),
    );
    const { pages } = this.plan;
    const forced = pages === '2M' || pages === '1G';
    const parts = (forced ? chosen : bare).flatMap(({ mapped }) => mapped);
    if (parts.length === 0) return;
    const size = pages === '1G' ? '1G' : '2M';
    const bytes = PAGES[size];
    const inPages = (sizes: readonly number[]) =>
      sizes.reduce((sum, one) => sum + Math.ceil(one / bytes), 0);
    const pools = new Set(parts.flatMap(({ pool }) => pool ?? []));
    // Pools lie in arenas, which are all of huge pages when any must be.
    const needed =
      inPages(parts.filter(({ pool }) => pool === undefined).map((part) => part.bytes)) +
      (forced || pools.size > 0 ? inPages(arenasOf(this.plan, pools)) : 0);
    const folder = `sys/kernel/mm/hugepages/hugepages-${bytes / 1024}kB`;
    const free = Number(this.host.read(`${folder}/free_hugepages`) ?? 0);
    if (free >= needed) return;
    const total = Number(this.host.read(`${folder}/nr_hugepages`) ?? 0);
    this.#report(
      'VANITY_E_PAGES',
      {
        needed,
        size,
        free,
        line: `echo ${total + needed - free} | sudo tee /${folder}/nr_hugepages`,
      },
      largestOf(parts),
    );
  }
}

/** Bytes of each shard's arena; the pools that devices reach lie on pages of their own. */
function arenasOf(plan: Plan, reached: ReadonlySet<string>): number[] {
  const pools = poolsOf(plan);
  return plan.shards.map(({ arenaBytes }, shard) => {
    const channels = plan.channels.filter(({ to }) => to === shard);
    const own = pools.filter(({ owner }) => owner === shard);
    return (
      PAGE_BYTES +
      arenaBytes +
      channels.reduce((sum, { capacity, elementBytes }) => sum + capacity * elementBytes, 0) +
      own.reduce(
        (sum, { name, bytes }) => sum + (reached.has(name) ? inPieces(bytes) + PIECE : bytes),
        0,
      )
    );
  });
}

const largestOf = (parts: readonly Mapped[]): Path =>
  parts.toSorted((a, b) => b.bytes - a.bytes)[0]?.at ?? [];

function barHint(bars: readonly Bar[]): string {
  const memory = bars.filter(({ kind }) => kind === 'memory');
  if (memory.length === 0) return 'It has no memory BAR: remove mmio.';
  const words = memory.map(({ index, bytes }) => `${index} (${bytesText(bytes)})`);
  return `Type bar = ${words.join(', or bar = ')}`;
}
