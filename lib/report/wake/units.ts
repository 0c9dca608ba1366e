// Values of a wake report as people read them. Three digits tell all that a latency has to tell.
import type { WakeCell } from '../../wake/result.js';

/** What stands where there is no value. */
export const NONE = '–';
const SPACE = '\u00a0';

function digits(value: number): string {
  const size = Math.abs(value);
  // A minus as wide as a plus.
  return `${value < 0 ? '−' : ''}${size.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0)}`;
}

/** 0.62 ns, 245 ns, 16.7 µs. */
export function ns(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size === 0) return `0${SPACE}ns`;
  if (size < 999.5) return `${digits(value)}${SPACE}ns`;
  if (size < 999.5e3) return `${digits(value / 1e3)}${SPACE}µs`;
  if (size < 999.5e6) return `${digits(value / 1e6)}${SPACE}ms`;
  return `${digits(value / 1e9)}${SPACE}s`;
}

/** An idle time, or a tick of an axis: whole numbers stay whole. */
export function short(value: number): string {
  if (value === 0) return '0';
  for (const [size, unit] of [
    [1e9, 's'],
    [1e6, 'ms'],
    [1e3, 'µs'],
  ] as const) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}${SPACE}${unit}`;
  }
  return `${Number(value.toPrecision(3))}${SPACE}ns`;
}

export function whole(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
}

/** 0.2 %, 12 %. */
export function share(value: number): string {
  const percent = value * 100;
  if (percent > 0 && percent < 0.01) return `<0.01${SPACE}%`;
  return `${percent === 0 || percent >= 9.95 ? percent.toFixed(0) : percent < 0.1 ? percent.toFixed(2) : percent.toFixed(1)}${SPACE}%`;
}

export function times(ratio: number | null): string {
  if (ratio === null || !Number.isFinite(ratio)) return NONE;
  if (ratio > 0 && ratio < 0.0995) return `${ratio.toPrecision(1)}×`;
  return `${ratio < 9.995 ? ratio.toFixed(2) : ratio < 99.95 ? ratio.toFixed(1) : whole(ratio)}×`;
}

export function seconds(value: number): string {
  return value < 100
    ? `${value.toFixed(value < 10 ? 1 : 0)}${SPACE}s`
    : `${(value / 60).toFixed(1)}${SPACE}min`;
}

export function pairName({ from, to }: Pick<WakeCell, 'from' | 'to'>): string {
  return `${from}${SPACE}→${SPACE}${to}`;
}

/** 22 Nov 2026, 21:00 UTC */
export function date(iso: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const month = at.toLocaleString('en-US', { month: 'short', timeZone: 'UTC' });
  return `${at.getUTCDate()} ${month} ${at.getUTCFullYear()}, ${at.toISOString().slice(11, 16)} UTC`;
}
