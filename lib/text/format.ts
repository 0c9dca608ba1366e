// Numbers and times as people type and read them.
import { VanityError } from '../errors.js';

const UNITS = ['', 'k', 'M', 'G', 'T', 'P'];

/** Three significant digits with an SI prefix: 1234567 -> "1.23 M". */
export function si(value: number): string {
  if (!Number.isFinite(value)) return '-';
  let scaled = Math.abs(value);
  let unit = 0;
  while (scaled >= 999.5 && unit < UNITS.length - 1) {
    scaled /= 1000;
    unit++;
  }
  const digits =
    unit === 0 && Number.isInteger(value) ? 0 : scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0;
  const text = `${value < 0 ? '-' : ''}${scaled.toFixed(digits)}`;
  return unit === 0 ? text : `${text} ${UNITS[unit]}`;
}

/** 990 pps, 1.23 Mpps. */
export function quantity(value: number, unit: string): string {
  const text = si(value);
  return text.includes(' ') ? text + unit : `${text} ${unit}`;
}

/** A whole number with its thousands apart: 1234567 -> "1,234,567". */
export function whole(value: number | bigint): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0)}%`;
}

/** A time in the unit that fits: 1.5 us, 12 ms, 3.2 s, 2 min 5 s. */
export function time(ns: number): string {
  if (ns < 1e3) return `${ns < 10 ? ns.toFixed(1) : Math.round(ns)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(1)} us`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(1)} ms`;
  if (ns < 60e9) return `${(ns / 1e9).toFixed(1)} s`;
  const seconds = Math.round(ns / 1e9);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${seconds % 60} s`;
}

/** Milliseconds of "500ms", "5s", "1.5s", "2m" or "1h". */
export function parseDuration(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  const [, digits = '', unit = ''] = match ?? [];
  const ms = Number(digits) * ({ ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit] ?? Number.NaN);
  // Timers hold 31 bits of milliseconds.
  if (!(ms >= 1 && ms <= 2 ** 31 - 1)) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: `${option} must be a time such as 500ms, 5s, 2m or 1h (1ms to 596h); it is "${text}"`,
    });
  }
  return Math.round(ms);
}

/** JSON that scripts read: counts beyond 2^53 as strings, the rest as it is. */
export function json(value: unknown, indent = process.stdout.isTTY ? 2 : 0): string {
  return JSON.stringify(
    value,
    (_, v: unknown) => (typeof v === 'bigint' ? v.toString() : v),
    indent,
  );
}
