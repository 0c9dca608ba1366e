// NIC ports before, at and after a run, as the command line tells of them. Runs inside the guest, as root;
// jobs/nic-ports.sh names the devices.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { checkCommand } from '../../dist/cli/check.js';
import { summarize } from '../../dist/device/describe.js';
import { Records } from '../../dist/device/record.js';
import { Host } from '../../dist/host/host.js';
import { check, end, equal, MAIN, vanity } from './harness.js';

const { VANITY_E1000E: nic, VANITY_VIRTIO_NET: virtio } = process.env;
const host = new Host();
const records = Records.here();
const driverOf = (address) => host.link(`sys/bus/pci/devices/${address}/driver`) ?? null;
const { mac } = summarize(host, records).find(({ address }) => address === nic).interfaces[0];

// -- what the host can tell before a device is touched
const ports = '/run/nics.toml';
const nics = ({ wan = 'rx = "a"\ntx = "b"', first = 'virtio-net', more = '' } = {}) =>
  `[system]\nname = "x"\noversubscribe = true\n[shards.a]\nprogram = "forward"\n[shards.b]\nprogram = "forward"
[channels.ab]\nfrom = "a"\nto = "b"\n[channels.ba]\nfrom = "b"\nto = "a"
[ports.wan]\ndriver = "device"\ndevice = "one"\nbuffers = 1024\n${wan}
[ports.lan]\ndriver = "device"\ndevice = "two"\nbuffers = 1024\nrx = "b"\ntx = "a"
[devices.one]\npci = "${virtio}"\ndriver = "${first}"\n${more}
[devices.two]\npci = "mac=${mac}"\ndriver = "e1000e"\n`;
function checked(manifest_, options = {}) {
  writeFileSync(ports, nics(manifest_));
  let text = '';
  const out = (more) => {
    text += more;
  };
  const code = checkCommand(ports, { host: true, json: true, out, err: out, ...options });
  return { code, ...JSON.parse(text) };
}
const codesOf = ({ errors }) => errors.map(({ code }) => code);
const early = checked();
equal(
  'NICs that are not handed over yet are warned of',
  [early.code, early.warnings.map(({ code }) => code)],
  [0, ['VANITY_W_DEVICE_DRIVER', 'VANITY_W_DEVICE_DRIVER']],
);
const ran = vanity('run', ports, '--duration', '1s', '--json');
equal(
  'and nothing for run, which leaves them where they are',
  [ran.status, JSON.parse(ran.stdout).errors.map(({ code }) => code), driverOf(nic)],
  [1, ['VANITY_E_VFIO_DRIVER', 'VANITY_E_VFIO_DRIVER'], 'e1000e'],
);

// Four at once: one takes them, the others find them taken.
const crowd = await Promise.all(
  [1, 2, 3, 4].map(
    () =>
      new Promise((resolve) => {
        const child = spawn(process.execPath, [MAIN, 'device', 'bind', '--json', nic, virtio]);
        let text = '';
        child.stdout.on('data', (more) => {
          text += more;
        });
        child.on('close', (status) => resolve({ status, text }));
      }),
  ),
);
equal(
  'four that bind at once all end well',
  crowd.map(({ status }) => status),
  [0, 0, 0, 0],
);
equal(
  'and each device was taken once',
  crowd.flatMap(({ text }) => JSON.parse(text).devices).filter(({ changed }) => changed).length,
  2,
);
equal('vfio-pci has both', [driverOf(nic), driverOf(virtio)], ['vfio-pci', 'vfio-pci']);

