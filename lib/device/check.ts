// Holds the devices of a manifest against this host: what would fail at boot is found here, before a device is touched.
import { type ErrorCode, type Parameters, VanityError, type Warning, warn } from '../errors.js';
import { usableCpus } from '../host/cpus.js';
import type { Host } from '../host/host.js';
import { Model } from '../manifest/model.js';
import type { ManifestSource, Path } from '../manifest/parse.js';
import { ManifestErrors, memoryOf, type Plan, resolveCores } from '../manifest/plan.js';
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
import { blockers, companions, hasIommu, iommuBits, reservedOf, windowsOf } from './group.js';
import { type Request, unplaced } from './iova.js';
import { type Bar, isVfio, type PciDevice, scan } from './pci.js';
import type { Records } from './record.js';
import { select } from './select.js';
import { bytesText, hex } from './units.js';
import { openNodes, usesOf } from './use.js';

const CAP_IPC_LOCK = 14;
const MSIX_ENTRY_BYTES = 16;
const PAGE_BYTES = 4096;
const PAGES = { '2M': 2 ** 21, '1G': 2 ** 30 } as const;

interface Chosen {
  readonly path: Path;
  readonly value: DeviceEntry;
  readonly device: PciDevice;
}

export interface Findings {
  readonly errors: readonly VanityError[];
  readonly warnings: readonly Warning[];
}

/** What a valid manifest asks of this host and does not get. */
export function checkHost(
  source: ManifestSource,
  plan: Plan,
  host: Host,
  records: Records,
): Findings {
  return new Check(source, plan, host, records).run();
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
  ) {
    this.#all = scan(host);
    this.#known = records.all();
  }

  run(): Findings {
    const model = new Model(this.source);
    const chosen = [...model.devices.values()].flatMap(({ path, value }) => {
      const device = value && this.#find([...path, 'pci'], value.pci);
      return value && device ? [{ path, value, device }] : [];
    });
    this.#cores();
    this.#handover(chosen);
    for (const one of chosen) {
      this.#mmio(one);
      this.#irqs(one);
      this.#dma(one);
    }
    this.#lockedMemory(chosen);
    this.#hugePages(chosen);
    // Two names of one device are known as such only now.
    for (const { value, device } of chosen) value.pci = device.address;
    deviceRules(model);
    return { errors: [...this.#errors, ...model.errors], warnings: this.#warnings };
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
      const others = blockers(device, this.#all).filter((other) => !own.includes(other));
      if (others.length > 0) {
        this.#report(
          'VANITY_E_GROUP',
          {
            group: device.group ?? '',
            pci,
            others: others.map(describe).join(', '),
            hint: groupHint(device, others),
          },
          at,
        );
      }
      const group = [device, ...companions(device, this.#all)];
      const processes = [...new Set([...openNodes(this.host, group).values()].flat())];
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
      this.#warn('VANITY_W_DEVICE_DRIVER', { pci, driver }, at);
    }
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

  #dma({ path, value, device }: Chosen): void {
    const width = device.dmaBits ?? this.#known.get(device.address)?.dmaBits ?? 64;
    const requests: (Request & { index: number })[] = [];
    for (const [index, { bytes, bits }] of value.dma.entries()) {
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
      requests.push({ index, bytes, bits: Math.min(bits, width) });
    }
    // Without an IOMMU addresses are those of memory itself, and nobody knows them before.
    if (device.group === null || !hasIommu(this.host, device)) return;
    const reserved = reservedOf(this.host, device.group);
    const bits = iommuBits(this.host, device);
    for (const { index, bytes, largest, below } of unplaced(requests, windowsOf(bits, reserved))) {
      const taken = reserved.map(({ first, last, kind }) => `${hex(first)}..${hex(last)} ${kind}`);
      this.#report(
        'VANITY_E_DMA',
        {
          where: `[devices.${path[1]}] dma[${index}]`,
          problem: `${bytesText(bytes)} find no room below 2^${Math.min(below, bits)}; the largest gap left has ${bytesText(largest)} (reserved: ${taken.join(', ') || 'nothing'})`,
          hint: 'Type a smaller size, or more bits if the device and the IOMMU have them.',
        },
        [...path, 'dma', index, 'bytes'],
      );
    }
  }

  // The largest region stands for all: it is the one to make smaller.
  #lockedMemory(chosen: readonly Chosen[]): void {
    const limit = this.host.limit('Max locked memory');
    const total = totalOf(chosen);
    if (limit === undefined || total <= limit || this.host.may(CAP_IPC_LOCK)) return;
    const needed = total + memoryOf(this.plan).total;
    this.#report(
      'VANITY_E_MEMLOCK',
      { bytes: bytesText(total), limit: bytesText(limit), needed },
      largestOf(chosen),
    );
  }

  #hugePages(chosen: readonly Chosen[]): void {
    const unsafe = chosen.filter(({ value }) => value.unsafe_noiommu && value.dma.length > 0);
    const { pages } = this.plan;
    // Without an IOMMU a region must be one piece of memory that never moves.
    const size = pages === '1G' ? '1G' : pages === '2M' || unsafe.length > 0 ? '2M' : undefined;
    if (size === undefined) return;
    const forced = pages === size;
    const bytes = PAGES[size];
    const regions = (forced ? chosen : unsafe).flatMap(({ value }) => value.dma);
    if (regions.length === 0) return;
    const needed =
      regions.reduce((sum, region) => sum + Math.ceil(region.bytes / bytes), 0) +
      (forced ? Math.ceil(memoryOf(this.plan).total / bytes) : 0);
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
      largestOf(forced ? chosen : unsafe),
    );
  }
}

const totalOf = (chosen: readonly Chosen[]) =>
  chosen.reduce((sum, { value }) => value.dma.reduce((all, { bytes }) => all + bytes, sum), 0);

function largestOf(chosen: readonly Chosen[]): Path {
  const regions = chosen.flatMap(({ path, value }) =>
    value.dma.map(({ bytes }, index) => ({ bytes, path: [...path, 'dma', index, 'bytes'] })),
  );
  return regions.sort((a, b) => b.bytes - a.bytes)[0]?.path ?? [];
}

function barHint(bars: readonly Bar[]): string {
  const memory = bars.filter(({ kind }) => kind === 'memory');
  if (memory.length === 0) return 'It has no memory BAR: remove mmio.';
  const words = memory.map(({ index, bytes }) => `${index} (${bytesText(bytes)})`);
  return `Type bar = ${words.join(', or bar = ')}`;
}
