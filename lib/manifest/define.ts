import { resolve } from 'node:path';
import { ManifestSource } from './parse.js';
import { type Loaded, loadSource } from './plan.js';
import type { Manifest } from './schema.js';

/**
 * A manifest written in TypeScript: checked as the file would be, and given back with its type.
 * Relative paths in it start at `folder`, the current one when absent.
 */
export function defineManifest<const T extends Manifest>(manifest: T, folder = '.'): T {
  planManifest(manifest, folder);
  return manifest;
}

/** The plan of a manifest object, as `loadManifest` gives it for a file. */
export function planManifest(manifest: Manifest, folder = '.'): Loaded {
  return loadSource(ManifestSource.of(resolve(folder, 'manifest'), manifest));
}
