// Hands devices to vfio-pci and back. The way there is: record, driver_override, unbind, bind. Wherever it is cut off,
// the record and sysfs together say how to go on, or back; both ways may be walked again from any place.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { VanityError } from '../errors.js';
import type { Host } from '../host/host.js';
import { blockers, hasIommu } from './group.js';
import { DEVICES, isVfio, type PciDevice, scan } from './pci.js';
import type { DriverRecord, Records } from './record.js';
import { select } from './select.js';
import { claimsOf, openBy, usesOf } from './use.js';

export interface BindOptions {
  /** Take devices that are in use. */
  readonly force?: boolean;
  /** Take devices that no IOMMU confines. */
  readonly unsafeNoiommu?: boolean;
}

export interface Bound {
  readonly address: string;
  /** The driver now; null for none. */
  readonly driver: string | null;
  readonly before: string | null;
  readonly changed: boolean;
}

const VFIO = 'vfio-pci';
const DRIVERS = 'sys/bus/pci/drivers';
const PROBE = 'sys/bus/pci/drivers_probe';
// Longer than modprobe may take.
const LOCK_MS = 90_000;
export const NOIOMMU_SWITCH = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode';

/** Hands devices to vfio-pci, all or none of them; those of one IOMMU group are named together. */
export function bind(
  host: Host,
  records: Records,
  selectors: readonly string[],
  options: BindOptions = {},
): Bound[] {
  return alone(host, () => bindAlone(host, records, selectors, options));
}

/** Gives devices back to the driver they had; without a record, to the one that the kernel chooses. */
export function unbind(
  host: Host,
  records: Records,
  selectors: readonly string[],
  options: BindOptions = {},
): Bound[] {
  return alone(host, () => unbindAlone(host, records, selectors, options));
}

// One process at a time changes drivers: what it has seen must hold while it writes. The lock is on a file that only
// root may open, and ends with the process.
function alone<T>(host: Host, work: () => T): T {
  if (!mayWrite(host, PROBE)) return work();
  const done = host.locked(PROBE, LOCK_MS, work);
  if (done === undefined) throw new VanityError('VANITY_E_DEVICE_LOCKED');
  return done.result;
}

function bindAlone(
  host: Host,
  records: Records,
  selectors: readonly string[],
  options: BindOptions,
): Bound[] {
  const all = scan(host);
  const known = records.all();
  const chosen = [...new Set(selectors.map((text) => select(text, all, known)))];
  const wanted = chosen.filter(({ driver }) => !isVfio(driver));
  const uses = usesOf(host, all);
  for (const device of wanted) {
    refuseKind(device);
    refuseNoiommu(host, device, options.unsafeNoiommu ?? false);
    refuseGroup(device, all, chosen);
    if (!options.force) refuseUse(host, device, uses.get(device.address) ?? []);
    refuseRights(host, device.address, 'bind');
  }
  if (wanted.length > 0) loadVfio(host);
  for (const device of wanted) refuseSwitch(host, device);
  const done: PciDevice[] = [];
  try {
    for (const device of wanted) {
      done.push(device);
      take(host, records, device);
    }
  } catch (error) {
    for (const device of done.reverse()) giveBackQuietly(host, records, device.address);
    throw error;
  }
  return chosen.map((device) => ({
    address: device.address,
    driver: host.link(driverOf(device.address)) ?? null,
    before: records.read(device.address)?.driver ?? device.driver,
    changed: wanted.includes(device),
  }));
}

function unbindAlone(
  host: Host,
  records: Records,
  selectors: readonly string[],
  options: BindOptions,
): Bound[] {
  const known = records.all();
  const all = scan(host);
  return selectors.map((text) => {
    const address = text.toLowerCase();
    if (known.has(address) && !all.some((device) => device.address === address)) {
      // It was unplugged: nothing is left to give back.
      records.remove(address);
      return { address, driver: null, before: null, changed: false };
    }
    const device = select(text, all, known);
    if (isVfio(device.driver) && !options.force) {
      const [first, ...others] = openBy(host, device);
      if (first !== undefined) {
        throw new VanityError('VANITY_E_DEVICE_BUSY', {
          pci: device.address,
          processes: [first, ...others].join(', '),
          pid: /\d+/.exec(first.slice(first.lastIndexOf('(')))?.[0] ?? '',
        });
      }
    }
    refuseRights(host, device.address, 'unbind');
    const driver = giveBack(host, records, device.address);
    const changed = driver !== device.driver;
    return { address: device.address, driver, before: device.driver, changed };
  });
}

