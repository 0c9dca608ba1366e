// What somebody types to mean a device, and the device that it means.
import { VanityError } from '../errors.js';
import { PCI_SELECTOR } from '../manifest/schema.js';
import { nearest } from '../manifest/suggest.js';
import type { PciDevice } from './pci.js';

/** What was known of a device before a driver that shows nothing took it. */
export interface Remembered {
  readonly macs: readonly string[];
  readonly serials: readonly string[];
}

const SHORT = /^[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;

/** The devices that `text` means, as in the manifest or with a short address; undefined when it has no form that could mean one. */
export function matching(
  text: string,
  devices: readonly PciDevice[],
  remembered: ReadonlyMap<string, Remembered> = new Map(),
): PciDevice[] | undefined {
  const full = SHORT.test(text.toLowerCase()) ? `0000:${text}` : text;
  if (!PCI_SELECTOR.test(full)) return undefined;
  const [key, value] = full.includes('=') ? (full.split('=') as [string, string]) : ['', full];
  return devices.filter((device) => {
    const words = wordsOf(key, device, remembered.get(device.address));
    return words.some((word) => plain(key, word) === plain(key, value));
  });
}

// Serial numbers are written with and without separators.
const plain = (key: string, text: string) =>
  key === 'serial' ? text.toLowerCase().replace(/[-:]/g, '') : text.toLowerCase();

function wordsOf(key: string, device: PciDevice, memory: Remembered | undefined): string[] {
  switch (key) {
    case 'mac':
      return [...device.interfaces.flatMap(({ mac }) => mac ?? []), ...(memory?.macs ?? [])];
    case 'serial':
      return [...device.serials, ...(memory?.serials ?? [])];
    case 'slot':
      return device.slot === null
        ? []
        : [device.slot, `${device.slot}.${device.address.at(-1) as string}`];
    default:
      return [device.address, `${device.vendor}:${device.device}`];
  }
}

/** The one device that `text` means, or the error that says why there is none. */
export function select(
  text: string,
  devices: readonly PciDevice[],
  remembered: ReadonlyMap<string, Remembered> = new Map(),
  options: { location?: NonNullable<VanityError['location']> } = {},
): PciDevice {
  const found = matching(text, devices, remembered);
  if (found === undefined) {
    throw new VanityError('VANITY_E_DEVICE_SELECTOR', { text: cut(text) }, options);
  }
  const [only, second] = found;
  if (only && second) {
    const matches = found.map(({ address, kind }) => `${address} (${kind})`).join(', ');
    throw new VanityError(
      'VANITY_E_DEVICE_MANY',
      { text, matches, example: only.address },
      options,
    );
  }
  if (only) return only;
  const hint = hintFor(text, devices, remembered);
  throw new VanityError('VANITY_E_DEVICE_NONE', { text: cut(text), hint }, options);
}

const cut = (text: string) => (text.length > 60 ? `${text.slice(0, 57)}…` : text);

function hintFor(
  text: string,
  devices: readonly PciDevice[],
  remembered: ReadonlyMap<string, Remembered>,
): string {
  const [key, value] = text.includes('=') ? (text.split('=') as [string, string]) : ['', text];
  const words = devices.flatMap((device) =>
    wordsOf(key, device, remembered.get(device.address)).map((word) => word.toLowerCase()),
  );
  const meant = nearest(
    key === '' && SHORT.test(value.toLowerCase()) ? `0000:${value}` : value,
    words,
  );
  if (meant !== undefined) return `Did you mean ${key === '' ? '' : `${key}=`}${meant}?`;
  if (key === 'mac') {
    return 'A device bound by other means than vanity device bind shows no MAC; name it by address: vanity device list';
  }
  return 'List what there is: vanity device list';
}
