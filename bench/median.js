/** The middle of the values, or the mean of the two in the middle. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The value that a share `q` of the sorted values do not exceed. */
export const quantile = (sorted, q) =>
  sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * q) - 1)];
