import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { bind, unbind } from '../../dist/device/bind.js';
import { examineDevice, summarize } from '../../dist/device/describe.js';
import { scan } from '../../dist/device/pci.js';
import { Records } from '../../dist/device/record.js';
import { select } from '../../dist/device/select.js';
import * as M from './helpers/machine.js';

function lab(t, changes) {
  const root = M.machine(t, changes);
  const records = new Records(join(root, 'run'));
  return {
    root,
    records,
    state: (address) => M.stateOf(root, address),
    bind: (selectors, options, crash) =>
      bind(new M.Kernel(root, crash), records, [selectors].flat(), options),
    unbind: (selectors, options, crash) =>
      unbind(new M.Kernel(root, crash), records, [selectors].flat(), options),
  };
}

const files = (root) => {
  try {
    return readdirSync(join(root, 'run', 'devices'));
  } catch {
    return [];
  }
};

const BOUND = { driver: 'vfio-pci', override: 'vfio-pci', listed: ['vfio-pci'], interfaces: [] };

test('bind and unbind: there and back', (t) => {
  const it = lab(t);
  const before = it.state(M.NIC);
  t.is(before.driver, 'e1000e');
  t.deepEqual(it.bind('01:00.0'), [
    { address: M.NIC, driver: 'vfio-pci', before: 'e1000e', changed: true },
  ]);
  t.deepEqual(it.state(M.NIC), BOUND);
  t.deepEqual(files(it.root), [`${M.NIC}.json`]);
  t.deepEqual(it.bind(M.NIC), [
    { address: M.NIC, driver: 'vfio-pci', before: 'e1000e', changed: false },
  ]);
  t.deepEqual(it.unbind('8086:10d3'), [
    { address: M.NIC, driver: 'e1000e', before: 'vfio-pci', changed: true },
  ]);
  t.deepEqual(it.state(M.NIC), before);
  t.deepEqual(files(it.root), []);
  t.false(it.unbind(M.NIC)[0].changed);
});

test('a device without a driver has none afterwards', (t) => {
  const it = lab(t);
  const before = it.state(M.EDU);
  it.bind(M.EDU);
  t.is(it.state(M.EDU).driver, 'vfio-pci');
  t.is(it.unbind(M.EDU)[0].driver, null);
  t.deepEqual(it.state(M.EDU), before);
});

test('what a driver showed is remembered while vfio-pci has the device', (t) => {
  const it = lab(t);
  it.bind('mac=52:54:00:00:00:02');
  const host = new M.Kernel(it.root);
  t.deepEqual(scan(host).find(({ address }) => address === M.NIC).interfaces, []);
  t.is(select('mac=52:54:00:00:00:02', scan(host), it.records.all()).address, M.NIC);
  const info = examineDevice(host, it.records, M.NIC);
  t.is(info.driver_before, 'e1000e');
  t.is(info.dma_bits, 64);
  t.deepEqual(info.nodes, ['/dev/vfio/8']);
  t.deepEqual(info.obstacles, []);
  t.is(it.unbind('mac=52:54:00:00:00:02')[0].driver, 'e1000e');
});

// Three writes each way; a crash before or after each, and again on the way back.
const WRITES = 3;
const points = Array.from({ length: WRITES }, (_, i) => i + 1).flatMap((at) => [
  { at, when: 'before' },
  { at, when: 'after' },
]);

const after = ({ at, when }) => `${when} write ${at}`;

test('bind cut off anywhere: unbind goes back, bind goes on', (t) => {
  const it = lab(t);
  const before = it.state(M.NIC);
  for (const crash of points) {
    t.throws(() => bindOnly(it, crash), { instanceOf: M.Crash });
    t.deepEqual(files(it.root), [`${M.NIC}.json`], after(crash));
    it.unbind(M.NIC);
    t.deepEqual(it.state(M.NIC), before, after(crash));
    t.deepEqual(files(it.root), []);

    t.throws(() => bindOnly(it, crash), { instanceOf: M.Crash });
    t.is(it.bind(M.NIC)[0].before, 'e1000e', after(crash));
    t.deepEqual(it.state(M.NIC), BOUND, after(crash));
    it.unbind(M.NIC);
    t.deepEqual(it.state(M.NIC), before, after(crash));
  }
});

