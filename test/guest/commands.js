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
import { check, end, equal, MAIN, refused, vanity } from './harness.js';

const RUNTIME = '/dev/shm/vanity-0';

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
// QEMU's network would announce a way to everywhere.
host.write(`proc/sys/net/ipv6/conf/${name}/accept_ra`, '0');
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

// -- as an ordinary user
const user = ['--reuid', '1000', '--regid', '1000', '--clear-groups', process.execPath, MAIN];
const humble = spawnSync('setpriv', [...user, 'device', 'bind', nic], { encoding: 'utf8' });
check(
  'an ordinary user is told that root must do it',
  /VANITY_E_DEVICE_RIGHTS.*\nhint: Type: sudo vanity device bind/.test(humble.stderr),
  { status: humble.status, stderr: humble.stderr, error: String(humble.error) },
);

end();
