// What benches that run DPDK's testpmd have in common.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const PAGES = '/proc/sys/vm/nr_hugepages';
const PAGES_WANTED = 700; // 2 MiB each; what two testpmd ask for here
const START_MS = 20_000;

export function installed(command) {
  try {
    execFileSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

// Both sides get 2 MiB pages when this process may reserve them; what was reserved before comes back.
export function reservePages() {
  try {
    const before = readFileSync(PAGES, 'utf8').trim();
    if (Number(before) < PAGES_WANTED) writeFileSync(PAGES, String(PAGES_WANTED));
    const restore = () => writeFileSync(PAGES, before);
    process.once('exit', restore);
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));
    mkdirSync('/dev/hugepages', { recursive: true });
    const mounted = readFileSync('/proc/mounts', 'utf8').includes(' hugetlbfs ');
    if (!mounted) execFileSync('mount', ['-t', 'hugetlbfs', 'none', '/dev/hugepages']);
    if (!mounted) process.once('exit', () => execFileSync('umount', ['/dev/hugepages']));
    return Number(readFileSync(PAGES, 'utf8')) >= PAGES_WANTED;
  } catch {
    return false;
  }
}

/** A testpmd with its prompt open. One core works; the thread of the prompt sleeps on the same. */
export class Testpmd {
  /** `vdevs`: its ports, whose names begin with "net_"; `huge`: from reservePages(). */
  constructor({ name, core, vdevs, mode, huge, more = [] }) {
    this.ports = vdevs.length;
    this.out = '';
    const memory = huge ? ['--in-memory'] : ['--no-huge', '-m', '512', '--iova-mode=va'];
    this.child = spawn(
      'stdbuf',
      [
        ...['-oL', 'dpdk-testpmd', '--lcores', `0@${core},1@${core}`, '--no-pci', '--no-telemetry'],
        ...[...memory, '--single-file-segments', `--file-prefix=${name}-${process.pid}`],
        ...vdevs.flatMap((vdev) => ['--vdev', vdev]),
        ...['--', '-i', `--forward-mode=${mode}`, '--total-num-mbufs=16384', '--no-mlockall'],
        ...more,
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    this.gone = false;
    this.ended = new Promise((resolve) => {
      this.child.on('close', () => {
        this.gone = true;
        resolve();
      });
    });
    this.child.on('error', () => {});
    this.child.stdin.on('error', () => {}); // it is gone, and said so
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        this.out += text;
      });
  }

  get pid() {
    return this.child.pid; // stdbuf becomes it
  }

  async #until(what, test) {
    const end = performance.now() + START_MS;
    while (!test()) {
      if (this.gone || performance.now() > end)
        throw new Error(`testpmd ${what}:\n${this.out.slice(-2000)}`);
      await sleep(10);
    }
  }

  ready() {
    return this.#until('gives no prompt', () => this.out.includes('testpmd> '));
  }

  say(line) {
    this.child.stdin.write(`${line}\n`);
  }

  // What it prints of each port covers the time since it was asked before, by its own clock.
  async #show() {
    const from = this.out.length;
    this.say('show port stats all');
    const found = () => [...this.out.slice(from).matchAll(/([RT])x-pps:\s+(\d+)\s+[RT]x-bps/g)];
    await this.#until('prints no rates', () => found().length === 2 * this.ports);
    const rates = Array.from({ length: this.ports }, () => ({ rx: 0, tx: 0 }));
    found().forEach(([, way, rate], i) => {
      rates[i >> 1][way === 'R' ? 'rx' : 'tx'] = Number(rate);
    });
    return rates;
  }

  /** Packets a second of each port over so long: [{ rx, tx }, ...]. */
  async rates(ms) {
    await this.#show();
    await sleep(ms);
    return this.#show();
  }

  // It hangs on its way out now and then, and has nothing more to say.
  async end() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}
