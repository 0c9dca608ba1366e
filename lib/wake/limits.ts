// Every limit and constant of `vanity bench wake`, in one place.

export const wakeLimits = {
  /** Longest idle time before a signal. */
  idleNsMax: 1e9,
  idles: 32,
  /** Of one cell, over all rounds. */
  samplesMax: 1_000_000,
  roundsMax: 100,
  seedMax: 2 ** 32 - 1,
  /** Processors up to which every ordered pair is measured unless told otherwise. */
  allPairsCpus: 64,
  pairs: 4096,
} as const;

export const wakeDefaults = {
  idlesNs: [0, 1_000, 10_000, 100_000, 1_000_000, 10_000_000],
  /** What pairs that are not swept are measured at. */
  mapIdleNs: 10_000,
  rounds: { quick: 4, full: 8 },
  /** Of the whole command. */
  budgetS: { quick: 10, full: 60 },
  /** Start, clock, skews and writing: not for visits. */
  reserveS: { quick: 1.1, full: 3 },
  /** How long `adaptive` spins before it sleeps, at most; spin_us_max of a manifest that does not say. */
  adaptiveSpinNs: 50_000,
  seed: 1,
} as const;
