// What this host offers a dataplane: reads /sys and /proc, changes nothing. Each row says what was
// found, why it matters, and the command that mends it.
import { join } from 'node:path';
import { parseCpuList, usableCpus } from '../host/cpus.js';
import { Host } from '../host/host.js';
import type { BackendReport, KeyReport } from '../native.js';

export type Status = 'ok' | 'warn' | 'missing';

export interface DoctorRow {
  name: string;
  /** ok; warn: it runs, but slower or with more noise; missing: something will not work at all. */
  status: Status;
  found: string;
  why: string;
  /** What to type; null when it is ok, or when no command can change it. */
  fix: string | null;
}

export interface DoctorHost {
  /** Where the host's file system starts; another one for tests. */
  root?: string;
  /** What native.waitBackends() says. */
  backends: readonly BackendReport[];
  /** What native.membarrier() says. */
  membarrier: boolean;
  /** What native.protectionKeys() says; without it there is no such row. */
  protectionKeys?: KeyReport;
  uid?: number;
  gid?: number;
  /** Folders to look for programs in, as $PATH. */
  path?: string;
}

const CAP_NET_RAW = 13;
const CAP_IPC_LOCK = 14;
const CAP_SYS_NICE = 23;
const LIBRARIES = [
  'lib',
  'lib64',
  'usr/lib',
  'usr/lib64',
  'usr/local/lib',
  ...['x86_64', 'aarch64', 'riscv64'].flatMap((arch) => [
    `lib/${arch}-linux-gnu`,
    `usr/lib/${arch}-linux-gnu`,
  ]),
];

/** Everything the host tells, in the order in which it is worth mending. */
export function examine(host: DoctorHost): DoctorRow[] {
  const look = new Look(host);
  return [
    waiting(look),
    fences(look),
    clock(look),
    cores(look),
    isolation(look),
    tickless(look),
    interrupts(look),
    governor(look),
    idleStates(look),
    smt(look),
    hypervisor(look),
    numa(look),
    ...hugePages(look),
    transparentHugePages(look),
    lockedMemory(look),
    realtime(look),
    throttling(look),
    afPacket(look),
    iommu(look),
    vfio(look),
    libpcap(look),
    compiler(look),
    ...protectionKeys(look),
  ];
}

class Look extends Host {
  readonly host: DoctorHost;
  readonly cpus: number[];
  /** All cores but the first: what a command gives to shards. */
  readonly shardCpus: number[];
  readonly uid: number;

  constructor(host: DoctorHost) {
    super(host.root);
    this.host = host;
    this.cpus = usableCpus(this.root);
    this.shardCpus = this.cpus.slice(1);
    this.uid = host.uid ?? process.getuid?.() ?? 0;
  }

  get virtual(): boolean {
    return (
      / hypervisor( |$)/m.test(this.read('proc/cpuinfo') ?? '') ||
      this.exists('sys/hypervisor/type')
    );
  }

  /** A line that installs a package, for the distribution that this is. */
  install(packages: {
    debian: string;
    fedora: string;
    alpine: string;
    arch: string;
    suse: string;
  }): string {
    const release = this.read('etc/os-release') ?? '';
    const ids = [...release.matchAll(/^(?:ID|ID_LIKE)="?([^"\n]*)"?$/gm)].flatMap(([, id]) =>
      (id ?? '').split(' '),
    );
    if (ids.includes('fedora') || ids.includes('rhel'))
      return `sudo dnf install -y ${packages.fedora}`;
    if (ids.includes('alpine')) return `sudo apk add ${packages.alpine}`;
    if (ids.includes('arch')) return `sudo pacman -S --noconfirm ${packages.arch}`;
    if (ids.some((id) => id.includes('suse'))) return `sudo zypper install -y ${packages.suse}`;
    return `sudo apt-get install -y ${packages.debian}`;
  }

  /** A shell of the same user with one more capability. */
  shellWith(capability: string): string {
    const gid = this.host.gid ?? process.getgid?.() ?? 0;
    return `sudo setpriv --reuid=${this.uid} --regid=${gid} --init-groups --inh-caps=+${capability} --ambient-caps=+${capability} bash`;
  }
}

function row(
  name: string,
  why: string,
  status: Status,
  found: string,
  fix: string | null = null,
): DoctorRow {
  return { name, status, found, why, fix: status === 'ok' ? null : fix };
}