test('unbind cut off anywhere: unbind goes on, bind goes back', (t) => {
  const it = lab(t);
  const before = it.state(M.NIC);
  for (const crash of points) {
    for (const way of ['on', 'back']) {
      it.bind(M.NIC);
      t.throws(() => it.unbind(M.NIC, {}, crash), { instanceOf: M.Crash });
      t.deepEqual(files(it.root), [`${M.NIC}.json`], after(crash));
      if (way === 'back') {
        t.is(it.bind(M.NIC)[0].driver, 'vfio-pci', after(crash));
        t.is(it.state(M.NIC).driver, 'vfio-pci', after(crash));
      }
      it.unbind(M.NIC);
      t.deepEqual(it.state(M.NIC), before, after(crash));
      t.deepEqual(files(it.root), []);
    }
  }
});

test('both cut off anywhere: the next unbind mends it', (t) => {
  const it = lab(t);
  const before = it.state(M.NIC);
  for (const first of points) {
    for (const second of points) {
      t.throws(() => bindOnly(it, first), { instanceOf: M.Crash });
      try {
        it.unbind(M.NIC, {}, second);
      } catch (error) {
        t.true(error instanceof M.Crash);
      }
      it.unbind(M.NIC);
      t.deepEqual(it.state(M.NIC), before, `${after(first)}, ${after(second)}`);
      t.deepEqual(files(it.root), []);
    }
  }
});

// A process that is gone rolls nothing back: whatever it would still write is lost as well.
function bindOnly(it, crash) {
  class Gone extends M.Kernel {
    write(path, text) {
      if (this.gone) throw new M.Crash();
      try {
        super.write(path, text);
      } catch (error) {
        this.gone = error instanceof M.Crash;
        throw error;
      }
    }
  }
  const kernel = new Gone(it.root, crash);
  const records = new Records(join(it.root, 'run'));
  records.remove = () => {
    throw new M.Crash();
  };
  try {
    bind(kernel, records, [M.NIC]);
  } catch (error) {
    throw kernel.gone ? new M.Crash() : error;
  }
}

test('a process killed at any write leaves a way back', (t) => {
  const child = fileURLToPath(new URL('./helpers/bind-killed.js', import.meta.url));
  const it = lab(t);
  const before = it.state(M.NIC);
  for (const at of [1, 2, 3]) {
    const { signal } = spawnSync(process.execPath, [child, it.root, M.NIC, String(at)]);
    t.is(signal, 'SIGKILL');
    t.deepEqual(files(it.root), [`${M.NIC}.json`]);
    it.unbind(M.NIC);
    t.deepEqual(it.state(M.NIC), before);
  }
});

test('the record is there before the first write, and whole', (t) => {
  const it = lab(t);
  const seen = [];
  class Watching extends M.Kernel {
    write(path, text) {
      seen.push(JSON.parse(readFileSync(it.records.path(M.NIC), 'utf8')).driver);
      super.write(path, text);
    }
  }
  bind(new Watching(it.root), it.records, [M.NIC]);
  t.deepEqual(seen, ['e1000e', 'e1000e', 'e1000e']);
});

test('half a record is no record', (t) => {
  const it = lab(t);
  mkdirSync(it.records.folder, { recursive: true });
  writeFileSync(`${it.records.path(M.NIC)}.tmp`, '{"address":');
  t.is(it.bind(M.NIC)[0].driver, 'vfio-pci');
  it.unbind(M.NIC);
  t.deepEqual(files(it.root), []);
});

test('a damaged record is an error that says how to go on', (t) => {
  const it = lab(t);
  it.bind(M.NIC);
  for (const text of ['', '{}', '{"address":"0000:01:00.0","driver":"../../evil"}', 'null']) {
    writeFileSync(it.records.path(M.NIC), text);
    const error = t.throws(() => it.unbind(M.NIC), { code: 'VANITY_E_DEVICE_RECORD' });
    t.regex(error.hint, /sudo rm .*0000:01:00\.0\.json && sudo vanity device unbind 0000:01:00\.0/);
  }
  it.records.remove(M.NIC);
  t.is(it.unbind(M.NIC)[0].driver, 'e1000e', 'without a record the kernel chooses');
});

test('a stale record does not beat what is there', (t) => {
  const it = lab(t);
  it.records.write({
    address: M.NIC,
    driver: 'old',
    override: null,
    macs: [],
    serials: [],
    dmaBits: null,
  });
  it.bind(M.NIC);
  t.is(it.records.read(M.NIC).driver, 'e1000e');
});

test('somebody else has given it another driver since: that stays', (t) => {
  const it = lab(t);
  it.bind(M.NIC);
  const kernel = new M.Kernel(it.root);
  const folder = M.folderOf(M.NIC);
  kernel.write(`${folder}/driver/unbind`, M.NIC);
  kernel.write(`${folder}/driver_override`, '\n');
  kernel.write('sys/bus/pci/drivers/e1000e/bind', M.NIC);
  t.deepEqual(it.unbind(M.NIC), [
    { address: M.NIC, driver: 'e1000e', before: 'e1000e', changed: false },
  ]);
  t.deepEqual(files(it.root), []);
});

