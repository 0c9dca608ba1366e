// The figures that a bench comes to, and what they must reach.
import { whole } from './format.js';
import { table } from './table.js';

export interface Figure {
  name: string;
  value: number;
  unit: string;
  /** What it must reach, such as ">= 10"; null for figures that only inform. */
  target: string | null;
  met: boolean | null;
}

/** A figure that misses its target is a result, not an error; `met` says so. */
export function figureLines(figures: readonly Figure[]): string[] {
  if (figures.length === 0) return [];
  return table(
    [
      { title: 'figure' },
      { title: 'value', right: true },
      { title: 'unit' },
      { title: 'target' },
      { title: 'met' },
    ],
    figures.map(({ name, value, unit, target, met }) => [
      name,
      Math.abs(value) < 1000 && !Number.isInteger(value) ? value.toFixed(2) : whole(value),
      unit,
      target ?? '',
      met === null ? '' : met ? 'yes' : 'NO',
    ]),
  );
}
