// Counts connections by server, and says at the end which ones had most.
import { defineProgram, type InputChannel } from 'vanity/program';
import { CLIENT, PORT, SERVER } from './message.ts';

let opened: InputChannel;
const servers = new Map<string, { connections: number; clients: Set<string> }>();

export default defineProgram({
  init(shard) {
    opened = shard.input('opened');
  },

  poll(shard) {
    const count = opened.peek(shard.burst);
    for (let i = 0; i < count; ++i) {
      const slot = (opened.offset + i * opened.stride) / 4;
      const [client, server, port] = [CLIENT, SERVER, PORT].map(
        (word) => opened.u32[slot + word] ?? 0,
      );
      const name = `${address(server)}:${port}`;
      const row = servers.get(name) ?? { connections: 0, clients: new Set() };
      row.connections += 1;
      row.clients.add(address(client));
      servers.set(name, row);
    }
    opened.release(count);
    return count;
  },

  // To stderr: what is on stdout belongs to `vanity run`.
  fini(shard) {
    const rows = [...servers].sort(([, a], [, b]) => b.connections - a.connections);
    for (const [name, { connections, clients }] of rows.slice(0, Number(shard.options.top))) {
      console.error(`${name}: ${connections} connections of ${clients.size} clients`);
    }
  },
});

function address(word = 0): string {
  return [24, 16, 8, 0].map((shift) => (word >>> shift) & 0xff).join('.');
}