function protectionKeys({ host: { protectionKeys: keys } }: Look): DoctorRow[] {
  if (keys === undefined) return [];
  const why = 'With isolation = "pkey" a program cannot write to memory of others.';
  return [row('protection keys', why, keys.usable ? 'ok' : 'warn', keys.reason)];
}

function waiting(look: Look): DoctorRow {
  const why =
    'How a shard sleeps and is woken: by the processor itself, or through the Linux kernel.';
  const usable = look.host.backends.filter((b) => b.usable);
  const byCore = usable.filter(({ name }) => name !== 'futex' && name !== 'spin');
  if (byCore.length > 0) {
    const names = byCore.map(({ name, waitsPerWake }) =>
      waitsPerWake > 0 ? `${name} (${waitsPerWake.toFixed(1)} waits per wake)` : name,
    );
    const found = [`${names.join(', ')}; also futex, spin`, ...waitLimits(look)].join('; ');
    return row('wait', why, 'ok', found);
  }
  const reasons = look.host.backends.filter((b) => !b.usable).map((b) => `${b.name}: ${b.reason}`);
  // Nothing typed in here changes the processor, or what its hypervisor shows of it.
  const found = [usable.map(({ name }) => name).join(', '), ...reasons, ...hiddenWait(look)];
  return row('wait', why, 'warn', found.join('; '));
}

/** What Linux allows a wait: UMWAIT's longest and its deeper state, WFE's event stream. */
function waitLimits(look: Look): string[] {
  const control = 'sys/devices/system/cpu/umwait_control';
  const longest = look.read(`${control}/max_time`);
  const limits: string[] = [];
  if (longest !== undefined) {
    const bound = longest === '0' ? 'without a bound of Linux' : `up to ${longest} ticks`;
    const deeper = look.read(`${control}/enable_c02`) === '1' ? 'C0.2 allowed' : 'C0.1 only';
    limits.push(`UMWAIT ${bound}, ${deeper}`);
  }
  const features = /^Features\s*:(.*)$/m.exec(look.read('proc/cpuinfo') ?? '')?.[1]?.split(' ');
  if (features !== undefined) {
    const has = (name: string) => (features.includes(name) ? '' : 'no ');
    limits.push(`${has('evtstrm')}event stream, ${has('wfxt')}WFET`);
  }
  return limits;
}

function hiddenWait(look: Look): string[] {
  if (!look.virtual) return [];
  return /GenuineIntel/.test(look.read('proc/cpuinfo') ?? '')
    ? ['the hypervisor may hide WAITPKG: QEMU shows it with -cpu host -overcommit cpu-pm=on']
    : ['the hypervisor may hide what the processor has'];
}

function fences(look: Look): DoctorRow {
  const why = 'membarrier lets a producer wake futex sleepers without a fence of its own.';
  if (look.host.membarrier)
    return row('membarrier', why, 'ok', 'private expedited membarrier works');
  const filtered = /^Seccomp:\s*2/m.test(look.read('proc/self/status') ?? '');
  const who = filtered ? "this container's seccomp filter" : 'the kernel';
  return row('membarrier', why, 'warn', `refused by ${who}: producers pay for a full fence`);
}

function clock(look: Look): DoctorRow {
  const why =
    'Counters of time and deadlines read the processor clock; it must be steady and cheap.';
  const base = 'sys/devices/system/clocksource/clocksource0';
  const current = look.read(`${base}/current_clocksource`);
  const available = (look.read(`${base}/available_clocksource`) ?? '').split(/\s+/);
  if (current === undefined) return row('clocksource', why, 'warn', 'not readable');
  if (['tsc', 'arch_sys_counter', 'riscv_clocksource'].includes(current)) {
    return row('clocksource', why, 'ok', current);
  }
  const fix = available.includes('tsc')
    ? `echo tsc | sudo tee /${base}/current_clocksource`
    : look.bootWith('tsc=reliable clocksource=tsc');
  return row('clocksource', why, 'warn', `${current} (available: ${available.join(' ')})`, fix);
}

function cores(look: Look): DoctorRow {
  const why = 'A shard owns a core; the kernel thread and everything else want one too.';
  const online = parseCpuList(look.read('sys/devices/system/cpu/online') ?? '');
  const found = `${look.cpus.length} usable of ${online.length} online`;
  if (look.cpus.length < online.length) {
    return row(
      'cores',
      why,
      'warn',
      `${found}: this process is confined`,
      `taskset -c ${ranges(online)} bash`,
    );
  }
  return row('cores', why, look.cpus.length > 1 ? 'ok' : 'warn', found);
}

