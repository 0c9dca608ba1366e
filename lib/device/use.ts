// What would break if a device changed hands: file systems, swap, what is built on its disks, the way to the
// network, virtual functions, and processes that have it open.
import { closeSync, constants, openSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from '../host/host.js';
import { isIdle, ownerOf, type PciDevice, scan } from './pci.js';
import { shown } from './units.js';

/** Uses of each device by address, in words; devices without any are absent. */
export function usesOf(
  host: Host,
  devices: readonly PciDevice[] = scan(host),
): Map<string, string[]> {
  const uses = new Map<string, string[]>();
  const note = (address: string | undefined, words: string) => {
    if (address === undefined) return;
    const what = shown(words);
    const known = uses.get(address) ?? [];
    if (!known.includes(what)) uses.set(address, [...known, what]);
  };
  diskUses(host, note);
  networkUses(host, devices, note);
  virtioUses(host, devices, note);
  for (const { address, vfs } of devices) {
    if (vfs > 0) note(address, `${vfs} virtual functions of it are enabled`);
  }
  return uses;
}

/**
 * Disks of a device that somebody has claimed, in words. What shows in no list (ZFS, bcache, another mount namespace)
 * is found by being their only user for a moment, which only who is about to take the device has a reason to.
 */
export function claimsOf(host: Host, device: PciDevice): string[] {
  return host
    .list('sys/class/block')
    .filter((block) => ownersOf(host, block).includes(device.address))
    .filter((block) => isClaimed(host, block))
    .map((block) => `${block} is claimed by a file system or volume`);
}

type Note = (address: string | undefined, what: string) => void;

interface Mount {
  readonly device: string;
  readonly at: string;
  readonly type: string;
  readonly source: string;
}

// proc(5): id, parent, major:minor, root, mount point, options, optional fields, -, type, source.
function mounts(host: Host): Mount[] {
  const text = ['proc/self/mountinfo', 'proc/1/mountinfo'].map((path) => host.read(path) ?? '');
  return text
    .join('\n')
    .split('\n')
    .flatMap((line) => {
      const [before, after] = line.split(' - ');
      const [, , device, , at] = before?.split(' ') ?? [];
      const [type, source] = after?.split(' ') ?? [];
      if (!device || !at || !type || source === undefined) return [];
      return [{ device, at: unquote(at), type, source: unquote(source) }];
    });
}

const unquote = (text: string) =>
  text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));

function diskUses(host: Host, note: Note): void {
  const mounted = mounts(host);
  const swaps = (host.read('proc/swaps') ?? '')
    .split('\n')
    .flatMap((line) => /^\/dev\/(\S+)/.exec(line)?.[1] ?? []);
  // Volumes are mounted and swapped on under names of their own.
  const names = (block: string) => {
    const volume = host.read(`sys/class/block/${block}/dm/name`);
    return volume ? [block, `mapper/${volume}`] : [block];
  };
  const direct = (block: string): string[] => {
    const number = host.read(`sys/class/block/${block}/dev`);
    const known = names(block);
    return [
      ...mounted
        .filter(
          ({ device, source }) =>
            device === number || known.some((name) => source === `/dev/${name}`),
        )
        .map(({ at }) => `${block} is mounted at ${at}`),
      ...known.filter((name) => swaps.includes(name)).map(() => `${block} is swap space`),
    ];
  };
  const all = (block: string, seen: Set<string>): string[] => {
    if (seen.has(block)) return [];
    seen.add(block);
    const own = direct(block);
    const holders = host.list(`sys/class/block/${block}/holders`);
    const above = holders.flatMap((holder) => {
      const name = names(holder).at(-1) as string;
      return [`${block} is part of ${name.replace('mapper/', '')}`, ...all(holder, seen)];
    });
    return [...own, ...above];
  };
  for (const block of host.list('sys/class/block')) {
    for (const address of ownersOf(host, block)) {
      for (const what of all(block, new Set())) note(address, what);
    }
  }
}

// With NVMe multipath a disk belongs to a subsystem, which links to the controllers that lead to it.
function ownersOf(host: Host, block: string): string[] {
  const path = host.real(`sys/class/block/${block}`) ?? '';
  const direct = ownerOf(path);
  if (direct !== undefined) return [direct];
  const subsystem = /^.*\/nvme-subsystem\/[^/]+/.exec(path)?.[0];
  if (subsystem === undefined) return [];
  return host
    .list(subsystem)
    .filter((name) => /^nvme\d+$/.test(name))
    .flatMap((name) => ownerOf(host.real(`${subsystem}/${name}`) ?? '') ?? []);
}

function isClaimed(host: Host, block: string): boolean {
  try {
    const flags = constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK;
    closeSync(openSync(join(host.root, 'dev', block), flags));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EBUSY';
  }
}

