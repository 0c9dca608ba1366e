// vanity device: the PCI devices of this host, and who drives them.
import { type BindOptions, type Bound, bind, unbind } from '../device/bind.js';
import { examineDevice, type Obstacle, summarize } from '../device/describe.js';
import type { Bar } from '../device/pci.js';
import { Records } from '../device/record.js';
import { bytesText } from '../device/units.js';
import { Host } from '../host/host.js';
import { table } from '../text/table.js';
import { print, printJson } from './output.js';

export interface DeviceOptions {
  readonly json?: boolean;
  /** Where the host's file system starts; another one for tests. */
  readonly root?: string;
}

export interface DeviceBindOptions extends DeviceOptions, BindOptions {}

export function deviceListCommand(options: DeviceOptions = {}): number {
  const devices = summarize(new Host(options.root), Records.here());
  if (options.json) {
    printJson({ devices });
    return 0;
  }
  const columns = [
    { title: 'ADDRESS' },
    { title: 'ID' },
    { title: 'KIND' },
    { title: 'DRIVER' },
    { title: 'GROUP', right: true },
    { title: 'NODE', right: true },
    { title: 'MSI-X', right: true },
    { title: 'RESET' },
    { title: 'INTERFACE' },
    { title: 'IN USE' },
  ];
  const rows = devices.map((device) => [
    device.address,
    device.id,
    device.kind,
    device.driver ?? '-',
    String(device.iommu_group ?? '-'),
    String(device.numa_node ?? '-'),
    device.msix_vectors === null ? '?' : String(device.msix_vectors || '-'),
    device.reset_methods.join(' ') || '-',
    device.interfaces.map(({ name, mac }) => `${name} ${mac ?? ''}`.trim()).join(', ') || '-',
    device.in_use.join('; ') || '-',
  ]);
  print(...table(columns, rows));
  if (devices.length === 0) print('no PCI device on this host');
  return 0;
}

export function deviceInfoCommand(selector: string, options: DeviceOptions = {}): number {
  const info = examineDevice(new Host(options.root), Records.here(), selector);
  if (options.json) {
    printJson(info);
    return 0;
  }
  const lines: [string, string | string[]][] = [
    [
      'driver',
      info.driver_before
        ? `${info.driver ?? 'none'} (${info.driver_before} before)`
        : (info.driver ?? 'none'),
    ],
    ['IOMMU group', info.iommu_group === null ? 'none' : groupText(info)],
    ['reserved', info.reserved_regions.map(({ first, last, kind }) => `${first}..${last} ${kind}`)],
    ['NUMA node', String(info.numa_node ?? 'unknown')],
    ['slot', info.slot ?? []],
    ['serial', [...info.serials]],
    [
      'interface',
      info.interfaces.map(({ name, mac, up }) => `${name} ${mac ?? ''} ${up ? 'up' : 'down'}`),
    ],
    ['in use', [...info.in_use]],
    ['open by', [...info.open_by]],
    ['BARs', info.bars.map(barText)],
    ['interrupts', interruptText(info)],
    ['can', info.capabilities.join(', ')],
    ['link', info.link === null ? [] : linkText(info.link)],
    [
      'SR-IOV',
      info.sriov === null ? [] : `${info.sriov.vfs} of ${info.sriov.total_vfs} virtual functions`,
    ],
    [
      'virtio',
      info.virtio.map(
        ({ kind, bar, offset, bytes }) => `${kind}: BAR ${bar} from ${offset}, ${bytesText(bytes)}`,
      ),
    ],
    [
      'reset',
      info.reset_methods.join(', ') || 'none: it keeps its state from one owner to the next',
    ],
    [
      'DMA',
      info.dma_bits === null
        ? 'width unknown until a driver has set it'
        : `${info.dma_bits} address bits`,
    ],
    ['bus master', info.bus_master ? 'on' : 'off'],
    ['nodes', [...info.nodes]],
    ['damaged', [...info.damage]],
  ];
  print(`${info.address}  ${info.id}  ${info.kind}`);
  for (const [name, value] of lines) {
    for (const [i, text] of (typeof value === 'string' ? [value] : value).entries()) {
      print(`  ${(i === 0 ? name : '').padEnd(12)} ${text}`);
    }
  }
  print('', ...obstacleLines(info.obstacles));
  return 0;
}

type Info = ReturnType<typeof examineDevice>;

function groupText({ iommu_group: group, group_viable: viable, group_members: members }: Info) {
  const others = members.map(
    ({ address, driver, blocks }) =>
      `${address} (${driver ?? 'no driver'}${blocks ? ', in the way' : ''})`,
  );
  const with_ = others.length === 0 ? 'alone in it' : `with ${others.join(', ')}`;
  return `${group}, ${with_}${viable ? '' : '; not viable'}`;
}

const barText = ({ index, kind, bytes, prefetchable, address64 }: Bar) =>
  `${index}: ${kind} ${bytesText(bytes)}${address64 ? ', 64-bit' : ''}${prefetchable ? ', prefetchable' : ''}`;

function interruptText({ interrupts, capabilities_known: known }: Info): string[] {
  const { msix, msi, intx } = interrupts;
  return [
    ...(msix
      ? [`MSI-X: ${msix.vectors} vectors, table in BAR ${msix.table_bar} from ${msix.table_offset}`]
      : []),
    ...(msi ? [`MSI: ${msi.vectors} ${msi.vectors === 1 ? 'vector' : 'vectors'}`] : []),
    ...(intx ? ['INTx: one level-triggered pin'] : []),
    ...(known ? [] : ['MSI and MSI-X are shown to root only']),
  ];
}

function linkText(link: NonNullable<Info['link']>): string {
  const one = (gts: number | null, width: number) => `${gts ?? '?'} GT/s x${width}`;
  return `${one(link.gts, link.width)} (at most ${one(link.gts_max, link.width_max)})`;
}

function obstacleLines(obstacles: readonly Obstacle[]): string[] {
  if (obstacles.length === 0) return ['Ready to be granted.'];
  return [
    'Before it can be granted:',
    ...obstacles.flatMap(({ problem, fix }) => [
      `  - ${problem}`,
      ...(fix === null ? [] : [`    ${fix}`]),
    ]),
  ];
}

export function deviceBindCommand(
  selectors: readonly string[],
  options: DeviceBindOptions = {},
): number {
  return report(bind(new Host(options.root), Records.here(), selectors, options), options);
}

export function deviceUnbindCommand(
  selectors: readonly string[],
  options: DeviceBindOptions = {},
): number {
  return report(unbind(new Host(options.root), Records.here(), selectors, options), options);
}

function report(done: readonly Bound[], { json }: DeviceOptions): number {
  if (json) printJson({ devices: done });
  for (const { address, driver, before, changed } of json ? [] : done) {
    const from = before === driver ? '' : `, before: ${before ?? 'none'}`;
    print(`${address}: ${changed ? '' : 'still '}${driver ?? 'no driver'}${from}`);
  }
  return 0;
}