function isolationFix(look: Look): string | null {
  if (look.shardCpus.length === 0) return null;
  const list = ranges(look.shardCpus);
  return look.bootWith(
    `isolcpus=managed_irq,domain,${list} nohz_full=${list} rcu_nocbs=${list} irqaffinity=${look.cpus[0]}`,
  );
}

function isolation(look: Look): DoctorRow {
  const why =
    'The scheduler puts other threads on cores that are not isolated; each one is a pause.';
  const isolated = look.read('sys/devices/system/cpu/isolated') ?? '';
  return isolated !== ''
    ? row('isolcpus', why, 'ok', `isolated: ${isolated}`)
    : row('isolcpus', why, 'warn', 'no core is isolated', isolationFix(look));
}

function tickless(look: Look): DoctorRow {
  const why = 'The timer tick interrupts a busy core up to 1000 times a second.';
  const path = 'sys/devices/system/cpu/nohz_full';
  const found = look.read(path);
  if (found !== undefined && parseCpuList(found).length > 0) {
    return row('nohz_full', why, 'ok', `without a tick: ${found}`);
  }
  const what =
    found === undefined ? 'this kernel was built without NO_HZ_FULL' : 'no core is without a tick';
  return row('nohz_full', why, 'warn', what, found === undefined ? null : isolationFix(look));
}

function interrupts(look: Look): DoctorRow {
  const why = 'An interrupt handled on the core of a shard takes microseconds from it.';
  const isolated = parseCpuList(look.read('sys/devices/system/cpu/isolated') ?? '');
  const kept = isolated.length > 0 ? isolated : look.shardCpus;
  if (kept.length === 0) return row('irq affinity', why, 'warn', 'there is one core only');
  const home = look.cpus.filter((cpu) => !kept.includes(cpu))[0] ?? look.cpus[0] ?? 0;
  const strays = look
    .list('proc/irq')
    .filter((irq) => /^\d+$/.test(irq))
    .filter((irq) => {
      const list =
        look.read(`proc/irq/${irq}/effective_affinity_list`) ||
        look.read(`proc/irq/${irq}/smp_affinity_list`);
      return parseCpuList(list ?? '').some((cpu) => kept.includes(cpu));
    });
  if (strays.length === 0) return row('irq affinity', why, 'ok', `none goes to ${ranges(kept)}`);
  const some = strays.slice(0, 8).join(', ');
  return row(
    'irq affinity',
    why,
    'warn',
    `${strays.length} interrupts may go to cores ${ranges(kept)}: ${some}${strays.length > 8 ? ', ...' : ''}`,
    `for f in /proc/irq/[0-9]*/smp_affinity_list; do echo ${home} | sudo tee "$f" > /dev/null 2>&1; done`,
  );
}

function governor(look: Look): DoctorRow {
  const why = 'A core that changes its frequency changes every figure, and wakes slowly.';
  const governors = look.cpus.flatMap((cpu) => {
    const found = look.read(`sys/devices/system/cpu/cpu${cpu}/cpufreq/scaling_governor`);
    return found === undefined ? [] : [found];
  });
  if (governors.length === 0) {
    return row('governor', why, 'ok', "the frequency is not the kernel's to choose here");
  }
  const others = [...new Set(governors)].filter((name) => name !== 'performance');
  return others.length === 0
    ? row('governor', why, 'ok', 'performance')
    : row(
        'governor',
        why,
        'warn',
        others.join(', '),
        'echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor',
      );
}

// What leaving an idle state may cost before it matters beside a futex wake.
const IDLE_EXIT_US = 10;

function idleStates(look: Look): DoctorRow {
  const why = 'A core that sleeps deeply takes tens of microseconds to come back when it is woken.';
  const deep = new Map<string, string>();
  for (const cpu of look.cpus) {
    const folder = `sys/devices/system/cpu/cpu${cpu}/cpuidle`;
    for (const state of look.list(folder)) {
      const exitUs = Number(look.read(`${folder}/${state}/latency`));
      if (!(exitUs > IDLE_EXIT_US) || look.read(`${folder}/${state}/disable`) === '1') continue;
      deep.set(state, `${look.read(`${folder}/${state}/name`)} takes ${exitUs} us to leave`);
    }
  }
  if (deep.size === 0) return row('idle states', why, 'ok', 'none is deep');
  const files = [...deep.keys()].map(
    (state) => `/sys/devices/system/cpu/cpu*/cpuidle/${state}/disable`,
  );
  const fix = `echo 1 | sudo tee ${files.join(' ')}`;
  return row('idle states', why, 'warn', [...deep.values()].join(', '), fix);
}