const driverOf = (address: string) => join(DEVICES, address, 'driver');

function take(host: Host, records: Records, device: PciDevice): void {
  const { address, driver, override } = device;
  const known = records.read(address);
  // Cut off before: what is there now is already half ours, so the record has the older and better word.
  const halfway = known !== undefined && (override === VFIO || driver === null);
  if (!halfway) {
    records.write({
      address,
      driver,
      override: override === VFIO ? null : override,
      macs: device.interfaces.flatMap(({ mac }) => mac ?? []),
      serials: [...device.serials],
      dmaBits: device.dmaBits,
    });
  }
  change(host, address, join(DEVICES, address, 'driver_override'), VFIO);
  if (driver !== null) change(host, address, join(driverOf(address), 'unbind'), address);
  change(host, address, join(DRIVERS, VFIO, 'bind'), address);
  const now = host.link(driverOf(address));
  if (now !== VFIO) {
    throw new VanityError('VANITY_E_DEVICE_DRIVER', {
      pci: address,
      problem: `the kernel left it with ${now ?? 'no driver'} instead of vfio-pci`,
      hint: 'See what it says: sudo dmesg | grep -i vfio | tail',
    });
  }
}

function giveBack(host: Host, records: Records, address: string): string | null {
  const record: DriverRecord | undefined = records.read(address);
  const driver = host.link(driverOf(address)) ?? null;
  const override = host.read(join(DEVICES, address, 'driver_override'));
  const ours = isVfio(driver) || (driver === null && (record !== undefined || override === VFIO));
  // Somebody has given it another driver since: that stays.
  if (!ours && override !== VFIO) {
    records.remove(address);
    return driver;
  }
  change(host, address, join(DEVICES, address, 'driver_override'), `${record?.override ?? ''}\n`);
  if (isVfio(driver)) change(host, address, join(driverOf(address), 'unbind'), address);
  if (ours && record === undefined) {
    change(host, address, PROBE, address);
  } else if (ours && record !== undefined && record.driver !== null) {
    const before = join(DRIVERS, record.driver);
    if (!host.exists(before)) modprobe(host, record.driver);
    if (!host.exists(before)) {
      throw new VanityError('VANITY_E_DEVICE_DRIVER', {
        pci: address,
        problem: `its driver before, ${record.driver}, is not loaded`,
        hint: `Load it and repeat: sudo modprobe ${record.driver} && sudo vanity device unbind ${address}`,
      });
    }
    // It may have come back by itself as its module was loaded.
    if (host.link(driverOf(address)) === undefined) {
      change(host, address, join(before, 'bind'), address);
    }
  }
  records.remove(address);
  return host.link(driverOf(address)) ?? null;
}

// The first error is the one to tell; the record stays, and `unbind` tries again.
function giveBackQuietly(host: Host, records: Records, address: string): void {
  try {
    giveBack(host, records, address);
  } catch {}
}

function change(host: Host, address: string, path: string, text: string): void {
  try {
    host.write(path, text);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new VanityError(
      'VANITY_E_DEVICE_DRIVER',
      {
        pci: address,
        problem: `the kernel refused to write ${JSON.stringify(text.trim())} to /${path}: ${code}`,
        hint: 'See what it says: sudo dmesg | tail',
      },
      { cause: error },
    );
  }
}

function refuseKind({ address, config, kind, class: code }: PciDevice): void {
  if (config.headerType === 0 && !code.startsWith('06')) return;
  throw new VanityError('VANITY_E_DEVICE_KIND', { pci: address, kind });
}

function refuseNoiommu(host: Host, device: PciDevice, unsafe: boolean): void {
  if (unsafe || hasIommu(host, device)) return;
  throw new VanityError('VANITY_E_IOMMU', {
    pci: device.address,
    problem: noIommuProblem(host),
    hint: noIommuHint(host),
  });
}

function refuseSwitch(host: Host, device: PciDevice): void {
  if (hasIommu(host, device) || host.read(NOIOMMU_SWITCH) === 'Y') return;
  throw new VanityError('VANITY_E_IOMMU', {
    pci: device.address,
    problem: 'and the kernel does not let VFIO do without',
    hint: noiommuSwitchHint(host),
  });
}

