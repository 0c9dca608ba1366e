// A folder that stands for a machine, made of a capture of sysfs, and a host that answers writes as a kernel does.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { Host } from '../../../dist/host/host.js';

const capture = JSON.parse(
  readFileSync(new URL('../../fixtures/sys-pci/q35.json', import.meta.url), 'utf8'),
);

export const EDU = '0000:00:01.0';
/** virtio-net: eth0, which holds the default route. */
export const VIRTIO = '0000:00:02.0';
/** e1000e: eth1, free. */
export const NIC = '0000:01:00.0';
/** NVMe with the root file system on a partition. */
export const NVME = '0000:02:00.0';
/** Shares group 5 with the bridge before it and REALTEK. */
export const E1000 = '0000:03:01.0';
export const REALTEK = '0000:03:02.0';
export const BRIDGE = '0000:00:05.0';

const folders = Object.fromEntries(
  Object.keys(capture.config).map((path) => [basename(dirname(path)), dirname(path)]),
);
export const folderOf = (address) => folders[address];

const NVME_DISK = `${folders[NVME]}/nvme/nvme0/nvme0n1`;

/** What Debian's drivers add to the capture. */
const EXTRA = {
  files: {
    [`${folders[NVME]}/nvme/nvme0/serial`]: 'VAN123              \n',
    [`${NVME_DISK}/dev`]: '259:0\n',
    [`${NVME_DISK}/nvme0n1p1/dev`]: '259:1\n',
    'proc/swaps': 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n',
    'proc/net/if_inet6': '00000000000000000000000000000001 01 80 10 80       lo\n',
    'proc/self/status': 'CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n',
    'proc/cpuinfo': 'vendor_id\t: GenuineIntel\n',
    'proc/self/limits': 'Max locked memory         8388608   8388608   bytes\n',
    'sys/devices/system/cpu/online': '0-3\n',
    'dev/vfio/vfio': '',
    'sys/bus/pci/drivers_probe': '',
    [`${folders[E1000]}/net/eth2/address`]: '52:54:00:00:00:03\n',
    [`${folders[E1000]}/net/eth2/flags`]: '0x1002\n',
    'sys/bus/pci/slots/3/address': '0000:02:00\n',
  },
  links: {
    [`${folders[NVME]}/driver`]: '../../../../bus/pci/drivers/nvme',
    [`sys/bus/pci/drivers/nvme/${NVME}`]: `../../../../../${folders[NVME]}`,
    'sys/class/block/nvme0n1': `../../../${NVME_DISK}`,
    'sys/class/block/nvme0n1p1': `../../../${NVME_DISK}/nvme0n1p1`,
    'sys/class/net/eth2': `../../../${folders[E1000]}/net/eth2`,
    [`${folders[E1000]}/driver`]: '../../../../bus/pci/drivers/e1000',
    [`sys/bus/pci/drivers/e1000/${E1000}`]: `../../../../../${folders[E1000]}`,
  },
};

const MOUNTS = `20 1 259:1 / / rw,relatime - ext4 /dev/nvme0n1p1 rw
21 20 0:20 / /srv/with\\040space rw - 9p hostroot rw,trans=virtio
`;