test('an unplugged device leaves nothing to give back', (t) => {
  const it = lab(t);
  const address = '0000:7f:00.0';
  it.records.write({ address, driver: 'x', override: null, macs: [], serials: [], dmaBits: null });
  t.is(it.unbind(address)[0].driver, null);
  t.deepEqual(files(it.root), []);
});

test('the driver before is no longer loaded', (t) => {
  const it = lab(t);
  it.bind(M.NIC);
  const record = it.records.read(M.NIC);
  it.records.write({ ...record, driver: 'gone' });
  const error = t.throws(() => it.unbind(M.NIC), { code: 'VANITY_E_DEVICE_DRIVER' });
  t.regex(error.hint, /sudo modprobe gone && sudo vanity device unbind 0000:01:00\.0/);
  t.deepEqual(files(it.root), [`${M.NIC}.json`], 'it can be tried again');
});

test('the kernel refuses vfio-pci: everything is as before', (t) => {
  const it = lab(t);
  const before = it.state(M.NIC);
  class Refusing extends M.Kernel {
    write(path, text) {
      if (path.endsWith('vfio-pci/bind')) {
        throw Object.assign(new Error('EINVAL'), { code: 'EINVAL' });
      }
      super.write(path, text);
    }
  }
  const error = t.throws(() => bind(new Refusing(it.root), it.records, [M.NIC]), {
    code: 'VANITY_E_DEVICE_DRIVER',
  });
  t.is(
    error.message,
    '0000:01:00.0: the kernel refused to write "0000:01:00.0" to /sys/bus/pci/drivers/vfio-pci/bind: EINVAL',
  );
  t.deepEqual(it.state(M.NIC), before);
  t.deepEqual(files(it.root), []);
});

test('what is in use is left alone, unless forced', (t) => {
  const it = lab(t);
  for (const [address, use] of [
    [M.NVME, 'nvme0n1p1 is mounted at /'],
    [M.VIRTIO, 'eth0 holds the default route'],
    ['0000:00:06.0', 'hostroot is mounted at /srv/with space'],
  ]) {
    const before = it.state(address);
    const error = t.throws(() => it.bind([M.NIC, address]), { code: 'VANITY_E_DEVICE_IN_USE' });
    t.is(error.message, `${address} is in use: ${use}`);
    t.regex(error.hint, /--force/);
    t.deepEqual(it.state(address), before);
    t.is(it.state(M.NIC).driver, 'e1000e', 'all or none');
  }
  t.is(it.bind(M.NVME, { force: true })[0].driver, 'vfio-pci');
  t.is(it.unbind(M.NVME)[0].driver, 'nvme');
});

test('a group is taken whole or not at all', (t) => {
  const it = lab(t);
  const error = t.throws(() => it.bind(M.REALTEK), { code: 'VANITY_E_GROUP' });
  t.is(
    error.message,
    `IOMMU group 5 of ${M.REALTEK} has other owners: ${M.E1000} (Ethernet, e1000)`,
  );
  t.is(error.hint, `Take them together: sudo vanity device bind ${M.REALTEK} ${M.E1000}`);
  t.is(it.state(M.REALTEK).driver, null);
  const together = it.bind([M.REALTEK, M.E1000]);
  t.deepEqual(
    together.map(({ driver }) => driver),
    ['vfio-pci', 'vfio-pci'],
  );
  it.unbind([M.REALTEK, M.E1000]);
  t.is(it.state(M.E1000).driver, 'e1000');
  t.is(it.state(M.REALTEK).driver, null);
});

test('a bridge is not handed out', (t) => {
  const it = lab(t);
  t.throws(() => it.bind(M.BRIDGE), { code: 'VANITY_E_DEVICE_KIND' });
  t.throws(() => it.bind('0000:00:03.0'), { code: 'VANITY_E_DEVICE_KIND' });
});

const NO_IOMMU = Object.fromEntries(
  [M.EDU, M.NIC].map((address) => [`${M.folderOf(address)}/iommu_group`, null]),
);
const SWITCH = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode';