export function noIommuProblem(host: Host): string {
  return host.list('sys/class/iommu').length > 0
    ? 'this host has one, but not for this device'
    : 'this host shows none';
}

export function noIommuHint(host: Host): string {
  if (host.list('sys/class/iommu').length > 0) {
    return 'Move the card to another slot, or see why the IOMMU leaves it out: sudo dmesg | grep -iE "DMAR|AMD-Vi|smmu"';
  }
  if (host.exists('proc/device-tree') || host.exists('sys/firmware/acpi/tables/IORT')) {
    return 'The firmware must describe an SMMU, and the kernel have CONFIG_ARM_SMMU_V3: sudo dmesg | grep -i smmu';
  }
  return `Enable VT-d or AMD-Vi in the firmware, then: ${host.bootWith(host.iommuParameters)}`;
}

export function noiommuSwitchHint(host: Host): string {
  return host.exists(NOIOMMU_SWITCH)
    ? `Type: echo Y | sudo tee /${NOIOMMU_SWITCH}`
    : 'Type: sudo modprobe vfio enable_unsafe_noiommu_mode=1 (the kernel needs CONFIG_VFIO_NOIOMMU)';
}

function refuseGroup(
  device: PciDevice,
  all: readonly PciDevice[],
  chosen: readonly PciDevice[],
): void {
  const others = blockers(device, all).filter((other) => !chosen.includes(other));
  if (others.length === 0 || device.group === null) return;
  throw new VanityError('VANITY_E_GROUP', {
    group: device.group,
    pci: device.address,
    others: others.map(describe).join(', '),
    hint: groupHint(device, others, chosen),
  });
}

export const describe = ({ address, kind, driver }: PciDevice) => `${address} (${kind}, ${driver})`;

export function groupHint(
  device: PciDevice,
  others: readonly PciDevice[],
  chosen: readonly PciDevice[] = [device],
): string {
  if (others.some(({ class: code }) => code.startsWith('06'))) {
    return 'A bridge shares the group: move the card to a slot with ACS, or unbind what drives the bridge.';
  }
  const together = [...new Set([...chosen, ...others].map(({ address }) => address))];
  return `Take them together: sudo vanity device bind ${together.join(' ')}`;
}

function refuseUse(host: Host, device: PciDevice, known: readonly string[]): void {
  const uses = known.length > 0 ? known : claimsOf(host, device);
  if (uses.length === 0) return;
  throw new VanityError('VANITY_E_DEVICE_IN_USE', {
    pci: device.address,
    uses: uses.join('; '),
  });
}

function mayWrite(host: Host, path: string): boolean {
  try {
    accessSync(join(host.root, path), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function refuseRights(host: Host, address: string, command: string): void {
  const path = join(DEVICES, address, 'driver_override');
  try {
    accessSync(join(host.root, path), constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'EROFS' ? 'sysfs is read-only here' : 'permission denied';
    throw new VanityError('VANITY_E_DEVICE_RIGHTS', {
      path: `/${path}`,
      reason,
      command,
      pci: address,
    });
  }
}

/** Loads vfio-pci unless it is there. */
function loadVfio(host: Host): void {
  const there = join(DRIVERS, VFIO);
  if (host.exists(there)) return;
  const reason = modprobe(host, VFIO);
  if (host.exists(there)) return;
  const release = host.read('proc/sys/kernel/osrelease') ?? '$(uname -r)';
  throw new VanityError('VANITY_E_VFIO', {
    reason: reason || 'modprobe vfio-pci changed nothing',
    hint: `Type: sudo modprobe vfio-pci. The kernel needs CONFIG_VFIO_PCI: grep VFIO_PCI /boot/config-${release}`,
  });
}

// Returns what went wrong; a module that is built in or loaded is nothing wrong.
function modprobe(host: Host, module: string): string {
  const root = host.root === '/' ? [] : ['-d', host.root];
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
  const { status, stderr, error } = spawnSync('modprobe', [...root, '--', module], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { ...process.env, PATH: path },
  });
  if (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? 'there is no modprobe here' : error.message;
  }
  return status === 0 ? '' : stderr.trim().split('\n').at(-1) || `modprobe ended with ${status}`;
}
