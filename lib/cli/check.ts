import { checkHost, type Findings } from '../device/check.js';
import { Records } from '../device/record.js';
import { bytesText } from '../device/units.js';
import { VanityError } from '../errors.js';
import { Host } from '../host/host.js';
import { type NicGrants, nicGrants } from '../manifest/grants.js';
import { toDot, toSvg } from '../manifest/graph.js';
import { loadSource, ManifestErrors, memoryOf, type Plan, readSource } from '../manifest/plan.js';
import { errorJson, renderError, renderWarning, warningJson } from '../manifest/render.js';

export interface CheckOptions {
  readonly json?: boolean;
  readonly graph?: 'dot' | 'svg';
  readonly set?: readonly string[];
  readonly color?: boolean;
  /** Hold it against this host too. */
  readonly host?: boolean;
  /** Where the host's file system starts; another one for tests. */
  readonly root?: string;
  /** Where to print; the standard streams when absent. */
  readonly out?: (text: string) => void;
  readonly err?: (text: string) => void;
}

/** `vanity check`: everything that is wrong with a manifest at once, or what it declares. */
export function checkCommand(file: string, options: CheckOptions = {}): number {
  const { json = false, graph, set = [], color = false } = options;
  const out = options.out ?? ((text: string) => process.stdout.write(`${text}\n`));
  const err = options.err ?? ((text: string) => process.stderr.write(`${text}\n`));
  if (graph !== undefined && graph !== 'dot' && graph !== 'svg') {
    const problem = `--graph draws "dot" or "svg", not ${JSON.stringify(graph)}`;
    const error = new VanityError('VANITY_E_USAGE', { problem });
    if (json) out(JSON.stringify({ ok: false, errors: [errorJson(error)], warnings: [] }, null, 2));
    else err(renderError(error, color));
    return error.exitCode;
  }
  try {
    const source = readSource(file, { set });
    const { plan, warnings: written } = loadSource(source);
    const found = options.host
      ? checkHost(source, plan, new Host(options.root), Records.here())
      : undefined;
    const warnings = [...written, ...(found?.warnings ?? [])];
    if (found && found.errors.length > 0) throw new ManifestErrors(found.errors, warnings);
    const grants = [...nicGrants(plan).values()];
    if (graph) {
      for (const warning of warnings) err(renderWarning(warning, color));
      out((graph === 'dot' ? toDot(plan) : toSvg(plan)).trimEnd());
    } else if (json) {
      const report = { ok: true, errors: [], warnings: warnings.map(warningJson), grants };
      out(JSON.stringify({ ...report, ...(found && { devices: found.devices }) }, null, 2));
    } else {
      for (const warning of warnings) err(`${renderWarning(warning, color)}\n`);
      out([summaryOf(file, plan), ...grantLines(grants), ...deviceLines(found)].join('\n'));
    }
    return 0;
  } catch (error) {
    if (!(error instanceof ManifestErrors)) throw error;
    const { errors, warnings, exitCode } = error;
    if (json) {
      const report = {
        ok: false,
        errors: errors.map(errorJson),
        warnings: warnings.map(warningJson),
      };
      out(JSON.stringify(report, null, 2));
    } else {
      for (const warning of warnings) err(`${renderWarning(warning, color)}\n`);
      for (const problem of errors) err(`${renderError(problem, color)}\n`);
      err(`${file}: ${errors.length} ${errors.length === 1 ? 'error' : 'errors'}`);
    }
    return exitCode;
  }
}

const plural = (count: number, one: string) => `${count} ${one}${count === 1 ? '' : 's'}`;

function summaryOf(file: string, plan: Plan): string {
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const memory = memoryOf(plan);
  const parts = [
    plural(plan.shards.length, 'shard'),
    plural(plan.channels.length, 'channel'),
    plural(plan.ports.length, 'port'),
    ...(plan.devices.length > 0 ? [plural(plan.devices.length, 'device')] : []),
  ];
  return (
    `${file}: ok. System "${plan.name}": ${parts.join(', ')}; about ${mib(memory.total)} of memory ` +
    `(rings ${mib(memory.channels)}, buffers ${mib(memory.pools)}, arenas ${mib(memory.arenas)}).`
  );
}

/** What the drivers of NICs are granted: it is written nowhere in the manifest. */
function grantLines(all: readonly NicGrants[]): string[] {
  return all.flatMap(({ device, driver, port, vectors, rings, pools }) => [
    '',
    `[devices.${device}] is driven by ${driver} for port "${port}", and granted:`,
    '  registers  those of the device, to its driver',
    `  vectors    ${vectors.map(({ of, to }) => `${of} to ${to}`).join(', ')}`,
    `  memory     rings, read and write: ${rings.rx} rx and ${rings.tx} tx of ${rings.descriptors} descriptors`,
    ...pools.map(
      ({ name, bytes, access }) =>
        `             pool "${name}", ${access === 'read-only' ? 'read only' : 'read and write'}: ${bytesText(bytes)}`,
    ),
  ]);
}

function deviceLines(found: Findings | undefined): string[] {
  if (found === undefined || found.devices.length === 0) return [];
  return [
    '',
    'On this host:',
    ...found.devices.flatMap(({ name, address, kind, driver, iommu_group, estimated_windows }) => {
      const group = iommu_group === null ? 'no IOMMU group' : `IOMMU group ${iommu_group}`;
      const windows = estimated_windows.map(({ first, last }) => `${first}..${last}`).join(', ');
      return [
        `  ${name}: ${address} (${kind}, ${driver ?? 'no driver'}, ${group})`,
        `    I/O addresses: ${windows === '' ? 'those of memory itself, for no IOMMU is in front of it' : `${windows} (estimated from sysfs; VFIO has the last word)`}`,
      ];
    }),
  ];
}
