import type { Model } from '../model.js';
import type { Path } from '../parse.js';
import type { DeviceEntry } from '../schema.js';
import { shardExists } from './channels.js';

const hex = (n: number) => `0x${n.toString(16)}`;
const range = (offset: number, bytes: number) => `${hex(offset)}..${hex(offset + bytes)}`;

/** Grants: each thing of a device has one owner, also when two sections name the same device. */
export function deviceRules(model: Model): void {
  const devices = [...model.devices.values()].flatMap(({ name, path, value }) =>
    value ? [{ name, path, value }] : [],
  );
  for (const { name, path, value } of devices) {
    for (const kind of ['mmio', 'irqs', 'dma'] as const) {
      for (const [index, grant] of value[kind].entries()) {
        shardExists(model, `a grant of device "${name}"`, 'to', grant.to, [
          ...path,
          kind,
          index,
          'to',
        ]);
      }
    }
  }
  driverRules(model, devices);
  overlapRules(model, devices);
  vectorRules(model, devices);
  dmaRules(model, devices);
}

// What a NIC driver is granted follows from its port.
function driverRules(model: Model, devices: Devices): void {
  const named = new Set([...model.ports.values()].map(({ value }) => value?.device));
  const owners = new Map<string, Devices[number]>();
  for (const device of devices) {
    const { name, path, value } = device;
    const { driver, pci } = value;
    const other = owners.get(pci);
    if (other === undefined) owners.set(pci, device);
    else if (driver !== 'vfio' || other.value.driver !== 'vfio') {
      model.report(
        'VANITY_E_DEVICE_TWICE',
        { first: other.name, second: name, pci },
        [...path, 'pci'],
        [
          {
            message: `device "${other.name}" has it here`,
            location: model.at([...other.path, 'pci']),
          },
        ],
      );
    }
    if (driver === 'vfio') continue;
    for (const key of ['mmio', 'irqs', 'dma'] as const) {
      if (!model.source.has([...path, key])) continue;
      model.report(
        'VANITY_E_DEVICE_KEY',
        { device: name, key, driver },
        model.at([...path, key], 'key'),
      );
    }
    if (!named.has(name) && model.joinsKnown) {
      model.report('VANITY_E_DEVICE_IDLE', { device: name, driver }, model.at(path, 'key'));
    }
  }
}

type Devices = readonly { name: string; path: Path; value: DeviceEntry }[];

function overlapRules(model: Model, devices: Devices): void {
  const bars = new Map<
    string,
    { device: string; at: Path; offset: number; end: number; to: string }[]
  >();
  for (const { name, path, value } of devices) {
    for (const [index, { bar, offset, bytes, to }] of value.mmio.entries()) {
      const key = `${value.pci} ${bar}`;
      const grants = bars.get(key) ?? [];
      const at = [...path, 'mmio', index];
      const second = `${range(offset, bytes)} of shard "${to}"`;
      for (const other of grants) {
        if (offset >= other.end || other.offset >= offset + bytes) continue;
        const end = Math.max(other.end, offset + bytes);
        model.report(
          'VANITY_E_GRANT_OVERLAP',
          {
            pci: value.pci,
            bar,
            second,
            example: hex(Math.ceil(end / 4096) * 4096),
            first: `${range(other.offset, other.end - other.offset)} of shard "${other.to}"`,
          },
          at,
          [{ message: 'the other one is granted here', location: model.at(other.at) }],
        );
      }
      grants.push({ device: name, at, offset, end: offset + bytes, to });
      bars.set(key, grants);
    }
  }
}

// A PCI function has one pin, and VFIO arms one kind of interrupt a device.
function vectorRules(model: Model, devices: Devices): void {
  const owners = new Map<string, { at: Path; to: string }>();
  const kinds = new Map<string, { at: Path; trigger: string }>();
  for (const { name, path, value } of devices) {
    for (const [index, { vector, to, trigger, eoi }] of value.irqs.entries()) {
      const at = [...path, 'irqs', index];
      const refuse = (
        problem: string,
        hint: string,
        key: string,
        related: { at: Path; message: string }[] = [],
      ) =>
        model.report(
          'VANITY_E_TRIGGER',
          { where: `[devices.${name}] irqs[${index}]`, problem, hint },
          [...at, key],
          related.map(({ at: place, message }) => ({ message, location: model.at(place) })),
        );
      const key = `${value.pci} ${vector}`;
      const owner = owners.get(key);
      if (owner) {
        model.report(
          'VANITY_E_VECTOR_OWNER',
          { vector, pci: value.pci, first: `shard "${owner.to}"`, second: `shard "${to}"` },
          [...at, 'vector'],
          [{ message: 'it is granted here first', location: model.at(owner.at) }],
        );
      } else {
        owners.set(key, { at: [...at, 'vector'], to });
      }
      const kind = kinds.get(value.pci);
      if (!kind) kinds.set(value.pci, { at: [...at, 'trigger'], trigger });
      else if (kind.trigger !== trigger) {
        refuse(
          `trigger = "${trigger}", and another vector of the device has "${kind.trigger}"; a device uses one kind at a time`,
          `Type: trigger = "${kind.trigger}" for all of its vectors`,
          'trigger',
          [{ at: kind.at, message: `"${kind.trigger}" is set here` }],
        );
      }
      if (trigger === 'level' && vector !== 0) {
        refuse(
          `vector ${vector} with trigger = "level"; a PCI function has one pin, vector 0`,
          'Type: vector = 0',
          'vector',
        );
      }
      if (trigger === 'msi' && vector > 31) {
        refuse(
          `vector ${vector} with trigger = "msi", which has 32 vectors`,
          'Use a vector from 0 to 31, or trigger = "msix".',
          'vector',
        );
      }
      if (trigger === 'level' && eoi === 'immediate') {
        model.warn('VANITY_W_EOI', { where: `[devices.${name}] irqs[${index}]` }, [...at, 'eoi']);
      }
      if (trigger !== 'level' && eoi === 'delayed') {
        refuse(
          `eoi = "delayed" with trigger = "${trigger}", which has no line to hold`,
          'Type: eoi = "immediate", or remove eoi',
          'eoi',
        );
      }
    }
  }
}

function dmaRules(model: Model, devices: Devices): void {
  const names = new Map<string, Path>();
  for (const { name, path, value } of devices) {
    const totals = new Map<number, number>();
    for (const [index, region] of value.dma.entries()) {
      const at = [...path, 'dma', index];
      const where = `[devices.${name}] dma[${index}]`;
      const key = `${value.pci} ${region.name}`;
      const earlier = names.get(key);
      if (earlier) {
        model.report(
          'VANITY_E_DMA',
          {
            where,
            problem: `the device has another region named "${region.name}"`,
            hint: `Give it a name of its own, for example: name = "${region.name}-2"`,
          },
          [...at, 'name'],
          [{ message: 'the other one is here', location: model.at(earlier) }],
        );
      } else {
        names.set(key, [...at, 'name']);
      }
      // Regions with fewer address bits share the low addresses.
      const total = (totals.get(region.bits) ?? 0) + region.bytes;
      totals.set(region.bits, total);
      if (total > 2 ** region.bits) {
        model.report(
          'VANITY_E_DMA',
          {
            where,
            problem: `${total} bytes in all do not fit below the ${region.bits} address bits of the device`,
            hint: `Type a smaller size, or bits = ${Math.ceil(Math.log2(total))} if the device can.`,
          },
          [...at, 'bytes'],
        );
      }
    }
  }
}