/** Makes the folder; `files` and `links` are laid over it, undefined removes one. */
export function machine(t, { files = {}, links = {} } = {}) {
  const root = mkdtempSync(join(tmpdir(), 'vanity-machine-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const all = { ...capture.files, 'proc/self/mountinfo': MOUNTS, ...EXTRA.files, ...files };
  for (const [path, { bytes, hex }] of Object.entries(capture.config)) {
    const content = Buffer.alloc(bytes);
    content.write(hex, 'hex');
    all[path] ??= content;
  }
  for (const driver of [
    'vfio-pci',
    'e1000',
    'e1000e',
    'nvme',
    'virtio-pci',
    '8139cp',
    'pcieport',
  ]) {
    for (const file of ['bind', 'unbind']) {
      const path = `sys/bus/pci/drivers/${driver}/${file}`;
      if (!(path in all)) all[path] = '';
    }
  }
  for (const [path, content] of Object.entries(all)) {
    if (content === undefined || content === null) continue;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  for (const [path, target] of Object.entries({ ...capture.links, ...EXTRA.links, ...links })) {
    if (target === null || target === undefined) continue;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    symlinkSync(target, join(root, path));
  }
  return root;
}

/** Stands for a process that ends in the middle. */
export class Crash extends Error {}

const error = (code) => Object.assign(new Error(code), { code });

/** Reacts to writes as the driver core does; crashes before or after write number `crash.at`, when told to. */
export class Kernel extends Host {
  writes = 0;

  constructor(root, crash = {}) {
    super(root);
    this.crash = crash;
  }

  write(path, text) {
    this.writes++;
    const die = this.writes === this.crash.at;
    if (die && this.crash.when === 'before') throw new Crash();
    this.#react(path, text.trim(), text);
    if (die) throw new Crash();
  }

  #react(path, text) {
    const at = (...parts) => join(this.root, ...parts);
    if (path.endsWith('/driver_override')) {
      writeFileSync(at(path), `${text || '(null)'}\n`);
      return;
    }
    const driver = basename(dirname(path));
    if (path.endsWith('/unbind')) {
      const bound = driver === 'driver' ? basename(readlinkSync(at(dirname(path)))) : driver;
      this.#unbind(text, bound);
    } else if (path.endsWith('/drivers_probe')) {
      const override = this.#override(text);
      const native = NATIVE[text];
      const found = override ?? native;
      if (found && !this.link(`${folderOf(text)}/driver`)) this.#bind(text, found);
    } else if (path.endsWith('/bind')) {
      if (!existsSync(at(path))) throw error('ENOENT');
      const override = this.#override(text);
      const matches = override === undefined ? driver === NATIVE[text] : override === driver;
      if (!matches) throw error('ENODEV');
      if (this.link(`${folderOf(text)}/driver`)) throw error('EBUSY');
      this.#bind(text, driver);
    } else {
      throw error('EINVAL');
    }
  }

  #override(address) {
    const text = this.read(`${folderOf(address)}/driver_override`);
    return text === '(null)' ? undefined : text;
  }

  #bind(address, driver) {
    const folder = folderOf(address);
    const link = (from, to) =>
      symlinkSync(
        relative(dirname(join(this.root, from)), join(this.root, to)),
        join(this.root, from),
      );
    link(`${folder}/driver`, `sys/bus/pci/drivers/${driver}`);
    link(`sys/bus/pci/drivers/${driver}/${address}`, folder);
    const group = this.link(`${folder}/iommu_group`);
    if (driver === 'vfio-pci' && group) writeFileSync(join(this.root, `dev/vfio/${group}`), '');
    const hidden = join(this.root, folder, '.net');
    if (driver === NATIVE[address] && existsSync(hidden)) {
      renameSync(hidden, join(this.root, folder, 'net'));
      for (const name of this.list(`${folder}/net`))
        link(`sys/class/net/${name}`, `${folder}/net/${name}`);
    }
  }

  #unbind(address, driver) {
    const folder = folderOf(address);
    if (this.link(`${folder}/driver`) !== driver) throw error('ENODEV');
    for (const name of this.list(`${folder}/net`)) rmSync(join(this.root, `sys/class/net/${name}`));
    if (this.exists(`${folder}/net`))
      renameSync(join(this.root, folder, 'net'), join(this.root, folder, '.net'));
    rmSync(join(this.root, folder, 'driver'));
    rmSync(join(this.root, `sys/bus/pci/drivers/${driver}/${address}`));
    const group = this.link(`${folder}/iommu_group`);
    if (driver === 'vfio-pci' && group)
      rmSync(join(this.root, `dev/vfio/${group}`), { force: true });
  }
}

/** The drivers that match by id. */
const NATIVE = {
  [VIRTIO]: 'virtio-pci',
  [NIC]: 'e1000e',
  [NVME]: 'nvme',
  [E1000]: 'e1000',
  [REALTEK]: '8139cp',
};

/** Who has a device, and what would have it. */
export function stateOf(root, address) {
  const host = new Host(root);
  const folder = folderOf(address);
  return {
    driver: host.link(`${folder}/driver`) ?? null,
    override: host.read(`${folder}/driver_override`),
    listed: ['vfio-pci', ...Object.values(NATIVE)].filter((driver) =>
      host.list(`sys/bus/pci/drivers/${driver}`).includes(address),
    ),
    interfaces: host.list(`${folder}/net`),
  };
}
