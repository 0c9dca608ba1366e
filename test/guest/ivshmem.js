// `vanity run` with a program that drives the peer of ivshmem_peer.py through its granted registers, memory and vectors.
// Runs inside the guest, after jobs/ivshmem.sh bound the device.
import { check, end, equal, vanity } from './harness.js';

const run = vanity('run', 'test/guest/programs/mailbox.toml', '--duration', '5s', '--json');
check('the run ends well', run.status === 0, run);
const { shards, vectors } = run.status === 0 ? JSON.parse(run.stdout) : {};
const { user } = shards?.mailbox ?? {};
check('work comes back right', user?.right > 20, shards);
equal('and none wrong', user?.wrong, 0);
check(
  'every slot has its vector',
  Object.values(vectors ?? {}).filter(({ taken }) => taken > 5).length === 4,
  vectors,
);
end();
