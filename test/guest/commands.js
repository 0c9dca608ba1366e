// Hands real devices to vfio-pci and back, kills the process in the middle, and looks at what is left. Runs inside the
// guest, as root; jobs/commands.sh names the devices.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { checkCommand } from '../../dist/cli/check.js';
import { bind, unbind } from '../../dist/device/bind.js';
import { examineDevice, summarize } from '../../dist/device/describe.js';
import { Records } from '../../dist/device/record.js';
import { Host } from '../../dist/host/host.js';

const RUNTIME = '/dev/shm/vanity-0';
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const {
  VANITY_E1000E: nic,
  VANITY_EDU: edu,
  VANITY_VIRTIO_NET: virtio,
  VANITY_NVME: nvme,
  VANITY_TWIN_0: twin0,
  VANITY_TWIN_1: twin1,
} = process.env;

const host = new Host();
const records = new Records(RUNTIME);

if (process.argv[2] === 'killed') {
  // A process that ends right after write number N.
  const [, , , command, address, at] = process.argv;
  let writes = 0;
  host.write = (path, text) => {
    Host.prototype.write.call(host, path, text);
    if (++writes === Number(at)) process.kill(process.pid, 'SIGKILL');
  };
  (command === 'bind' ? bind : unbind)(host, records, [address]);
  process.exit(9);
}

let passed = 0;
let failed = 0;
function check(what, truth, detail = '') {
  if (truth) passed++;
  else failed++;
  console.log(
    `${truth ? 'ok' : 'not ok'} ${what}${truth || detail === '' ? '' : `: ${JSON.stringify(detail)}`}`,
  );
}
function equal(what, found, wanted) {
  check(what, JSON.stringify(found) === JSON.stringify(wanted), { found, wanted });
}
function refused(what, run, code, pattern = /./) {
  try {
    check(what, false, run());
  } catch (error) {
    check(
      what,
      error.code === code && pattern.test(error.message),
      `${error.code} ${error.message}`,
    );
  }
}

function vanity(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}
const driverOf = (address) => host.link(`sys/bus/pci/devices/${address}/driver`) ?? null;
const stateOf = (address) => [
  driverOf(address),
  host.read(`sys/bus/pci/devices/${address}/driver_override`),
  host.list(`${RUNTIME}/devices`).length,
];
const has = (address) => summarize(host, records).find((device) => device.address === address);

// -- what there is, through the command line
const listed = vanity('device', 'list', '--json');
equal('list ends well', [listed.status, listed.stderr], [0, '']);
const devices = JSON.parse(listed.stdout).devices;
const listedNic = devices.find(({ address }) => address === nic);
equal(
  'list tells of the e1000e',
  [
    listedNic.id,
    listedNic.driver,
    listedNic.msix_vectors,
    listedNic.interfaces.length,
    listedNic.in_use,
  ],
  ['8086:10d3', 'e1000e', 5, 1, []],
);
const mac = listedNic.interfaces[0].mac;
check(
  'the folder of the host is in use',
  devices.some(({ in_use }) => in_use.some((use) => /^host is mounted/.test(use))),
  devices,
);
equal('the disk has its serial number', has(nvme).serials, ['disk-1']);
equal('the edu has one MSI', examineDevice(host, records, edu).interrupts.msi.vectors, 1);
check(
  'the virtio NIC is a modern one',
  examineDevice(host, records, virtio).capabilities.includes('virtio modern'),
);
const pristine = stateOf(nic);
equal('nothing is noted before', pristine, ['e1000e', '(null)', 0]);

// -- there and back, through the command line
const bound = vanity('device', 'bind', `mac=${mac}`);
equal('bind by MAC', [bound.status, bound.stdout], [0, `${nic}: vfio-pci, before: e1000e\n`]);
equal('vfio-pci has it', stateOf(nic), ['vfio-pci', 'vfio-pci', 1]);
const info = examineDevice(host, records, `mac=${mac}`);
equal('it is found by MAC while it shows none', [info.address, info.obstacles], [nic, []]);
check('its nodes are there', info.nodes.length >= 1);
const manifest = '/run/nic.toml';
const toml = (
  bytes,
) => `[system]\nname = "x"\n[shards.a]\nprogram = "generate"\n[shards.b]\nprogram = "sink"
[channels.ab]\nfrom = "a"\nto = "b"\n[devices.nic]\npci = "mac=${mac}"
mmio = [{ bar = 0, offset = 0, bytes = ${bytes}, to = "a" }]
irqs = [{ vector = 4, to = "a" }]\ndma = [{ name = "ring", bytes = "2MiB", to = "a" }]\n`;
writeFileSync(manifest, toml(131072));
const against = () => {
  let said = '';
  const say = (text) => {
    said += text;
  };
  return [checkCommand(manifest, { host: true, out: () => {}, err: say }), said];
};
equal('check --host finds nothing', against(), [0, '']);
writeFileSync(manifest, toml(131073));
const [code, said] = against();
check(
  'check --host finds a range too long',
  code === 1 && /VANITY_E_BAR.*128 KiB/.test(said),
  said,
);
const back = vanity('device', 'unbind', nic);
equal('unbind', [back.status, back.stdout], [0, `${nic}: e1000e, before: vfio-pci\n`]);
equal('everything is as before', stateOf(nic), pristine);
equal('its interface is back', has(nic).interfaces[0]?.mac, mac);