const good = checked();
equal('check --host finds nothing', [good.code, good.errors], [0, []]);
equal(
  'it tells the addresses',
  good.devices.map(({ address }) => address),
  [virtio, nic],
);
check(
  'and the windows that it estimates',
  good.devices.every(({ estimated_windows: windows }) => windows.length > 1),
  good.devices,
);
equal(
  'and what drivers are granted',
  good.grants.map(({ pools }) => pools.map(({ name, access }) => `${name} ${access}`)),
  [
    ['wan read-write', 'lan read-only'],
    ['wan read-only', 'lan read-write'],
  ],
);
equal('the other driver', codesOf(checked({ first: 'e1000e' })), ['VANITY_E_DEVICE_NIC']);
equal('a backend that Debian has not', codesOf(checked({ more: 'backend = "cdev"' })), [
  'VANITY_E_DEVICE_BACKEND',
]);
const crowded = `rx = [${'"a", '.repeat(32)}]`;
equal(
  'more queues than vectors',
  checked({ wan: crowded }).warnings.map(({ code }) => code),
  ['VANITY_W_NIC_VECTORS'],
);
equal('unless they are polled', checked({ wan: `${crowded}\ninterrupts = false` }).warnings, []);

// -- a run
writeFileSync(ports, nics());
const run = vanity('run', ports, '--duration', '1s', '--json');
check('it ends well', run.status === 0, run);
const summary = run.status === 0 ? JSON.parse(run.stdout) : {};
equal(
  'devices were had through their group, and are given back',
  Object.values(summary.devices ?? {}).map(({ address, driver, backend, state }) => [
    address,
    driver,
    backend,
    state,
  ]),
  [
    [virtio, 'virtio-net', 'group', 'returned'],
    [nic, 'e1000e', 'group', 'returned'],
  ],
);
equal(
  'a vector a queue and one for the link, each where it belongs',
  Object.values(summary.vectors ?? {}).map(({ device, shard, trigger }) => [
    device,
    shard,
    trigger,
  ]),
  [
    ['one', 'a', 'msix'],
    ['one', 'kernel', 'msix'],
    ['two', 'b', 'msix'],
    ['two', 'kernel', 'msix'],
  ],
);
equal('nothing is lost', summary.lost, 0);
equal(
  'all buffers are home',
  Object.values(summary.pools ?? {}).map(({ leaked }) => leaked),
  [0, 0],
);
const told = vanity('run', ports, '--duration', '500ms', '--quiet');
check(
  'the tables at the end have them too',
  /^device +address +driver/m.test(told.stdout) && /^vector +to +trigger/m.test(told.stdout),
  told,
);

// -- Linux wants a NIC back meanwhile
const long = spawn(process.execPath, [MAIN, 'run', ports, '--duration', '8s', '--json']);
const said = { out: '', err: '' };
long.stdout.on('data', (more) => {
  said.out += more;
});
const runs = new Promise((resolve) => {
  long.stderr.on('data', (more) => {
    said.err += more;
    if (/ runs \(process/.test(said.err)) resolve();
  });
});
const over = new Promise((resolve) => long.on('close', resolve));
await Promise.race([runs, over]);
// It waits until the device is closed.
spawn('sh', ['-c', `echo ${virtio} > /sys/bus/pci/drivers/vfio-pci/unbind`]);
equal('the system runs on and ends well', await over, 0);
check('it says so at once', /warning\[VANITY_W_DEVICE_WANTED\].*one/.test(said.err), said.err);
const after = JSON.parse(said.out || '{}');
equal(
  'and at the end',
  after.warnings?.map(({ code }) => code).filter((code) => code.includes('DEVICE')),
  ['VANITY_W_DEVICE_WANTED'],
);
equal(
  'the device was given back, its port is down, the other one was not touched',
  [after.devices?.one.state, after.devices?.one.requests, after.ports?.wan.state],
  ['returned', 1, 'down'],
);
equal(
  'no buffer stayed away',
  after.pools && Object.values(after.pools).map((p) => p.leaked),
  [0, 0],
);

const back = vanity('device', 'unbind', nic, virtio);
equal('unbind', back.status, 0);
equal('their drivers are back', [driverOf(nic), driverOf(virtio)], ['e1000e', 'virtio-pci']);
end();
