import { dirname } from 'node:path';
import { limits } from '../limits.js';
import type { Entry, Model } from '../model.js';
import { nicDrivers, RING } from '../nic.js';
import type { Path } from '../parse.js';
import type { PortEntry } from '../schema.js';
import { list, nearest } from '../suggest.js';
import { shardExists } from './channels.js';
import { fileProblem } from './programs.js';

type Driver = PortEntry['driver'];

/** Keys that not every driver has, and the drivers that have them. */
const owners = {
  file: ['capture'],
  write: ['capture'],
  replay: ['capture'],
  interface: ['af_packet'],
  fanout: ['af_packet'],
  promiscuous: ['af_packet', 'device'],
  device: ['device'],
  ring: ['device', 'virtio-user'],
  poll_us_max: ['device', 'virtio-user', 'vhost-user'],
  interrupts: ['device', 'virtio-user', 'vhost-user'],
  packed: ['device', 'virtio-user', 'vhost-user'],
  mac: ['device'],
  socket: ['virtio-user', 'vhost-user'],
  role: ['virtio-user', 'vhost-user'],
  peer_uid: ['virtio-user', 'vhost-user'],
} as const satisfies Partial<Record<keyof PortEntry, readonly Driver[]>>;

export function portRules(model: Model): void {
  const targets = new Map<string, { port: string; path: Path }>();
  for (const entry of model.ports.values()) {
    const { name, path, value } = entry;
    if (!value) continue;
    const refuse = (problem: string, hint: string, at: Path) =>
      model.report('VANITY_E_PORT_ENDS', { port: name, problem, hint }, at);
    for (const direction of ['rx', 'tx'] as const) {
      const shards = value[direction] ?? [];
      for (const [index, shard] of shards.entries()) {
        const element = [...path, direction, index];
        const at = model.source.has(element) ? element : [...path, direction];
        shardExists(model, `port "${name}"`, direction, shard, at);
      }
    }
    if (!value.rx && !value.tx && value.file === undefined && value.write === undefined) {
      refuse('has neither rx nor tx', `Add to [ports.${name}]: rx = "SHARD" or tx = "SHARD"`, path);
    }
    if (value.rx === undefined && value.driver === 'af_packet' && value.fanout !== undefined) {
      refuse(
        'spreads received packets (fanout) and has no rx',
        'Add rx = ["SHARD", …], or remove fanout.',
        [...path, 'fanout'],
      );
    }
    foreignKeys(model, entry, value);
    if (value.driver === 'capture') captureRules(model, entry, value, refuse);
    if (value.driver === 'af_packet') needs(model, entry, value, 'interface', 'eth0');
    if (onSocket(value)) socketRules(model, entry, value, refuse);
    if (value.driver === 'device') {
      needs(model, entry, value, 'device', 'nic0');
      if (!value.rx && value.tx) {
        refuse(
          'has no rx, and a NIC has a receive queue at least',
          `Add to [ports.${name}]: rx = "${value.tx[0]}"`,
          path,
        );
      }
      nicRules(model, entry, value);
    }
    clashes(model, entry, value, targets);
  }
}

function foreignKeys(model: Model, { name, path }: Entry<PortEntry>, value: PortEntry): void {
  const { driver } = value;
  for (const [key, drivers] of Object.entries(owners)) {
    const [owner] = drivers;
    if (value[key as keyof typeof owners] === undefined) continue;
    if ((drivers as readonly Driver[]).includes(driver)) continue;
    const at = model.at([...path, key], 'key');
    model.report('VANITY_E_PORT_KEY', { port: name, key, owner, driver }, at);
  }
}

function needs(
  model: Model,
  { name, path }: Entry<PortEntry>,
  value: PortEntry,
  key: 'interface' | 'device' | 'socket',
  example: string,
): void {
  if (value[key] !== undefined) return;
  const line = `${key} = "${example}"`;
  const expects = `with driver = "${value.driver}", the ${key === 'socket' ? 'path' : 'name'} of the ${key}`;
  model.report('VANITY_E_KEY_MISSING', { where: `[ports.${name}]`, key, line, expects }, path);
}

const onSocket = ({ driver }: PortEntry) => driver === 'virtio-user' || driver === 'vhost-user';

