// PCI configuration space (PCIe 6.0 §7, PCI 3.0 §6) as a device shows it. A device may write anything there:
// every offset is checked, and no list is followed twice.

export interface ConfigSpace {
  /** False when only the first 64 bytes could be read, as without root: capabilities are unknown then. */
  readonly complete: boolean;
  /** The device answers with ones only: it is gone, or asleep. */
  readonly absent: boolean;
  /** 0: endpoint, 1: bridge, 2: CardBus bridge. */
  readonly headerType: number;
  readonly busMaster: boolean;
  readonly memoryEnabled: boolean;
  /** INTA is 1; 0 without a pin. */
  readonly interruptPin: number;
  readonly msi: Msi | null;
  readonly msix: Msix | null;
  readonly link: Link | null;
  readonly functionReset: boolean;
  readonly sriov: { readonly totalVfs: number } | null;
  /** Device serial number, as sixteen hexadecimal digits in pairs. */
  readonly serial: string | null;
  readonly virtio: readonly VirtioRegion[];
  /** Names of what it can that matters to a grant. */
  readonly capabilities: readonly string[];
  /** What is malformed; such a capability counts as absent. */
  readonly damage: readonly string[];
}

export interface Msi {
  readonly vectors: number;
  readonly address64: boolean;
  readonly maskable: boolean;
}

export interface Msix {
  readonly vectors: number;
  readonly tableBar: number;
  readonly tableOffset: number;
}

/** Transfers per second are in units of 10^9. */
export interface Link {
  readonly width: number;
  readonly gts: number | null;
  readonly widthMax: number;
  readonly gtsMax: number | null;
}

/** VIRTIO 1.2 §4.1.4. */
export interface VirtioRegion {
  readonly kind: string;
  readonly bar: number;
  readonly offset: number;
  readonly bytes: number;
}

export const CONFIG_BYTES_MAX = 4096;

const CONFIG_BYTES = 256;
const VIRTIO_VENDOR = 0x1af4;

// Id, name, and the bytes that belong to it.
const KNOWN: Record<number, [string, number]> = {
  1: ['PM', 8],
  3: ['VPD', 8],
  5: ['MSI', 10],
  9: ['vendor', 3],
  16: ['PCIe', 20],
  17: ['MSI-X', 12],
  19: ['AF', 6],
};
const KNOWN_EXTENDED: Record<number, [string, number]> = {
  1: ['AER', 4],
  3: ['serial', 12],
  13: ['ACS', 8],
  14: ['ARI', 8],
  15: ['ATS', 8],
  16: ['SR-IOV', 64],
  19: ['PRI', 16],
  21: ['resizable BAR', 16],
  27: ['PASID', 8],
};
const VIRTIO_KINDS = ['', 'common', 'notify', 'isr', 'device', 'pci', '', '', 'shared memory'];
const GTS = [null, 2.5, 5, 8, 16, 32, 64];