function networkUses(host: Host, devices: readonly PciDevice[], note: Note): void {
  const routes = routesOf(host);
  const reaches = new Map(
    devices.flatMap((d) => d.interfaces.map(({ name }) => [name, d.address])),
  );
  // An interface may be below a bond, a bridge or a VLAN that has the address.
  const above = (name: string, seen = new Set<string>()): string[] => {
    if (seen.has(name)) return [];
    seen.add(name);
    const uppers = host
      .list(`sys/class/net/${name}`)
      .flatMap((entry) => (entry.startsWith('upper_') ? [entry.slice(6)] : []));
    const master = host.link(`sys/class/net/${name}/master`);
    return [name, ...[...uppers, ...(master ? [master] : [])].flatMap((one) => above(one, seen))];
  };
  const within = (name: string, top: string) => (name === top ? name : `${name} (in ${top})`);
  const addressed: string[] = [];
  for (const [name, address] of reaches) {
    const stack = above(name);
    const holder = stack.find((one) => routes.defaults.has(one));
    if (holder !== undefined) note(address, `${within(name, holder)} holds the default route`);
    else if (stack.some((one) => routes.addressed.has(one))) addressed.push(name);
  }
  if (routes.defaults.size === 0 && addressed.length === 1) {
    const name = addressed[0] as string;
    note(reaches.get(name), `${name} is the only interface with an address`);
  }
  for (const device of devices) {
    if (!device.class.startsWith('0200') || device.interfaces.length > 0) continue;
    if (isIdle(device.driver) || /uio/.test(device.driver ?? '')) continue;
    const silent = virtioOf(host, device).some(
      (name) => !host.link(`${device.folder}/${name}/driver`),
    );
    if (!silent) note(device.address, 'its interface is in another network namespace');
  }
}

interface Routes {
  readonly defaults: ReadonlySet<string>;
  /** Interfaces with an address that reaches beyond the link. */
  readonly addressed: ReadonlySet<string>;
}

const RTF_UP = 1;
const RTF_REJECT = 0x200;

function routesOf(host: Host): Routes {
  const defaults = new Set<string>();
  const addressed = new Set<string>();
  const usable = (flags: string | undefined) =>
    (Number.parseInt(flags ?? '0', 16) & (RTF_UP | RTF_REJECT)) === RTF_UP;
  for (const line of (host.read('proc/net/route') ?? '').split('\n').slice(1)) {
    const [name, destination, , flags, , , , mask] = line.trim().split(/\s+/);
    if (!name || name === 'lo' || !usable(flags)) continue;
    addressed.add(name);
    if (destination === '00000000' && mask === '00000000') defaults.add(name);
  }
  for (const line of (host.read('proc/net/ipv6_route') ?? '').split('\n')) {
    const [destination, prefix, , , , , , , flags, name] = line.trim().split(/\s+/);
    if (!name || name === 'lo' || !usable(flags)) continue;
    if (/^0{32}$/.test(destination ?? '') && prefix === '00') defaults.add(name);
  }
  for (const line of (host.read('proc/net/if_inet6') ?? '').split('\n')) {
    // Scope 0 is global; an address of the link alone says nothing.
    const [, , , scope, , name] = line.trim().split(/\s+/);
    if (name && name !== 'lo' && scope === '00') addressed.add(name);
  }
  return { defaults, addressed };
}

function virtioOf(host: Host, device: PciDevice): string[] {
  return host.list(device.folder).filter((name) => /^virtio\d+$/.test(name));
}

// Folders of the hypervisor's host have no disk below them.
function virtioUses(host: Host, devices: readonly PciDevice[], note: Note): void {
  for (const device of devices) {
    for (const name of virtioOf(host, device)) {
      const driver = host.link(`${device.folder}/${name}/driver`);
      const tag = host.read(`${device.folder}/${name}/mount_tag`)?.replace(/\0/g, '');
      for (const { at, type, source } of mounts(host)) {
        const mounted =
          (driver === '9pnet_virtio' && type === '9p' && source === tag) ||
          (driver === 'virtiofs' && type === 'virtiofs');
        if (mounted) note(device.address, `${source} is mounted at ${at}`);
      }
    }
  }
}

/** Processes that have the device or its group open through VFIO: `node (4711)`. */
export function openBy(host: Host, device: PciDevice): string[] {
  return openNodes(host, [device]).get(device.address) ?? [];
}

/** The same for several devices, in one look at all processes; devices that nobody has open are absent. */
export function openNodes(host: Host, devices: readonly PciDevice[]): Map<string, string[]> {
  const open = new Map<string, string[]>();
  const owners = new Map<string, string[]>();
  for (const { address, nodes } of devices) {
    for (const node of nodes) owners.set(node, [...(owners.get(node) ?? []), address]);
  }
  if (owners.size === 0) return open;
  for (const pid of host.list('proc').filter((name) => /^\d+$/.test(name))) {
    const addresses = new Set<string>();
    for (const fd of host.list(`proc/${pid}/fd`)) {
      try {
        const path = readlinkSync(join(host.root, `proc/${pid}/fd/${fd}`));
        for (const address of owners.get(path) ?? []) addresses.add(address);
      } catch {
        // Closed meanwhile.
      }
    }
    for (const address of addresses) {
      const name = shown(`${host.read(`proc/${pid}/comm`) ?? 'process'} (${pid})`);
      open.set(address, [...(open.get(address) ?? []), name]);
    }
  }
  return open;
}