function ringRules(model: Model, { name, path }: Entry<PortEntry>, value: PortEntry): void {
  const { ring = RING, buffers } = value;
  if (value.rx && ring >= buffers) {
    model.report(
      'VANITY_E_PORT_RING',
      {
        port: name,
        problem: `ring = ${ring} keeps every one of its ${buffers} buffers, and none is left for packets on their way`,
        hint: `Type: buffers = ${ring * 2} or more`,
      },
      [...path, model.source.has([...path, 'ring']) ? 'ring' : 'buffers'],
    );
  }
}

function socketRules(
  model: Model,
  entry: Entry<PortEntry>,
  value: PortEntry,
  refuse: Refuse,
): void {
  needs(model, entry, value, 'socket', '/run/vanity/net0.sock');
  if (value.driver === 'virtio-user') ringRules(model, entry, value);
  const { socket, rx, tx } = value;
  const bytes = socket === undefined ? 0 : Buffer.byteLength(socketPath(model, entry, socket));
  if (bytes > limits.socketPathBytes) {
    refuse(
      `has a socket whose path is ${bytes} bytes long; ${limits.socketPathBytes} is what Linux knows`,
      'Choose a shorter one, such as /run/vanity/net0.sock.',
      [...entry.path, 'socket'],
    );
  }
  if (rx && tx && tx.length > rx.length) {
    refuse(
      `has ${tx.length} transmit queues and ${rx.length} receive queues; queues come in pairs`,
      'Name as many shards in rx as in tx, or no rx at all.',
      [...entry.path, 'tx'],
    );
  }
}

const socketPath = (model: Model, { path }: Entry<PortEntry>, socket: string) =>
  model.file([...path, 'socket'], socket);

function nicRules(model: Model, entry: Entry<PortEntry>, value: PortEntry): void {
  const { name, path } = entry;
  const { device } = value;
  ringRules(model, entry, value);
  if (device === undefined) return;
  const at = [...path, 'device'];
  const refuse = (problem: string, hint: string, place: Path = at, related: Path[] = []) =>
    model.report(
      'VANITY_E_PORT_DEVICE',
      { port: name, device, problem, hint },
      place,
      related.map((other) => ({ message: 'its driver is set here', location: model.at(other) })),
    );
  const found = model.devices.get(device);
  if (found === undefined) {
    model.joinsRefused = true;
    const meant = nearest(device, model.devices.keys());
    refuse(
      'is not declared',
      meant === undefined
        ? `Declare it: [devices.${device}] with pci = "0000:01:00.0" and driver = "virtio-net" (or "e1000e"); declared: ${list(model.devices.keys(), 'and') || 'none'}.`
        : `Did you mean "${meant}"? Type: device = "${meant}"`,
    );
    return;
  }
  if (!found.value) return;
  const { driver } = found.value;
  const said = [...found.path, 'driver'];
  const related = model.source.has(said) ? [said] : [];
  if (driver === 'vfio') {
    refuse(
      'has driver = "vfio", which leaves it to programs',
      `Type in [devices.${device}]: driver = "virtio-net", or driver = "e1000e"`,
      at,
      related,
    );
    return;
  }
  for (const direction of ['rx', 'tx'] as const) {
    const queues = value[direction]?.length ?? 0;
    const most = nicDrivers[driver].queues;
    if (queues <= most) continue;
    refuse(
      `has ${most} ${direction} queues with driver = "${driver}", not ${queues}`,
      `Name ${most} shards at most: ${direction} = [${value[direction]
        ?.slice(0, most)
        .map((shard) => `"${shard}"`)
        .join(', ')}]`,
      [...path, direction],
      related,
    );
  }
  const least = nicDrivers[driver].bufferBytes;
  if (value.buffer_bytes < least) {
    refuse(
      `has driver = "${driver}", which does not receive into buffers of ${value.buffer_bytes} bytes`,
      `Type: buffer_bytes = ${least} or more; 2048 holds every plain frame`,
      [...path, 'buffer_bytes'],
      related,
    );
  }
  if (value.packed !== undefined && driver !== 'virtio-net') {
    refuse(
      `has driver = "${driver}", which knows no packed rings`,
      'Remove packed.',
      [...path, 'packed'],
      related,
    );
  }
}

type Refuse = (problem: string, hint: string, at: Path) => void;

