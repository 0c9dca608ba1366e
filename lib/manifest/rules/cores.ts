import type { Model } from '../model.js';
import type { Path } from '../parse.js';

/** Two that want one core. */
export function coreRules(model: Model): void {
  const oversubscribe = model.system?.oversubscribe ?? false;
  const owners = new Map<number, { who: string; path: Path; shards: string[] }>();
  const kernelCore = model.kernel?.core;
  if (typeof kernelCore === 'number') {
    owners.set(kernelCore, { who: 'the kernel', path: ['kernel', 'core'], shards: [] });
  }
  for (const { name, path, value } of model.shards.values()) {
    if (!value) continue;
    if (oversubscribe && value.fifo > 0) {
      model.warn('VANITY_W_FIFO_SHARED', { shard: name, fifo: value.fifo }, [...path, 'fifo']);
    }
    if (typeof value.core !== 'number') continue;
    const at = [...path, 'core'];
    const owner = owners.get(value.core);
    if (!owner) {
      owners.set(value.core, { who: `shard "${name}"`, path: at, shards: [name] });
    } else if (oversubscribe) {
      owner.shards.push(name);
    } else {
      model.report(
        'VANITY_E_CORE_CLASH',
        { first: owner.who, second: `shard "${name}"`, core: value.core },
        at,
        [{ message: `${owner.who} wants it here`, location: model.at(owner.path) }],
      );
    }
  }
}
