// What the bench reads from /proc and /sys, from a folder that stands for them.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import { examine } from '../../dist/runtime/doctor.js';
import { EnergyMeter } from '../../dist/wake/energy.js';
import { ADVICE, describeHost, processorName } from '../../dist/wake/host.js';
import { NoiseWatch } from '../../dist/wake/noise.js';
import { readProcessors, relationOf } from '../../dist/wake/topology.js';

function host(t, files) {
  const root = mkdtempSync(join(tmpdir(), 'vanity-wake-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  const write = (all) => {
    for (const [path, content] of Object.entries(all)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    }
  };
  write(files);
  return { root, write };
}

/** Two packages of two cores; those of package 0 have two threads. Processor 5 is not ours. */
function topology() {
  const cpu = (id, core, socket, siblings, l3) => ({
    [`sys/devices/system/cpu/cpu${id}/topology/core_id`]: `${core}\n`,
    [`sys/devices/system/cpu/cpu${id}/topology/physical_package_id`]: `${socket}\n`,
    [`sys/devices/system/cpu/cpu${id}/topology/thread_siblings_list`]: `${siblings}\n`,
    [`sys/devices/system/cpu/cpu${id}/cache/index2/level`]: '2',
    [`sys/devices/system/cpu/cpu${id}/cache/index2/shared_cpu_list`]: siblings,
    [`sys/devices/system/cpu/cpu${id}/cache/index3/level`]: '3',
    [`sys/devices/system/cpu/cpu${id}/cache/index3/shared_cpu_list`]: l3,
    [`sys/devices/system/cpu/cpu${id}/node${socket}/cpulist`]: '',
  });
  return {
    'sys/devices/system/cpu/online': '0-5\n',
    'sys/devices/system/cpu/isolated': '1\n',
    'proc/self/status': 'Cpus_allowed_list:\t0-4,9\n',
    ...cpu(0, 0, 0, '0,2', '0,2'),
    ...cpu(1, 1, 0, '1,3', '1,3'),
    ...cpu(2, 0, 0, '0,2', '0,2'),
    ...cpu(3, 1, 0, '1,3', '1,3'),
    ...cpu(4, 0, 1, '4', '4-5'),
    ...cpu(5, 1, 1, '5', '4-5'),
  };
}

test('processors, their relations, and which are ours', (t) => {
  const cpus = readProcessors(host(t, topology()).root);
  t.deepEqual(
    cpus.map((c) => c.id),
    [0, 1, 2, 3, 4, 5],
  );
  t.deepEqual(
    cpus.map((c) => c.usable),
    [true, true, true, true, true, false],
  );
  t.deepEqual(
    cpus.map((c) => c.package),
    [0, 0, 0, 0, 1, 1],
  );
  t.deepEqual(
    cpus.map((c) => c.node),
    [0, 0, 0, 0, 1, 1],
  );
  t.deepEqual(
    cpus.filter((c) => c.isolated).map((c) => c.id),
    [1],
  );
  const relation = (a, b) => relationOf(cpus[a], cpus[b]);
  t.is(relation(0, 0), 'same');
  t.is(relation(0, 2), 'sibling');
  t.is(relation(4, 5), 'cluster');
  t.is(relation(0, 1), 'package');
  t.is(relation(0, 4), 'remote');
});

test('without topology files every processor stands alone in one package', (t) => {
  const cpus = readProcessors(host(t, { 'sys/devices/system/cpu/online': '0-1' }).root);
  t.is(relationOf(cpus[0], cpus[1]), 'package');
  t.deepEqual(cpus[0].siblings, [0]);
});

test('a shared level 2 is no cluster by itself; the kernel may say that there is one', (t) => {
  const small = (cluster) =>
    host(t, {
      'sys/devices/system/cpu/online': '0-1',
      ...Object.fromEntries(
        [0, 1].flatMap((id) => [
          [`sys/devices/system/cpu/cpu${id}/cache/index2/level`, '2'],
          [`sys/devices/system/cpu/cpu${id}/cache/index2/shared_cpu_list`, '0-1'],
          [`sys/devices/system/cpu/cpu${id}/topology/cluster_cpus_list`, cluster ?? String(id)],
        ]),
      ),
    }).root;
  const relation = (root) => relationOf(...readProcessors(root));
  t.is(relation(small()), 'package');
  t.is(relation(small('0-1')), 'cluster');
});

test('noise is what was counted between two looks', (t) => {
  const counts = (timer, steal, c1) => ({
    'proc/interrupts':
      `           CPU0       CPU1\n  24:          5          0  IO-APIC   edge  x\n` +
      ` LOC:  ${timer}   77   Local timer interrupts\n ERR:          3\n`,
    'proc/stat': `cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 0 1 1 0 0 0 ${steal} 0 0\ncpu1 1 0 1 1 0 0 0 0 0 0\n`,
    'sys/devices/system/cpu/cpu0/cpuidle/state1/name': 'C1\n',
    'sys/devices/system/cpu/cpu0/cpuidle/state1/time': `${c1}\n`,
    'sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq': '2500000\n',
  });
  const { root, write } = host(t, counts(100, 4, 0));
  const watch = new NoiseWatch([1, 0, 1], root);
  watch.switched(0, 3);
  watch.switched(0, 4);
  write(counts(160, 7, 1e12));
  const [zero, one] = watch.read().cpus;
  t.is(zero.cpu, 0);
  t.is(zero.interrupts, 60);
  t.is(zero.steal_ms, 30);
  t.is(zero.involuntary_switches, 7);
  t.is(zero.smi, null);
  t.is(zero.frequency_mhz, 2500);
  t.deepEqual(zero.residency, { C1: 1 });
  t.is(one.interrupts, 0);
  t.is(one.residency, null);
  t.is(one.frequency_mhz, null);
});

test('a container whose quota ran out is told of', (t) => {
  const cgroup = { 'proc/self/cgroup': '0::/box\n' };
  const throttled = (times) => ({
    'sys/fs/cgroup/box/cpu.stat': `usage_usec 1\nnr_periods 9\nnr_throttled ${times}\nthrottled_usec 7\n`,
  });
  const { root, write } = host(t, { ...cgroup, ...throttled(3) });
  const watch = new NoiseWatch([0], root);
  t.deepEqual(watch.notes(), []);
  write(throttled(5));
  t.regex(watch.notes()[0], /quota .* in 2 periods/);
});

test('SMIs are read where an Intel processor shows them', (t) => {
  const msr = (count) => {
    const file = Buffer.alloc(0x34 + 8);
    file.writeUInt32LE(count, 0x34);
    return { 'dev/cpu/0/msr': file };
  };
  const intel = { 'proc/cpuinfo': 'vendor_id\t: GenuineIntel\n' };
  const { root, write } = host(t, { ...intel, ...msr(40) });
  const watch = new NoiseWatch([0], root);
  write(msr(42));
  t.is(watch.read().cpus[0].smi, 2);
  t.is(watch.read().cpus[0].steal_ms, null, 'what cannot be read is null, not 0');
  t.is(watch.read().cpus[0].interrupts, null);
});

test('energy is summed over packages, also when a counter starts anew', (t) => {
  const rapl = (first, second) => ({
    'sys/class/powercap/intel-rapl:0/name': 'package-0\n',
    'sys/class/powercap/intel-rapl:0/energy_uj': `${first}\n`,
    'sys/class/powercap/intel-rapl:0/max_energy_range_uj': '10000000\n',
    'sys/class/powercap/intel-rapl:1/name': 'package-1\n',
    'sys/class/powercap/intel-rapl:1/energy_uj': `${second}\n`,
    'sys/class/powercap/intel-rapl:1/max_energy_range_uj': '10000000\n',
    'sys/class/powercap/intel-rapl:0:0/name': 'core\n',
    'sys/class/powercap/intel-rapl:0:0/energy_uj': '1\n',
    'sys/class/powercap/intel-rapl:2/name': 'psys\n',
    'sys/class/powercap/intel-rapl:2/energy_uj': '1\n',
  });
  const { root, write } = host(t, rapl(1_000_000, 9_000_000));
  const meter = new EnergyMeter(root);
  t.deepEqual(meter.about, { available: true, reason: 'RAPL: package-0, package-1' });
  const before = meter.read();
  write(rapl(3_000_000, 500_000));
  t.is(meter.between(before, meter.read()), 2 + 1.5);
  const none = new EnergyMeter(host(t, {}).root);
  t.false(none.about.available);
  t.regex(none.about.reason, /no energy counters/);
  t.is(none.between(none.read(), none.read()), undefined);
});

test('a processor has a name on every architecture', (t) => {
  t.is(
    processorName('model name\t: Some CPU @ 2GHz\nmodel name\t: x\n', undefined),
    'Some CPU @ 2GHz',
  );
  t.is(
    processorName('CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n', 'Some Board'),
    'Some Board, implementer 0x41, part 0xd0c',
  );
  t.is(processorName('isa\t: rv64imafdc\n', undefined), 'rv64imafdc');
  t.is(processorName('uarch\t: maker,core\nisa\t: rv64\n', 'Board'), 'maker,core');
  t.is(processorName('', undefined), 'unknown');
});

test('advice is what doctor says about waiting, and every row it picks exists', (t) => {
  const { root } = host(t, {
    ...topology(),
    'proc/cpuinfo': 'flags\t\t: fpu hypervisor sse\n',
    'sys/class/dmi/id/sys_vendor': 'Amazon EC2\n',
  });
  const doctor = { root, backends: [], membarrier: true };
  const names = examine(doctor).map((row) => row.name);
  for (const name of ADVICE) t.true(names.includes(name), name);
  const about = describeHost(readProcessors(root), doctor);
  t.is(about.hypervisor, 'Amazon EC2');
  t.true(about.advice.length > 0);
  t.true(about.advice.every((row) => ADVICE.has(row.name) && row.status !== 'ok'));
  const bare = host(t, { 'proc/cpuinfo': 'flags\t\t: fpu sse\n' }).root;
  t.is(describeHost([], { ...doctor, root: bare }).hypervisor, null);
  const hidden = host(t, { 'proc/cpuinfo': 'flags\t\t: fpu hypervisor\n' }).root;
  t.is(describeHost([], { ...doctor, root: hidden }).hypervisor, 'unknown');
});
