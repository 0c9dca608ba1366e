import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import { doctorLines } from '../../dist/cli/doctor.js';
import { parseCpuList, usableCpus } from '../../dist/host/cpus.js';
import { examine } from '../../dist/runtime/doctor.js';

/** A server with everything as a dataplane wants it. */
const GOOD = {
  'proc/cpuinfo': 'vendor_id\t: GenuineIntel\nflags\t\t: fpu vme waitpkg\n',
  'proc/self/status': 'CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n',
  'proc/self/limits':
    'Max locked memory         unlimited            unlimited            bytes\n' +
    'Max realtime priority     0                    0                    \n',
  'proc/irq/24/effective_affinity_list': '0',
  'proc/irq/25/smp_affinity_list': '0',
  'proc/net/packet': '',
  'proc/sys/kernel/sched_rt_runtime_us': '-1',
  'proc/sys/kernel/sched_rt_period_us': '1000000',
  'sys/devices/system/clocksource/clocksource0/current_clocksource': 'tsc',
  'sys/devices/system/clocksource/clocksource0/available_clocksource': 'tsc hpet acpi_pm',
  'sys/devices/system/cpu/online': '0-3',
  'sys/devices/system/cpu/isolated': '1-3',
  'sys/devices/system/cpu/nohz_full': '1-3',
  'sys/devices/system/cpu/smt/active': '0',
  'sys/devices/system/cpu/smt/control': 'off',
  ...Object.fromEntries(
    [0, 1, 2, 3].map((cpu) => [
      `sys/devices/system/cpu/cpu${cpu}/cpufreq/scaling_governor`,
      'performance',
    ]),
  ),
  'sys/devices/system/node/node0/cpulist': '0-3',
  'sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages': '512',
  'sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages': '512',
  'sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages': '2',
  'sys/devices/system/node/node0/hugepages/hugepages-1048576kB/free_hugepages': '2',
  'sys/kernel/mm/transparent_hugepage/enabled': 'always [madvise] never',
  'sys/kernel/iommu_groups/0/type': 'DMA',
  'sys/bus/pci/drivers/vfio-pci/new_id': '',
  'usr/lib/x86_64-linux-gnu/libpcap.so.0.8': '',
  'usr/bin/g++': '',
  'etc/os-release': 'ID=debian\n',
};
const BACKENDS = [
  { name: 'spin', usable: true, reason: '', waitsPerWake: 0 },
  { name: 'futex', usable: true, reason: '', waitsPerWake: 0 },
  { name: 'waitpkg', usable: true, reason: '', waitsPerWake: 1.04 },
];