function smt(look: Look): DoctorRow {
  const why = 'Two threads of one core share its caches and ports; a shard wants them alone.';
  const active = look.read('sys/devices/system/cpu/smt/active');
  return active === '1'
    ? row(
        'smt',
        why,
        'warn',
        'cores show two threads each',
        'echo off | sudo tee /sys/devices/system/cpu/smt/control',
      )
    : row('smt', why, 'ok', look.read('sys/devices/system/cpu/smt/control') ?? 'none');
}

function hypervisor(look: Look): DoctorRow {
  const why = 'A hypervisor takes cores away without a trace here, and hides instructions.';
  if (!look.virtual) return row('hypervisor', why, 'ok', 'none');
  const vendor = look.read('sys/class/dmi/id/sys_vendor') ?? look.read('sys/hypervisor/type');
  return row('hypervisor', why, 'warn', vendor ? `virtual machine (${vendor})` : 'virtual machine');
}

function nodes(look: Look): string[] {
  return look.list('sys/devices/system/node').filter((name) => /^node\d+$/.test(name));
}

function numa(look: Look): DoctorRow {
  const why = 'Memory of another node costs a shard about twice the time.';
  const found = nodes(look).map(
    (node) => `${node}: cores ${look.read(`sys/devices/system/node/${node}/cpulist`) || 'none'}`,
  );
  return row('numa', why, 'ok', found.length > 0 ? found.join('; ') : 'one node');
}

function hugePages(look: Look): DoctorRow[] {
  return (
    [
      ['1G', 1_048_576, 1],
      ['2M', 2048, 512],
    ] as const
  ).map(([name, kib, pages]) => {
    const why = `Arenas on ${name} pages need fewer address translations; without them smaller pages do.`;
    const counts = nodes(look).flatMap((node) => {
      const base = `sys/devices/system/node/${node}/hugepages/hugepages-${kib}kB`;
      const total = look.read(`${base}/nr_hugepages`);
      const free = look.read(`${base}/free_hugepages`);
      return total === undefined ? [] : [{ node, total: Number(total), free: Number(free ?? 0) }];
    });
    const title = `huge pages ${name}`;
    if (counts.length === 0) {
      return row(title, why, 'warn', `the processor or kernel offers no ${name} pages`);
    }
    const found = counts.map((c) => `${c.node}: ${c.free} free of ${c.total}`).join('; ');
    const empty = counts.filter((c) => c.free === 0);
    if (empty.length === 0) return row(title, why, 'ok', found);
    const fix = empty
      .map(
        (c) =>
          `echo ${c.total + pages} | sudo tee /sys/devices/system/node/${c.node}/hugepages/hugepages-${kib}kB/nr_hugepages`,
      )
      .join(' && ');
    return row(title, why, 'warn', found, fix);
  });
}

function transparentHugePages(look: Look): DoctorRow {
  const why = 'The next best for arenas when no huge pages are set aside.';
  const path = 'sys/kernel/mm/transparent_hugepage/enabled';
  const found = /\[(\w+)\]/.exec(look.read(path) ?? '')?.[1];
  if (found === 'always' || found === 'madvise')
    return row('transparent huge pages', why, 'ok', found);
  return row(
    'transparent huge pages',
    why,
    'warn',
    found ?? 'this kernel has none',
    found === undefined ? null : `echo madvise | sudo tee /${path}`,
  );
}

function lockedMemory(look: Look): DoctorRow {
  const why =
    'Arenas are locked, so that no packet waits for a page; more than the limit is refused.';
  const limit = look.limit('Max locked memory');
  if (look.may(CAP_IPC_LOCK)) return row('locked memory', why, 'ok', 'unlimited (CAP_IPC_LOCK)');
  if (limit === Number.POSITIVE_INFINITY) return row('locked memory', why, 'ok', 'unlimited');
  const found = limit === undefined ? 'not readable' : `${(limit / 2 ** 20).toFixed(0)} MiB`;
  return row(
    'locked memory',
    why,
    limit !== undefined && limit >= 2 ** 30 ? 'ok' : 'warn',
    found,
    'sudo prlimit --pid $$ --memlock=unlimited:unlimited',
  );
}