function captureRules(
  model: Model,
  { name, path }: Entry<PortEntry>,
  value: PortEntry,
  refuse: Refuse,
): void {
  const pairs = [
    ['rx', 'file', 'reads', 'in.pcap'],
    ['tx', 'write', 'writes', 'out.pcap'],
  ] as const;
  for (const [direction, key, verb, example] of pairs) {
    const shards = value[direction];
    if (shards && value[key] === undefined) {
      refuse(
        `has ${direction} and does not say which file it ${verb}`,
        `Add to [ports.${name}]: ${key} = "${example}"`,
        [...path, direction],
      );
    }
    if (!shards && value[key] !== undefined) {
      refuse(
        `${verb} a file and has no ${direction}`,
        `Add to [ports.${name}]: ${direction} = "SHARD"`,
        [...path, key],
      );
    }
    if (shards && shards.length > 1) {
      refuse(
        `has ${shards.length} ${direction} queues; a capture file has exactly one`,
        `Type: ${direction} = "${shards[0]}"; spread the packets with a shard that runs "flow-split".`,
        [...path, direction],
      );
    }
  }
  if (value.replay !== undefined && value.file === undefined) {
    refuse(
      'sets replay and reads no file',
      `Add to [ports.${name}]: file = "in.pcap", or remove replay.`,
      [...path, 'replay'],
    );
  }
  if (value.file !== undefined) {
    const problem = fileProblem(model.file([...path, 'file'], value.file));
    if (problem) {
      model.report(
        'VANITY_E_PORT_FILE',
        {
          port: name,
          file: JSON.stringify(value.file),
          problem,
          hint: `Correct the path (it is relative to the folder of the manifest), or type: --set ports.${name}.file=other.pcap`,
        },
        [...path, 'file'],
      );
    }
  }
  if (value.write !== undefined) {
    const file = model.file([...path, 'write'], value.write);
    const cannot = (problem: string, hint: string) =>
      model.report(
        'VANITY_E_PORT_FILE',
        {
          port: name,
          file: JSON.stringify(value.write),
          problem: `cannot be written: ${problem}`,
          hint,
        },
        [...path, 'write'],
      );
    if (fileProblem(dirname(file)) !== 'is a folder') {
      cannot('its folder does not exist', `Create the folder: mkdir -p ${dirname(value.write)}`);
    } else if (fileProblem(file) === 'is a folder') {
      cannot('it is a folder', `Type: write = "${value.write}/out.pcap"`);
    }
  }
}

function clashes(
  model: Model,
  { name, path }: Entry<PortEntry>,
  value: PortEntry,
  targets: Map<string, { port: string; path: Path }>,
): void {
  const claim = (target: string, key: string, what: string, hint: string, silent = false) => {
    const at = [...path, key];
    const other = targets.get(target);
    if (!other) {
      targets.set(target, { port: name, path: at });
    } else if (!silent) {
      model.report('VANITY_E_PORT_CLASH', { first: other.port, second: name, what, hint }, at, [
        { message: `port "${other.port}" has it here`, location: model.at(other.path) },
      ]);
    }
  };
  if (value.driver === 'af_packet') {
    if (value.interface === undefined) return;
    claim(
      `interface ${value.interface}`,
      'interface',
      `use the interface "${value.interface}"`,
      'Use one port with several queues: rx = ["s0", "s1"].',
    );
    return;
  }
  if (onSocket(value)) {
    if (value.socket === undefined) return;
    claim(
      `socket ${model.file([...path, 'socket'], value.socket)}`,
      'socket',
      `use the socket "${value.socket}"`,
      'A vhost-user socket has one peer at each end. Use one port with several queues: rx = ["s0", "s1"].',
    );
    return;
  }
  if (value.driver === 'device') {
    if (value.device === undefined) return;
    claim(
      `device ${value.device}`,
      'device',
      `use the device "${value.device}"`,
      'Use one port with several queues: rx = ["s0", "s1"].',
    );
    return;
  }
  const hint = 'Let every port write a file of its own.';
  if (value.write !== undefined) {
    claim(
      model.file([...path, 'write'], value.write),
      'write',
      `use the file "${value.write}", and one writes it`,
      hint,
    );
  }
  if (value.file !== undefined) {
    // Two readers of one file are fine; a reader of a file that another port writes is not.
    const file = model.file([...path, 'file'], value.file);
    const owner = targets.get(file);
    claim(
      file,
      'file',
      `use the file "${value.file}", and one writes it`,
      hint,
      owner?.path.at(-1) === 'file',
    );
  }
}
