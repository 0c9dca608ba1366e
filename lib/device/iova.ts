// Whether regions find room among the I/O addresses that are free: as native/device/iova.hpp will place them at boot,
// the highest place first, and never at address 0.
import type { Window } from './group.js';

export interface Request {
  readonly bytes: number;
  /** The region ends below 2^bits. */
  readonly bits: number;
}

export interface Refusal {
  readonly below: number;
  /** The largest gap that is left below. */
  readonly largest: number;
}

// Pages of the IOMMU: large ones where a region has room for one.
const LARGE = 2n ** 21n;
const SMALL = 4096n;
const FLOOR = 4096n;

/** The requests that find no room. Those with the fewest bits choose first, and of them the largest. */
export function unplaced<T extends Request>(
  requests: readonly T[],
  windows: readonly Window[],
): (T & Refusal)[] {
  let free = windows
    .map(({ first, last }) => ({ first: first < FLOOR ? FLOOR : first, last }))
    .filter(({ first, last }) => first <= last);
  const refused: (T & Refusal)[] = [];
  const order = [...requests].sort((a, b) => a.bits - b.bits || b.bytes - a.bytes);
  for (const request of order) {
    const bytes = BigInt(request.bytes);
    const limit = 1n << BigInt(request.bits);
    const align = bytes >= LARGE ? LARGE : SMALL;
    const last = (window: Window) => (window.last < limit ? window.last : limit - 1n);
    const place = (window: Window) => ((last(window) + 1n - bytes) / align) * align;
    const fits = (window: Window) =>
      last(window) + 1n - bytes >= window.first && place(window) >= window.first;
    const home = free.findLast(fits);
    if (home === undefined) {
      const largest = free.reduce((most, window) => {
        const gap = last(window) + 1n - window.first;
        return gap > most ? gap : most;
      }, 0n);
      refused.push({ ...request, below: request.bits, largest: Number(largest) });
      continue;
    }
    const first = place(home);
    free = free.flatMap((window) =>
      window !== home
        ? [window]
        : [
            { first: window.first, last: first - 1n },
            { first: first + bytes, last: window.last },
          ].filter((part) => part.first <= part.last),
    );
  }
  return refused;
}
