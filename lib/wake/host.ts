// Who this host is, for whoever reads the report elsewhere.
import { readFileSync } from 'node:fs';
import { hostname, release } from 'node:os';
import { join } from 'node:path';
import { type DoctorHost, type DoctorRow, examine } from '../runtime/doctor.js';
import type { WakeHost } from './result.js';
import type { Processor } from './topology.js';

/** Rows of `vanity doctor` that bear on how fast a wake is. */
export const ADVICE: ReadonlySet<string> = new Set([
  'wait',
  'membarrier',
  'clocksource',
  'cores',
  'isolcpus',
  'nohz_full',
  'irq affinity',
  'governor',
  'idle states',
  'smt',
  'hypervisor',
]);

export function describeHost(processors: readonly Processor[], doctor: DoctorHost): WakeHost {
  const root = doctor.root ?? '/';
  const read = (path: string): string | undefined => {
    try {
      // Device tree texts end with a NUL.
      return readFileSync(join(root, path), 'utf8').replaceAll('\0', ' ').trim() || undefined;
    } catch {
      return undefined;
    }
  };
  return {
    name: hostname(),
    processor: processorName(read('proc/cpuinfo') ?? '', read('proc/device-tree/model')),
    architecture: process.arch,
    kernel: release(),
    node: process.version,
    hypervisor: hypervisorName(read),
    cpus: processors.map(({ id, core, package: socket, node, siblings, isolated }) => ({
      id,
      core,
      package: socket,
      node,
      siblings,
      isolated,
    })),
    advice: advice(examine(doctor)),
  };
}

export function advice(rows: readonly DoctorRow[]): DoctorRow[] {
  return rows.filter((row) => ADVICE.has(row.name) && row.status !== 'ok');
}

/** x86 has a name; arm64 numbers of implementer and part; riscv64 what it executes. */
export function processorName(cpuinfo: string, board: string | undefined): string {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}\\s*:\\s*(.+)$`, 'm').exec(cpuinfo)?.[1]?.trim();
  const model = field('model name') ?? field('uarch');
  if (model) return model;
  const [implementer, part] = [field('CPU implementer'), field('CPU part')];
  const name = part ? `implementer ${implementer}, part ${part}` : field('isa');
  return [board, name].filter((text) => text !== undefined).join(', ') || 'unknown';
}

const HYPERVISORS: readonly [RegExp, string][] = [
  [/amazon/i, 'Amazon EC2'],
  [/google/i, 'Google Compute Engine'],
  [/microsoft/i, 'Hyper-V'],
  [/vmware/i, 'VMware'],
  [/innotek|virtualbox/i, 'VirtualBox'],
  [/xen/i, 'Xen'],
  [/parallels/i, 'Parallels'],
  [/kvm|qemu|openstack/i, 'KVM'],
];

function hypervisorName(read: (path: string) => string | undefined): string | null {
  const tree = read('proc/device-tree/hypervisor/compatible');
  const type = read('sys/hypervisor/type');
  const flagged = /^flags\s*:.* hypervisor( |$)/m.test(read('proc/cpuinfo') ?? '');
  const vendor = [
    tree,
    type,
    read('sys/class/dmi/id/sys_vendor'),
    read('sys/class/dmi/id/product_name'),
  ].join(' ');
  const known = HYPERVISORS.find(([pattern]) => pattern.test(vendor))?.[1];
  if (flagged || tree || type) return known ?? type ?? 'unknown';
  // Arm has no flag for it; the name of the board has to do, but a maker's name alone says nothing on x86.
  return process.arch !== 'x64' && known ? known : null;
}