/** The rows of GOOD with some files changed; undefined removes one. */
function doctor(t, changes = {}, host = {}) {
  const root = mkdtempSync(join(tmpdir(), 'vanity-doctor-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [path, content] of Object.entries({ ...GOOD, ...changes })) {
    if (content === undefined) continue;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  const rows = examine({
    root,
    backends: BACKENDS,
    membarrier: true,
    uid: 1000,
    gid: 1000,
    path: '/usr/bin',
    ...host,
  });
  return { rows, of: (name) => rows.find((row) => row.name === name) };
}

const NODE0 = 'sys/devices/system/node/node0/hugepages';

test('a prepared host is ok in every row, and has nothing to mend', (t) => {
  const { rows } = doctor(t);
  t.deepEqual(
    rows.filter((row) => row.status !== 'ok' || row.fix !== null),
    [],
  );
  t.is(new Set(rows.map((row) => row.name)).size, rows.length);
});

// What is wrong, the row that says so, and what it tells to type.
const cases = [
  [
    'no huge pages of 2 MiB',
    { [`${NODE0}/hugepages-2048kB/free_hugepages`]: '0' },
    'huge pages 2M',
    'warn',
    `echo 1024 | sudo tee /${NODE0}/hugepages-2048kB/nr_hugepages`,
  ],
  [
    'no huge pages of 1 GiB',
    {
      [`${NODE0}/hugepages-1048576kB/nr_hugepages`]: '0',
      [`${NODE0}/hugepages-1048576kB/free_hugepages`]: '0',
    },
    'huge pages 1G',
    'warn',
    `echo 1 | sudo tee /${NODE0}/hugepages-1048576kB/nr_hugepages`,
  ],
  [
    'transparent huge pages off',
    { 'sys/kernel/mm/transparent_hugepage/enabled': 'always madvise [never]' },
    'transparent huge pages',
    'warn',
    'echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled',
  ],
  [
    'a small limit of locked memory',
    {
      'proc/self/status': 'CapEff:\t0000000000000000\nCpus_allowed_list:\t0-3\n',
      'proc/self/limits':
        'Max locked memory         8388608              8388608              bytes\n',
    },
    'locked memory',
    'warn',
    'sudo prlimit --pid $$ --memlock=unlimited:unlimited',
  ],
  [
    'no isolated core',
    { 'sys/devices/system/cpu/isolated': '' },
    'isolcpus',
    'warn',
    `sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&isolcpus=managed_irq,domain,1-3 nohz_full=1-3 rcu_nocbs=1-3 irqaffinity=0 /' /etc/default/grub && sudo update-grub && sudo reboot`,
  ],
  [
    'no isolated core, with grubby',
    { 'sys/devices/system/cpu/isolated': '', 'usr/sbin/grubby': '' },
    'isolcpus',
    'warn',
    'sudo grubby --update-kernel=ALL --args="isolcpus=managed_irq,domain,1-3 nohz_full=1-3 rcu_nocbs=1-3 irqaffinity=0" && sudo reboot',
  ],
  [
    'an interrupt on the core of a shard',
    { 'proc/irq/25/smp_affinity_list': '0-3' },
    'irq affinity',
    'warn',
    'for f in /proc/irq/[0-9]*/smp_affinity_list; do echo 0 | sudo tee "$f" > /dev/null 2>&1; done',
  ],
  [
    'an idle state that takes long to leave, and one that is switched off',
    {
      'sys/devices/system/cpu/cpu1/cpuidle/state1/name': 'C1',
      'sys/devices/system/cpu/cpu1/cpuidle/state1/latency': '2',
      'sys/devices/system/cpu/cpu1/cpuidle/state1/disable': '0',
      'sys/devices/system/cpu/cpu1/cpuidle/state2/name': 'C6',
      'sys/devices/system/cpu/cpu1/cpuidle/state2/latency': '133',
      'sys/devices/system/cpu/cpu1/cpuidle/state2/disable': '0',
      'sys/devices/system/cpu/cpu1/cpuidle/state3/name': 'C10',
      'sys/devices/system/cpu/cpu1/cpuidle/state3/latency': '890',
      'sys/devices/system/cpu/cpu1/cpuidle/state3/disable': '1',
    },
    'idle states',
    'warn',
    'echo 1 | sudo tee /sys/devices/system/cpu/cpu*/cpuidle/state2/disable',
  ],
  [
    'a governor that saves power',
    { 'sys/devices/system/cpu/cpu2/cpufreq/scaling_governor': 'powersave' },
    'governor',
    'warn',
    'echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor',
  ],
  [
    'SMT',
    { 'sys/devices/system/cpu/smt/active': '1' },
    'smt',
    'warn',
    'echo off | sudo tee /sys/devices/system/cpu/smt/control',
  ],
  [
    'a slow clock, with a better one',
    { 'sys/devices/system/clocksource/clocksource0/current_clocksource': 'hpet' },
    'clocksource',
    'warn',
    'echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource',
  ],
  [
    'realtime throttling',
    { 'proc/sys/kernel/sched_rt_runtime_us': '950000' },
    'rt throttling',
    'warn',
    'sudo sysctl -w kernel.sched_rt_runtime_us=-1',
  ],
  [
    'no right to SCHED_FIFO',
    { 'proc/self/status': 'CapEff:\t0000000000000000\n' },
    'realtime',
    'warn',
    'sudo prlimit --pid $$ --rtprio=99:99',
  ],
  [
    'no right to raw sockets',
    { 'proc/self/status': 'CapEff:\t0000000000000000\n' },
    'af_packet',
    'missing',
    'sudo setpriv --reuid=1000 --regid=1000 --init-groups --inh-caps=+net_raw --ambient-caps=+net_raw bash',
  ],
  [
    'no IOMMU',
    { 'sys/kernel/iommu_groups/0/type': undefined },
    'iommu',
    'missing',
    `sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&intel_iommu=on iommu=pt /' /etc/default/grub && sudo update-grub && sudo reboot`,
  ],
  [
    'no vfio-pci',
    { 'sys/bus/pci/drivers/vfio-pci/new_id': undefined },
    'vfio',
    'missing',
    'sudo modprobe vfio-pci',
  ],
  [
    'no libpcap',
    { 'usr/lib/x86_64-linux-gnu/libpcap.so.0.8': undefined },
    'libpcap',
    'missing',
    'sudo apt-get install -y libpcap0.8',
  ],
  [
    'no libpcap on a Red Hat',
    {
      'usr/lib/x86_64-linux-gnu/libpcap.so.0.8': undefined,
      'etc/os-release': 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
    },
    'libpcap',
    'missing',
    'sudo dnf install -y libpcap',
  ],
  [
    'no compiler',
    { 'usr/bin/g++': undefined },
    'compiler',
    'missing',
    'sudo apt-get install -y g++ make',
  ],
  [
    'a confined process',
    { 'proc/self/status': 'CapEff:\t000001ffffffffff\nCpus_allowed_list:\t2\n' },
    'cores',
    'warn',
    'taskset -c 0-3 bash',
  ],
  // No command puts an instruction into a processor, or a machine out of its hypervisor.
  [
    'a virtual machine',
    { 'proc/cpuinfo': 'flags\t\t: fpu hypervisor\n' },
    'hypervisor',
    'warn',
    null,
  ],
];
for (const [title, changes, name, status, fix] of cases) {
  test(`finds ${title}`, (t) => {
    const { of } = doctor(t, changes);
    t.is(of(name).status, status);
    t.is(of(name).fix, fix);
    t.not(of(name).found, '');
    t.not(of(name).why, '');
  });
}

test('without an instruction to wait with, it says why each is missing', (t) => {
  const hidden = { name: 'waitpkg', usable: false, reason: 'CPUID hides it', waitsPerWake: 0 };
  const backends = [BACKENDS[1], hidden];
  const bare = doctor(t, {}, { backends }).of('wait');
  t.is(bare.status, 'warn');
  t.is(bare.found, 'futex; waitpkg: CPUID hides it');
  const intel = 'vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor\n';
  const guest = doctor(t, { 'proc/cpuinfo': intel }, { backends }).of('wait');
  t.regex(guest.found, /-cpu host -overcommit cpu-pm=on/);
  const other = intel.replace('GenuineIntel', 'AuthenticAMD');
  t.notRegex(doctor(t, { 'proc/cpuinfo': other }, { backends }).of('wait').found, /QEMU/);
});

test('a wait by the processor is shown with what Linux allows it', (t) => {
  const control = 'sys/devices/system/cpu/umwait_control';
  const found = (changes, host) => doctor(t, changes, host).of('wait').found;
  const bounded = { [`${control}/max_time`]: '100000', [`${control}/enable_c02`]: '1' };
  t.is(
    found(bounded),
    'waitpkg (1.0 waits per wake); also futex, spin; UMWAIT up to 100000 ticks, C0.2 allowed',
  );
  const unbounded = { [`${control}/max_time`]: '0', [`${control}/enable_c02`]: '0' };
  t.regex(found(unbounded), /UMWAIT without a bound of Linux, C0.1 only$/);
  const wfe = [{ name: 'wfe', usable: true, reason: '', waitsPerWake: 1.5 }];
  const arm = (features) => ({ 'proc/cpuinfo': `processor\t: 0\nFeatures\t: ${features}\n` });
  t.is(
    found(arm('fp asimd evtstrm aes'), { backends: wfe }),
    'wfe (1.5 waits per wake); also futex, spin; event stream, no WFET',
  );
  t.regex(found(arm('fp wfxt'), { backends: wfe }), /; no event stream, WFET$/);
});

test('an empty root is reported, not thrown', (t) => {
  const nothing = Object.fromEntries(Object.keys(GOOD).map((path) => [path, undefined]));
  const { rows } = doctor(t, nothing);
  t.is(rows.length, doctor(t).rows.length);
});

test('no command is a placeholder', (t) => {
  for (const [, changes] of cases) {
    for (const { fix } of doctor(t, changes).rows) {
      if (fix !== null) t.notRegex(fix, /<[a-z]|\.\.\.|TODO|NaN|undefined|YOUR/, fix);
    }
  }
});

test('lines name the command under what it mends', (t) => {
  const { rows } = doctor(t, { 'sys/devices/system/cpu/smt/active': '1' });
  const lines = doctorLines(rows, false);
  const at = lines.indexOf('warn     smt: cores show two threads each');
  t.true(at >= 0);
  t.is(lines[at + 2], '         fix: echo off | sudo tee /sys/devices/system/cpu/smt/control');
  t.is(lines.at(-1), `${rows.length - 1} ok, 1 to improve, 0 missing`);
  t.false(lines.join('').includes('\u001b'));
});

test('lists of cores', (t) => {
  t.deepEqual(parseCpuList('0-2,5'), [0, 1, 2, 5]);
  t.deepEqual(parseCpuList(''), []);
  t.deepEqual(parseCpuList('(null)'), []);
  t.true(usableCpus().length > 0);
});
