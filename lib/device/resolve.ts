// From what a manifest knows its devices by to their addresses on this host.
import { VanityError } from '../errors.js';
import type { Host } from '../host/host.js';
import { ManifestErrors, type Plan } from '../manifest/plan.js';
import { scan } from './pci.js';
import type { Records } from './record.js';
import { select } from './select.js';

/** The plan with the address of each device; throws ManifestErrors with every one that means none, or several. */
export function resolveDevices<T extends Plan>(plan: T, host: Host, records: Records): T {
  if (plan.devices.every(({ address }) => address !== '')) return plan;
  const all = scan(host);
  const known = records.all();
  const errors: VanityError[] = [];
  const devices = plan.devices.map((device) => {
    try {
      return { ...device, address: select(device.pci, all, known).address };
    } catch (error) {
      if (!(error instanceof VanityError)) throw error;
      errors.push(error);
      return device;
    }
  });
  if (errors.length > 0) throw new ManifestErrors(errors);
  return { ...plan, devices };
}
