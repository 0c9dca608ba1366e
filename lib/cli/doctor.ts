// vanity doctor: what this host can do, what it lacks, and what to type.
import { native } from '../native.js';
import { type DoctorRow, examine } from '../runtime/doctor.js';
import { print, printJson, wantsColor } from './output.js';

const COLORS = { ok: 32, warn: 33, missing: 31 };

/** A host that lacks something is no failure: the exit code is 0. */
export function doctorCommand(options: { json?: boolean }): number {
  const rows = examine({
    backends: native.waitBackends(),
    membarrier: native.membarrier(),
    protectionKeys: native.protectionKeys(),
  });
  if (options.json) printJson({ rows });
  else print(...doctorLines(rows, wantsColor(process.stdout)));
  return 0;
}

export function doctorLines(rows: readonly DoctorRow[], color: boolean): string[] {
  const lines = rows.flatMap((row) => {
    const status = row.status.padEnd(7);
    const lines = [
      `${color ? `\u001b[${COLORS[row.status]}m${status}\u001b[0m` : status}  ${row.name}: ${row.found}`,
    ];
    if (row.status !== 'ok') {
      lines.push(`         why: ${row.why}`);
      if (row.fix !== null) lines.push(`         fix: ${row.fix}`);
    }
    return lines;
  });
  const of = (status: DoctorRow['status']): number =>
    rows.filter((r) => r.status === status).length;
  return [...lines, '', `${of('ok')} ok, ${of('warn')} to improve, ${of('missing')} missing`];
}
