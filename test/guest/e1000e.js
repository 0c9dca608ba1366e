// `vanity run` with a port of two queues on an e1000e that sends everything back to the kernel's NIC on the same wire.
// Runs inside the guest, after jobs/e1000e.sh bound the NIC.
import { spawn } from 'node:child_process';
import { check, end, equal, MAIN } from './harness.js';

const COUNT = 3000;
// Beyond the address, what the job says: `--set KEY=VALUE`.
const more = process.argv.slice(2);
const { VANITY_NIC: nic, VANITY_PEER: peer } = process.env;

const run = spawn(process.execPath, [
  ...[MAIN, 'run', 'test/guest/e1000e.toml', '--json', '--set', `devices.nic.pci=${nic}`, ...more],
]);
let out = '';
let said = '';
run.stdout.on('data', (text) => {
  out += text;
});
run.stderr.on('data', (text) => {
  said += text;
});
const ended = new Promise((resolve) => run.on('close', resolve));
const echo = await new Promise((resolve) => {
  const child = spawn('python3', ['test/guest/echo.py', peer, String(COUNT)]);
  let text = '';
  child.stdout.on('data', (data) => {
    text += data;
  });
  child.stderr.on('data', (data) => {
    text += data;
  });
  child.on('close', () => resolve(text.trim()));
});
equal('every frame comes back as it was sent', echo, String(COUNT));
run.kill('SIGINT');
const code = await ended;
check('the run ends well', code === 0, { code, said });
const summary = code === 0 ? JSON.parse(out) : {};
const { wire } = summary.ports ?? {};
check(
  'both receive queues had frames',
  wire?.rx_queues.every(({ packets }) => packets > 500),
  wire,
);
equal(
  'each shard sent by its own queue what it had received',
  wire?.tx_queues.map(({ packets }) => packets),
  wire?.rx_queues.map(({ packets }) => packets),
);
const vectors = Object.values(summary.vectors ?? {});
check(
  'both queues slept and were woken',
  vectors.filter(({ shard, taken }) => shard !== 'kernel' && taken > 0).length === 2,
  vectors,
);
equal('nothing is lost', summary.lost, 0);
check(
  'all buffers are home',
  Object.values(summary.pools ?? { none: { leaked: 1 } }).every(({ leaked }) => leaked === 0),
  summary.pools,
);
end();
