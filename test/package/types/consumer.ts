// A user's file: it must compile against the package as it is installed, and wrong use must not.
import { defineManifest, type Manifest } from 'vanity';
import { native, type SystemFailure, sim, type TestMode } from 'vanity/testing';

const system = defineManifest({
  system: { name: 'typed' },
  shards: { in: { program: 'generate', options: { count: 10 } }, out: { program: 'sink' } },
  channels: { all: { from: 'in', to: 'out', capacity: 1024, overflow: 'block' } },
});
const name: string = system.system.name;
const plain: Manifest = system;

// @ts-expect-error: a system needs a name
defineManifest({ system: {}, shards: {} });
const lossy = { from: 'a', to: 'b', overflow: 'lose' } as const;
// @ts-expect-error: no such policy
defineManifest({ system: { name: 'x' }, channels: { a: lossy } });

const modes: readonly TestMode[] = [native, sim];
const repro = (failure: SystemFailure): string | undefined => failure.repro;
// @ts-expect-error: a number of schedules
sim('vanity.toml', { schedules: 'all' });

export { modes, name, plain, repro };
