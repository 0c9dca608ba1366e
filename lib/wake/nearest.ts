/** Of the idle times that there are, the one closest to `wanted`; undefined when there are none. */
export function nearest(values: readonly number[], wanted: number): number | undefined {
  return [...values].sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted))[0];
}