test('without an IOMMU it says what to do, and does nothing', (t) => {
  const it = lab(t, { links: { ...NO_IOMMU, 'sys/class/iommu/dmar0': null } });
  const error = t.throws(() => it.bind(M.NIC), { code: 'VANITY_E_IOMMU' });
  t.regex(error.hint, /VT-d or AMD-Vi.*intel_iommu=on iommu=pt/);
  t.is(it.state(M.NIC).driver, 'e1000e');
  const arm = lab(t, {
    files: { 'sys/firmware/acpi/tables/IORT': '' },
    links: { ...NO_IOMMU, 'sys/class/iommu/dmar0': null },
  });
  t.regex(t.throws(() => arm.bind(M.NIC)).hint, /CONFIG_ARM_SMMU_V3/);
  const partly = lab(t, { links: NO_IOMMU });
  t.regex(t.throws(() => partly.bind(M.NIC)).message, /not for this device/);
});

test('doing without an IOMMU takes both the flag and the switch of the kernel', (t) => {
  const off = lab(t, { links: NO_IOMMU });
  const refused = t.throws(() => off.bind(M.NIC, { unsafeNoiommu: true }), {
    code: 'VANITY_E_IOMMU',
  });
  t.is(refused.hint, `Type: echo Y | sudo tee /${SWITCH}`);
  const on = lab(t, { links: NO_IOMMU, files: { [SWITCH]: 'Y\n' } });
  t.is(on.bind(M.NIC, { unsafeNoiommu: true })[0].driver, 'vfio-pci');
  t.is(on.unbind(M.NIC)[0].driver, 'e1000e');
});

test('an override that somebody left is no driver to go back to', (t) => {
  const it = lab(t);
  new M.Kernel(it.root).write(`${M.folderOf(M.NIC)}/driver_override`, 'vfio-pci');
  it.bind(M.NIC);
  t.is(it.unbind(M.NIC)[0].driver, 'e1000e');
  t.is(it.state(M.NIC).override, '(null)');
});

test('a module that cannot be loaded is an error before anything changes', (t) => {
  const it = lab(t, {
    files: {
      'sys/bus/pci/drivers/vfio-pci/bind': null,
      'sys/bus/pci/drivers/vfio-pci/unbind': null,
    },
  });
  const error = t.throws(() => it.bind(M.NIC), { code: 'VANITY_E_VFIO' });
  t.regex(error.hint, /sudo modprobe vfio-pci/);
  t.is(it.state(M.NIC).driver, 'e1000e');
  t.deepEqual(files(it.root), []);
});

test('a device that a process has open is not taken from it', (t) => {
  const it = lab(t, {
    files: { 'proc/4711/comm': 'node\n' },
    links: { 'proc/4711/fd/12': '/dev/vfio/8' },
  });
  it.bind(M.NIC);
  const error = t.throws(() => it.unbind(M.NIC), { code: 'VANITY_E_DEVICE_BUSY' });
  t.regex(error.message, /is open in node \(4711\)/);
  t.is(error.hint, 'Stop that process first, for example: kill 4711');
  t.is(it.unbind(M.NIC, { force: true })[0].driver, 'e1000e');
});

test('list and info say that a bind was cut off', (t) => {
  const it = lab(t);
  t.throws(() => bindOnly(it, { at: 1, when: 'after' }));
  const [nic] = summarize(new M.Kernel(it.root), it.records).filter((d) => d.address === M.NIC);
  t.deepEqual(nic.in_use, [`a bind of it was cut off: vanity device unbind ${M.NIC}`]);
});

const BINDER = fileURLToPath(new URL('./helpers/binder.js', import.meta.url));

test('several processes that want one device take turns', async (t) => {
  const it = lab(t);
  const before = it.state(M.NIC);
  const all = async (command) => {
    const start = String(Date.now() + 1500);
    const processes = await Promise.all(
      Array.from({ length: 4 }, () =>
        promisify(execFile)(process.execPath, [BINDER, it.root, command, M.NIC, start]),
      ),
    );
    return processes.map(({ stdout }) => JSON.parse(stdout));
  };
  const bound = await all('bind');
  t.is(bound.filter(({ changed }) => changed).length, 1, 'one of them took it');
  t.true(bound.every(({ driver, before }) => driver === 'vfio-pci' && before === 'e1000e'));
  t.deepEqual(it.state(M.NIC), BOUND);
  const unbound = await all('unbind');
  t.is(unbound.filter(({ changed }) => changed).length, 1);
  t.deepEqual(it.state(M.NIC), before);
  t.deepEqual(files(it.root), []);
});

test('who waits for another process too long says so', (t) => {
  const host = new M.Kernel(M.machine(t));
  const path = 'sys/bus/pci/drivers_probe';
  const held = host.locked(path, 0, () => host.locked(path, 50, () => t.fail()));
  t.deepEqual(held, { result: undefined });
  t.deepEqual(
    host.locked(path, 0, () => 'free again'),
    { result: 'free again' },
  );
});
