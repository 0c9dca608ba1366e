/** Damerau–Levenshtein distance (adjacent transpositions count one). */
export function distance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(
        (previous[j] as number) + 1,
        (current[j - 1] as number) + 1,
        (previous[j - 1] as number) + cost,
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (before[j - 2] as number) + 1);
      }
      current[j] = best;
    }
    before = previous;
    previous = current;
  }
  return previous[b.length] as number;
}

const farthest = 3;

/** The candidate that was probably meant, or undefined: at most three slips, and fewer than letters. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length > 64) return undefined;
  let best: string | undefined;
  let bestDistance = farthest + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) > farthest) continue;
    const d = distance(word.toLowerCase(), candidate);
    if (d < bestDistance && d < Math.max(candidate.length, word.length)) {
      best = candidate;
      bestDistance = d;
    }
  }
  return best;
}

/** `"a", "b" or "c"`, cut after some. */
export function list(words: Iterable<string>, conjunction = 'or', most = 12): string {
  const all = [...words].map((word) => JSON.stringify(word));
  if (all.length > most) return `${all.slice(0, most).join(', ')}, … (${all.length} in all)`;
  if (all.length < 2) return all.join('');
  return `${all.slice(0, -1).join(', ')} ${conjunction} ${all.at(-1)}`;
}
