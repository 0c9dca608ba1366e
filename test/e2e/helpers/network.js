// Two network namespaces, each with one end of a veth pair; the other ends are in this one.
//
//   ns a: eth0 10.91.<n>.1, fd91:<n>::1 --- <id>a [vanity] <id>b --- ns b: eth0 ...2
import { execFileSync, spawnSync } from 'node:child_process';
import { Started } from './vanity.js';

let made = 0;

function sh(command) {
  const { status, stderr } = spawnSync('sh', ['-ec', command], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
}

/** Why there can be no test network here; undefined when there can. */
export function missing(...tools) {
  if (process.geteuid() !== 0) return 'needs root';
  const absent = ['ip', ...tools].find((tool) => {
    return spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0;
  });
  if (absent) return `needs ${absent}`;
  const name = `vntry${process.pid % 100_000}`;
  const possible = spawnSync('sh', [
    '-c',
    `ip netns add ${name} && ip link add ${name} type veth peer name eth0 netns ${name}; ` +
      `ok=$?; ip link del ${name}; ip netns del ${name}; exit $ok`,
  ]);
  return possible.status === 0 ? undefined : 'needs network namespaces and veth';
}

export class Network {
  constructor(t) {
    this.t = t;
    this.number = (process.pid + 64 * made++) % 250;
    this.id = `ve${process.pid % 100_000}x${made}`;
    this.a = `${this.id}a`;
    this.b = `${this.id}b`;
    t.teardown(() => this.close());
    this.close();
    for (const side of ['a', 'b']) {
      sh(`ip netns add ${this.id}n${side}; ip -n ${this.id}n${side} link set lo up`);
      this.connect(side);
    }
  }

  /** Makes the interface of a side, at the start and after disconnect(), always with the same address. */
  connect(side) {
    const host = side === 'a' ? 1 : 2;
    const inside = `ip -n ${this.id}n${side}`;
    sh(
      `ip link add ${this.id}${side} type veth peer name eth0 address 02:91:00:00:00:0${host} ` +
        `netns ${this.id}n${side};` +
        `ip link set ${this.id}${side} up; ${inside} link set eth0 up;` +
        `${inside} addr add ${this.address4(host)}/24 dev eth0;` +
        `${inside} addr add ${this.address6(host)}/64 dev eth0 nodad`,
    );
  }

  disconnect(side) {
    sh(`ip link del ${this.id}${side}`);
  }

  address4(host) {
    return `10.91.${this.number}.${host}`;
  }
  address6(host) {
    return `fd91:${this.number}::${host}`;
  }

  /** Runs a command inside a side to its end; returns what it printed. */
  in(side, ...command) {
    return new Promise((resolve, reject) => {
      this.start(side, ...command).ended.then(({ code, stdout, stderr }) => {
        if (code === 0) resolve(stdout);
        else reject(new Error(`${command.join(' ')}: ${code}\n${stdout}${stderr}`));
      }, reject);
    });
  }
  start(side, ...command) {
    return new Started(this.t, 'ip', ['netns', 'exec', `${this.id}n${side}`, ...command]);
  }

  /** { sent, received, avg_ms, max_ms } */
  async ping(side, address, count = 20, interval = 0.05) {
    const deadline = Math.ceil(count * interval) + 5;
    const args = ['-n', '-c', `${count}`, '-i', `${interval}`, '-w', `${deadline}`, address];
    const text = await this.in(side, 'ping', ...args);
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text);
    const [, avg, max] = /= [\d.]+\/([\d.]+)\/([\d.]+)/.exec(text);
    return {
      sent: Number(sent),
      received: Number(received),
      avg_ms: Number(avg),
      max_ms: Number(max),
    };
  }

  /** One test of iperf3 from a to b; its JSON. */
  async iperf(...options) {
    const server = this.start('b', 'iperf3', '-s', '-1', '--forceflush');
    await server.printed('Server listening');
    const text = await this.in('a', 'iperf3', '-c', this.address4(2), '--json', ...options);
    await server.ended;
    return JSON.parse(text).end;
  }

  close() {
    for (const side of ['a', 'b']) {
      for (const what of [`link del ${this.id}${side}`, `netns del ${this.id}n${side}`]) {
        try {
          execFileSync('ip', what.split(' '), { stdio: 'ignore' });
        } catch {
          // It was not there.
        }
      }
    }
  }
}
