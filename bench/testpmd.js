// What benches that run DPDK's testpmd have in common.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const PAGES = '/proc/sys/vm/nr_hugepages';
const PAGES_WANTED = 700; // 2 MiB each; what two testpmd ask for here

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
