import { extname } from 'node:path';
import { builtins } from '../builtins.js';
import type { Model } from '../model.js';
import type { Path } from '../parse.js';

/** A process of its own is handed channels, the packets in them, and devices that are its alone. */
export function isolationRules(model: Model): void {
  for (const { name, path, value } of model.shards.values()) {
    if (value?.isolation !== 'process') continue;
    const refuse = (problem: string, hint: string, at: Path) =>
      model.report('VANITY_E_ISOLATION', { shard: name, problem, hint }, at, [
        { message: 'isolation is set here', location: model.at([...path, 'isolation']) },
      ]);
    const thread = 'or remove isolation = "process"';
    if (value.program === 'generate') {
      refuse(
        'generate makes packets, and a process has no buffers of its own',
        `Make them in another shard and send them here by a channel, ${thread}.`,
        [...path, 'program'],
      );
    } else if (!builtins.has(value.program) && extname(value.program) !== '.so') {
      refuse(
        'a TypeScript program runs in the process of the system',
        `Run a native module or a built-in, ${thread}.`,
        [...path, 'program'],
      );
    }
    if (!builtins.has(value.program) && Number(value.options.buffers ?? 0) !== 0) {
      refuse(
        'a process has no buffers of its own',
        `Remove the option buffers and make packets in another shard, ${thread}.`,
        [...path, 'options', 'buffers'],
      );
    }
    if (value.watchdog.on_fault === 'crash') {
      refuse(
        "its faults end its own process, and not the system's",
        `Set on_fault = "stop-system" when the others are to stop with it, ${thread}.`,
        [...path, 'watchdog', 'on_fault'],
      );
    }
    for (const port of model.ports.values()) {
      for (const end of ['rx', 'tx'] as const) {
        if (!port.value?.[end]?.includes(name)) continue;
        refuse(
          `it works port "${port.name}", and a process is handed channels and devices only`,
          `Join the port to another shard, with a channel between the two, ${thread}.`,
          [...port.path, end],
        );
      }
    }
    for (const device of model.devices.values()) {
      const grants = (['mmio', 'irqs', 'dma'] as const).flatMap((grant) =>
        (device.value?.[grant] ?? []).map(({ to }, i) => ({ to, at: [grant, i, 'to'] })),
      );
      const other = grants.find(({ to }) => to !== name);
      if (!other || !grants.some(({ to }) => to === name)) continue;
      refuse(
        `it shares device "${device.name}" with shard "${other.to}", and the whole device is stopped when the process ends`,
        `Grant all of it to one of the two: to = "${name}"; ${thread}.`,
        [...device.path, ...other.at],
      );
    }
  }
}
