/** A sequence of numbers from a seed, the same on every machine (xorshift128, Marsaglia 2003). */
export class Random {
  readonly #state: Uint32Array;

  constructor(seed: number) {
    // Four words that differ for seeds that are close (splitmix32).
    let word = seed >>> 0;
    this.#state = Uint32Array.from({ length: 4 }, () => {
      word = (word + 0x9e3779b9) >>> 0;
      let mixed = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
      mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
      return (mixed ^ (mixed >>> 16)) >>> 0;
    });
  }

  /** From 0 up to 1. */
  next(): number {
    const state = this.#state as unknown as [number, number, number, number];
    let t = state[3];
    t ^= t << 11;
    t ^= t >>> 8;
    state[3] = state[2];
    state[2] = state[1];
    state[1] = state[0];
    state[0] = t ^ state[1] ^ (state[1] >>> 19);
    return state[0] / 2 ** 32;
  }

  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.next());
  }

  /** How many of a Poisson process come where `mean` are expected. */
  poisson(mean: number): number {
    if (mean > 30) {
      const gauss = Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
      return Math.max(0, Math.round(mean + Math.sqrt(mean) * gauss));
    }
    const limit = Math.exp(-mean);
    let count = 0;
    for (let product = this.next(); product > limit; product *= this.next()) count++;
    return count;
  }
}
