// What the drivers of NICs want of a device, as far as the host shows it before the device is opened.
import type { NicDriver } from '../manifest/nic.js';
import type { PciDevice } from './pci.js';

interface Model {
  /** vendor:device of what it drives. */
  readonly ids: readonly string[];
  readonly about: string;
  /** Vectors without which it uses none of the others. */
  readonly vectorsBesides: number;
  /** What such a device lacks all the same; undefined when nothing. */
  lacks?(device: PciDevice): { problem: string; hint: string } | undefined;
}

const TRANSITIONAL = '1af4:1000';
const MODERN = ['common', 'notify', 'device'];

const models: Readonly<Record<NicDriver, Model>> = {
  'virtio-net': {
    ids: ['1af4:1041'],
    about: 'a modern virtio network device',
    vectorsBesides: 0,
    // VIRTIO 1.2 §4.1.4: a device of before 1.0 shows none of these regions.
    lacks({ config }) {
      if (!config.complete) return undefined;
      const absent = MODERN.filter((kind) => !config.virtio.some((region) => region.kind === kind));
      if (absent.length === 0) return undefined;
      return {
        problem: `it shows no ${absent.join(', ')} registers, so it is from before VIRTIO 1.0`,
        hint: 'Have the hypervisor offer a modern device (QEMU: disable-modern=off).',
      };
    },
  },
  e1000e: { ids: ['8086:10d3'], about: 'an Intel 82574L', vectorsBesides: 1 },
};

const idOf = ({ vendor, device }: PciDevice) => `${vendor}:${device}`;

/** Why the driver cannot drive the device; undefined when nothing speaks against it. */
export function unfit(
  driver: NicDriver,
  device: PciDevice,
): { problem: string; hint: string } | undefined {
  const model = models[driver];
  const id = idOf(device);
  if (model.ids.includes(id)) return model.lacks?.(device);
  const other = Object.entries(models).find(([, { ids }]) => ids.includes(id))?.[0];
  if (id === TRANSITIONAL && driver === 'virtio-net') {
    return {
      problem: 'it is a transitional virtio network device, not a modern one (1af4:1041)',
      hint: 'Have the hypervisor offer a modern device (QEMU: disable-legacy=on).',
    };
  }
  return {
    problem: `it is ${id} (${device.kind}), not ${model.about} (${model.ids.join(', ')})`,
    hint:
      other === undefined
        ? 'Name a device that it drives (vanity device list), or write a program for it: driver = "vfio".'
        : `Type: driver = "${other}"`,
  };
}

/** Of that many receive queues, those that have an interrupt; a pin serves one. */
export function queuesWithInterrupts(
  driver: NicDriver,
  { config }: PciDevice,
  queues: number,
): number {
  const vectors = config.msix?.vectors ?? 0;
  if (vectors >= queues + models[driver].vectorsBesides) return queues;
  return config.interruptPin === 0 ? 0 : Math.min(queues, 1);
}
