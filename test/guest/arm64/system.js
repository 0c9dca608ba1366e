// Vanity in Node, in the guest of jobs/arm64-node.sh: what it says of the host and of a NIC, and a system that sends back all
// that the kernel's NIC on the same wire sends.
import { spawn, spawnSync } from 'node:child_process';
import { check, end, equal, vanity } from '../harness.js';
import { checkEnd, RunningSystem, until } from '../system.js';

const MANIFEST = 'test/guest/one.toml';
const { VANITY_NIC: nic, VANITY_PEER: peer } = process.env;

equal('the processor', process.arch, 'arm64');
const doctor = vanity('doctor', '--json');
check(
  'doctor',
  /futex/.test(JSON.parse(doctor.stdout).rows.find((r) => r.name === 'wait').found),
  doctor,
);
const listed = JSON.parse(vanity('device', 'list', '--json').stdout).devices;
equal('vfio-pci has the NIC', listed.find(({ address }) => address === nic)?.driver, 'vfio-pci');
const place = `devices.nic.pci=${nic}`;
const checked = vanity('check', '--host', MANIFEST, '--set', place);
check('check --host finds nothing', checked.status === 0, checked);

const system = new RunningSystem('one', MANIFEST, [place]);
await system.started();
spawnSync('ip', ['addr', 'add', '10.9.0.2/24', 'dev', peer]);
const pings = spawn('arping', ['-I', peer, '-c', '20', '10.9.0.9'], { stdio: 'ignore' });
const mirrored = await until(() => system.stats().ports.lan.tx_packets >= 10, 120_000);
check('what comes in goes out', mirrored, system.stats().ports);
pings.kill();
const report = await system.stop();
checkEnd(report);
equal('each once', report.ports.lan.tx_packets, report.ports.lan.rx_packets);
equal(
  'the device is given back',
  Object.values(report.devices).map(({ backend, state }) => [backend, state]),
  [['group', 'returned']],
);
check(
  'its vector was raised',
  Object.values(report.vectors).some(({ raised }) => raised > 0),
  report.vectors,
);
end();