function realtime(look: Look): DoctorRow {
  const why = 'Shards with fifo > 0 run before every normal thread of their core.';
  if (look.may(CAP_SYS_NICE))
    return row('realtime', why, 'ok', 'SCHED_FIFO allowed (CAP_SYS_NICE)');
  const limit = look.limit('Max realtime priority') ?? 0;
  return limit > 0
    ? row('realtime', why, 'ok', `SCHED_FIFO allowed up to ${limit}`)
    : row('realtime', why, 'warn', 'SCHED_FIFO is refused', 'sudo prlimit --pid $$ --rtprio=99:99');
}

function throttling(look: Look): DoctorRow {
  const why = 'The kernel stops a SCHED_FIFO thread that never sleeps for a part of every period.';
  const runtime = look.read('proc/sys/kernel/sched_rt_runtime_us');
  const period = look.read('proc/sys/kernel/sched_rt_period_us') ?? '1000000';
  if (runtime === undefined || runtime === '-1') return row('rt throttling', why, 'ok', 'off');
  if (Number(runtime) >= Number(period)) return row('rt throttling', why, 'ok', 'never reached');
  return row(
    'rt throttling',
    why,
    'warn',
    `${runtime} us of every ${period} us`,
    'sudo sysctl -w kernel.sched_rt_runtime_us=-1',
  );
}

function afPacket(look: Look): DoctorRow {
  const why = 'Ports with driver = "af_packet" open a raw socket on an interface.';
  if (!look.exists('proc/net/packet')) {
    return row(
      'af_packet',
      why,
      'missing',
      'the kernel has no packet sockets loaded',
      'sudo modprobe af_packet',
    );
  }
  return look.may(CAP_NET_RAW)
    ? row('af_packet', why, 'ok', 'packet sockets allowed (CAP_NET_RAW)')
    : row('af_packet', why, 'missing', 'CAP_NET_RAW is not held', look.shellWith('net_raw'));
}

function iommu(look: Look): DoctorRow {
  const why = 'A device may reach only the memory that it was granted; the IOMMU enforces it.';
  const groups = look.list('sys/kernel/iommu_groups').length;
  if (groups > 0) return row('iommu', why, 'ok', `${groups} groups`);
  return row('iommu', why, 'missing', 'no IOMMU group', look.bootWith(look.iommuParameters));
}

function vfio(look: Look): DoctorRow {
  const why =
    'Devices are handed over by the vfio-pci module, and opened through one of two backends.';
  const loaded = look.exists('sys/bus/pci/drivers/vfio-pci');
  const backends = [
    ...(look.exists('dev/vfio/vfio') ? ['group'] : []),
    ...(look.exists('dev/iommu') ? ['cdev'] : []),
  ];
  if (!loaded && backends.length === 0)
    return row('vfio', why, 'missing', 'vfio-pci is not loaded', 'sudo modprobe vfio-pci');
  const found = loaded ? 'vfio-pci is loaded' : 'vfio-pci is not loaded';
  return row('vfio', why, 'ok', `${found}; backends: ${backends.join(', ') || 'none yet'}`);
}

function libpcap(look: Look): DoctorRow {
  const why = 'The program "filter" has libpcap compile its expression.';
  for (const folder of LIBRARIES) {
    const name = look.list(folder).find((file) => /^libpcap\.so\.\d/.test(file));
    if (name !== undefined) return row('libpcap', why, 'ok', `/${folder}/${name}`);
  }
  const fix = look.install({
    debian: 'libpcap0.8',
    fedora: 'libpcap',
    alpine: 'libpcap',
    arch: 'libpcap',
    suse: 'libpcap1',
  });
  return row('libpcap', why, 'missing', 'no libpcap.so in the library folders', fix);
}

function compiler(look: Look): DoctorRow {
  const why = 'Native programs (.so) are compiled on this host, unless they come built.';
  const path = look.host.path ?? process.env.PATH ?? '';
  for (const folder of path.split(':').filter((part) => part.startsWith('/'))) {
    const name = ['g++', 'c++', 'clang++'].find((file) => look.exists(join(folder, file)));
    if (name !== undefined) return row('compiler', why, 'ok', join(folder, name));
  }
  const fix = look.install({
    debian: 'g++ make',
    fedora: 'gcc-c++ make',
    alpine: 'g++ make',
    arch: 'gcc make',
    suse: 'gcc-c++ make',
  });
  return row('compiler', why, 'missing', 'no g++, c++ or clang++ on the path', fix);
}

function ranges(cpus: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < cpus.length; i++) {
    const first = cpus[i] ?? 0;
    let last = first;
    while (cpus[i + 1] === last + 1) {
      last++;
      i++;
    }
    parts.push(last > first ? `${first}-${last}` : String(first));
  }
  return parts.join(',');
}