// -- killed in the middle, at every write there and back
const self = fileURLToPath(import.meta.url);
const killed = (command, at) =>
  spawnSync(process.execPath, [self, 'killed', command, nic, String(at)], { stdio: 'inherit' })
    .signal;
for (const at of [1, 2, 3]) {
  equal(`bind is killed after write ${at}`, killed('bind', at), 'SIGKILL');
  check('it left a note', records.read(nic)?.driver === 'e1000e', stateOf(nic));
  if (at === 2) {
    equal('bind goes on from there', bind(host, records, [nic])[0].before, 'e1000e');
    equal('and vfio-pci has it', driverOf(nic), 'vfio-pci');
  }
  unbind(host, records, [nic]);
  equal('unbind goes back', stateOf(nic), pristine);
}
for (const at of [1, 2, 3]) {
  bind(host, records, [nic]);
  equal(`unbind is killed after write ${at}`, killed('unbind', at), 'SIGKILL');
  unbind(host, records, [nic]);
  equal('unbind goes on', stateOf(nic), pristine);
}

// -- without a note the kernel chooses
bind(host, records, [nic]);
records.remove(nic);
unbind(host, records, [nic]);
equal('without a note the kernel chooses its own driver', stateOf(nic), pristine);

// -- a device without a driver
bind(host, records, [edu]);
equal('the edu goes to vfio-pci', driverOf(edu), 'vfio-pci');
unbind(host, records, [edu]);
equal('and has no driver afterwards', stateOf(edu), [null, '(null)', 0]);

// -- open in a process
bind(host, records, [nic]);
const [node] = examineDevice(host, records, nic).nodes;
const opened = openSync(node, 'r+');
const holder = spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', opened] });
closeSync(opened);
refused(
  'not taken from who has it open',
  () => unbind(host, records, [nic]),
  'VANITY_E_DEVICE_BUSY',
  /open in .*\(\d+\)/,
);
check(
  'list says so',
  has(nic).in_use.some((use) => use.includes(`(${holder.pid})`)),
  has(nic).in_use,
);
holder.kill('SIGKILL');
await new Promise((resolve) => holder.on('exit', resolve));
unbind(host, records, [nic]);

// -- a group is whole or nobody's
refused(
  'one of two twins',
  () => bind(host, records, [twin0]),
  'VANITY_E_GROUP',
  new RegExp(twin1),
);
equal('nothing happened to it', driverOf(twin0), null);
equal(
  'both twins',
  bind(host, records, [twin0, twin1]).map(({ driver }) => driver),
  ['vfio-pci', 'vfio-pci'],
);
equal(
  'both back',
  unbind(host, records, [twin0, twin1]).map(({ driver }) => driver),
  [null, 'virtio-pci'],
);
refused('a bridge', () => bind(host, records, [bridge()]), 'VANITY_E_DEVICE_KIND');
function bridge() {
  return summarize(host, records).find(({ kind }) => kind === 'PCI bridge').address;
}

// -- what is in use
const disk = '/dev/nvme0n1';
const claim = openSync(disk, constants.O_RDONLY | constants.O_EXCL);
refused(
  'a disk that somebody has claimed',
  () => bind(host, records, [nvme]),
  'VANITY_E_DEVICE_IN_USE',
  /nvme0n1 is claimed/,
);
closeSync(claim);
equal('a free disk', bind(host, records, [nvme])[0].driver, 'vfio-pci');
equal('is given back', unbind(host, records, [nvme])[0].driver, 'nvme');
for (let wait = 0; wait < 100 && !host.exists(disk); wait++) {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
equal('and is there again', host.exists(disk), true);

const busybox = (...args) => spawnSync('/proc/1/root/bin/busybox', args, { encoding: 'utf8' });
const name = has(virtio).interfaces[0].name;
busybox('ip', 'addr', 'add', '10.9.8.7/24', 'dev', name);
busybox('ip', 'link', 'set', name, 'up');
equal('the only interface with an address', has(virtio).in_use, [
  `${name} is the only interface with an address`,
]);
busybox('ip', 'route', 'add', 'default', 'via', '10.9.8.1');
refused(
  'the way to the network',
  () => bind(host, records, [virtio]),
  'VANITY_E_DEVICE_IN_USE',
  /default route/,
);
equal('unless forced', bind(host, records, [virtio], { force: true })[0].driver, 'vfio-pci');
equal('and back', unbind(host, records, [virtio])[0].driver, 'virtio-pci');

// -- NIC ports: what the host can tell before a device is touched
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
unbind(host, records, [nic, virtio]);
equal('both are given back', [driverOf(nic), driverOf(virtio)], ['e1000e', 'virtio-pci']);

// -- as an ordinary user
const user = ['--reuid', '1000', '--regid', '1000', '--clear-groups', process.execPath, MAIN];
const humble = spawnSync('setpriv', [...user, 'device', 'bind', nic], { encoding: 'utf8' });
check(
  'an ordinary user is told that root must do it',
  /VANITY_E_DEVICE_RIGHTS.*\nhint: Type: sudo vanity device bind/.test(humble.stderr),
  { status: humble.status, stderr: humble.stderr, error: String(humble.error) },
);

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
