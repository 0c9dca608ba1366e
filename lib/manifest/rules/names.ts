import { limits } from '../limits.js';
import type { Model } from '../model.js';
import { pathText } from '../parse.js';

const pattern = /^[a-z0-9][a-z0-9-]*$/;

function problemOf(name: string): string | undefined {
  if (name === '') return 'it is empty';
  if (Buffer.byteLength(name) > limits.nameBytes) {
    return `it has ${Buffer.byteLength(name)} bytes, at most ${limits.nameBytes} are possible`;
  }
  if (pattern.test(name)) return undefined;
  const odd = /[^a-z0-9-]/u.exec(name)?.[0];
  return odd === undefined ? 'it starts with "-"' : `${JSON.stringify(odd)} cannot be in it`;
}

function mended(name: string, kind: string): string {
  const result = name
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .slice(0, limits.nameBytes)
    .replace(/^-+|-+$/g, '');
  return result === '' ? kind : result;
}

/** Names, and how many things may have one. */
export function nameRules(model: Model): void {
  const check = (
    name: string,
    kind: string,
    path: readonly (string | number)[],
    what: 'key' | 'value',
  ) => {
    const problem = problemOf(name);
    if (problem === undefined) return;
    model.report(
      'VANITY_E_NAME',
      { name, kind, problem, example: mended(name, kind) },
      model.at(path, what),
    );
  };
  if (model.system) check(model.system.name, 'system', ['system', 'name'], 'value');
  const kinds = [
    ['shard', model.shards, limits.shards],
    ['channel', model.channels, limits.channels],
    ['port', model.ports, limits.ports],
    ['device', model.devices, limits.devices],
  ] as const;
  for (const [kind, entries, limit] of kinds) {
    for (const { name, path } of entries.values()) check(name, kind, path, 'key');
    const first = [...entries.values()][limit];
    if (first) {
      model.report(
        'VANITY_E_LIMIT',
        {
          what: `${kind}s`,
          count: entries.size,
          limit,
          hint: `Remove ${entries.size - limit} of them; [${pathText(first.path)}] is the first too many.`,
        },
        model.at(first.path, 'key'),
      );
    }
  }
  if (model.shards.size === 0 && model.source.has(['shards'])) {
    model.report(
      'VANITY_E_KEY_MISSING',
      {
        where: 'the manifest',
        key: 'shards',
        expects: 'at least one shard',
        line: 'a section such as [shards.worker] with program = "count"',
      },
      model.at(['shards'], 'key'),
    );
  }
  for (const device of model.devices.values()) {
    for (const [index, region] of (device.value?.dma ?? []).entries()) {
      check(region.name, 'region', [...device.path, 'dma', index, 'name'], 'value');
    }
  }
}
