import type { WakeReport } from '../../wake/result.js';
import type { Section } from './parts.js';

export function comparisonSection(_before: WakeReport, _after: WakeReport): Section | undefined {
  return undefined;
}