export function parseConfig(content: Uint8Array): ConfigSpace {
  const bytes = content.subarray(0, CONFIG_BYTES_MAX);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u8 = (at: number) => (at < bytes.length ? view.getUint8(at) : 0);
  const u16 = (at: number) => (at + 2 <= bytes.length ? view.getUint16(at, true) : 0);
  const u32 = (at: number) => (at + 4 <= bytes.length ? view.getUint32(at, true) : 0);

  const absent = bytes.length >= 4 && u32(0) === 0xffffffff;
  const complete = bytes.length >= CONFIG_BYTES && !absent;
  const damage: string[] = [];
  const found: { id: number; at: number; extended: boolean; name: string }[] = [];
  const note = (id: number, at: number, extended: boolean) => {
    const [name, size] = (extended ? KNOWN_EXTENDED : KNOWN)[id] ?? [];
    if (name === undefined || size === undefined) return;
    if (at + size > bytes.length) damage.push(`${name} at ${hex(at)} is cut off`);
    else found.push({ id, at, extended, name });
  };

  if (complete && (u16(6) & 0x10) !== 0) {
    const seen = new Set<number>();
    for (let at = u8(0x34) & 0xfc; at !== 0; at = u8(at + 1) & 0xfc) {
      if (at < 0x40 || seen.has(at)) {
        damage.push(`the list of capabilities leads to ${hex(at)}${seen.has(at) ? ' again' : ''}`);
        break;
      }
      seen.add(at);
      note(u8(at), at, false);
    }
  }
  if (!absent && bytes.length > CONFIG_BYTES) {
    const seen = new Set<number>();
    for (let at = CONFIG_BYTES, header = u32(at); header !== 0; header = u32(at)) {
      if (header === 0xffffffff) break;
      seen.add(at);
      note(header & 0xffff, at, true);
      const next = (header >>> 20) & 0xffc;
      if (next === 0) break;
      if (next < CONFIG_BYTES || seen.has(next) || next + 4 > bytes.length) {
        damage.push(`the list of extended capabilities leads to ${hex(next)}`);
        break;
      }
      at = next;
    }
  }

  const first = (id: number, extended = false) =>
    found.find((one) => one.id === id && one.extended === extended)?.at;

  let msi: Msi | null = null;
  const msiAt = first(5);
  if (msiAt !== undefined) {
    const control = u16(msiAt + 2);
    const vectors = 2 ** ((control >> 1) & 7);
    if (vectors > 32) damage.push(`MSI at ${hex(msiAt)} claims ${vectors} vectors`);
    else msi = { vectors, address64: (control & 0x80) !== 0, maskable: (control & 0x100) !== 0 };
  }

  let msix: Msix | null = null;
  const msixAt = first(17);
  if (msixAt !== undefined) {
    const table = u32(msixAt + 4);
    const tableBar = table & 7;
    if (tableBar > 5) damage.push(`MSI-X at ${hex(msixAt)} names BAR ${tableBar}`);
    else {
      const vectors = (u16(msixAt + 2) & 0x7ff) + 1;
      msix = { vectors, tableBar, tableOffset: (table & ~7) >>> 0 };
    }
  }

  let link: Link | null = null;
  let functionReset = false;
  const pcieAt = first(16);
  if (pcieAt !== undefined) {
    const most = u32(pcieAt + 12);
    const now = u16(pcieAt + 18);
    functionReset = (u32(pcieAt + 4) & (1 << 28)) !== 0;
    link = {
      width: (now >> 4) & 0x3f,
      gts: GTS[now & 15] ?? null,
      widthMax: (most >> 4) & 0x3f,
      gtsMax: GTS[most & 15] ?? null,
    };
  }
  const afAt = first(19);
  if (afAt !== undefined) functionReset ||= (u8(afAt + 3) & 2) !== 0;

  const serialAt = first(3, true);
  const sriovAt = first(0x10, true);
  const virtio: VirtioRegion[] = [];
  for (const { at, id, extended } of found) {
    if (id !== 9 || extended || u16(0) !== VIRTIO_VENDOR) continue;
    const kind = VIRTIO_KINDS[u8(at + 3)];
    if (at + 16 > bytes.length || !kind) continue;
    const bar = u8(at + 4);
    if (bar > 5) damage.push(`virtio ${kind} at ${hex(at)} names BAR ${bar}`);
    else virtio.push({ kind, bar, offset: u32(at + 8), bytes: u32(at + 12) });
  }

  return {
    complete,
    absent,
    headerType: u8(0x0e) & 0x7f,
    busMaster: !absent && (u16(4) & 4) !== 0,
    memoryEnabled: !absent && (u16(4) & 2) !== 0,
    interruptPin: absent ? 0 : u8(0x3d),
    msi,
    msix,
    link,
    functionReset,
    sriov: sriovAt === undefined ? null : { totalVfs: u16(sriovAt + 14) },
    serial:
      serialAt === undefined
        ? null
        : Array.from({ length: 8 }, (_, i) =>
            u8(serialAt + 11 - i)
              .toString(16)
              .padStart(2, '0'),
          ).join('-'),
    virtio,
    capabilities: [
      ...new Set([
        ...found.map(({ name }) => name).filter((name) => name !== 'vendor'),
        ...(functionReset ? ['FLR'] : []),
        ...(virtio.some(({ kind }) => kind === 'common') ? ['virtio modern'] : []),
      ]),
    ],
    damage,
  };
}

const hex = (n: number) => `0x${n.toString(16)}`;
