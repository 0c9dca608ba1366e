import type { Location } from '../../errors.js';
import { limits } from '../limits.js';
import type { Entry, Model } from '../model.js';
import type { Path } from '../parse.js';
import type { ChannelEntry } from '../schema.js';
import { list, nearest } from '../suggest.js';

const descriptorBytes = 16;

/** Reports a name that no shard has. */
export function shardExists(
  model: Model,
  who: string,
  key: string,
  shard: string,
  path: Path,
): boolean {
  if (model.shards.has(shard)) return true;
  const meant = nearest(shard, model.shards.keys());
  const hint =
    meant === undefined
      ? `Declare it: [shards.${shard}]; declared: ${list(model.shards.keys(), 'and') || 'none'}.`
      : `Did you mean "${meant}"? Type: ${typeof path.at(-1) === 'number' ? '' : `${key} = `}"${meant}"`;
  if (path[0] !== 'devices') model.joinsRefused = true;
  model.report('VANITY_E_SHARD_UNKNOWN', { who, shard, hint }, path);
  return false;
}

export function channelRules(model: Model): void {
  const joined: { entry: Entry<ChannelEntry>; value: ChannelEntry }[] = [];
  for (const entry of model.channels.values()) {
    const { name, path, value } = entry;
    if (!value) continue;
    const who = `channel "${name}"`;
    const from = shardExists(model, who, 'from', value.from, [...path, 'from']);
    const to = shardExists(model, who, 'to', value.to, [...path, 'to']);
    if (from && to) {
      if (value.from === value.to) {
        model.joinsRefused = true;
        model.report(
          'VANITY_E_CHANNEL_SELF',
          { channel: name, shard: value.to },
          [...path, 'to'],
          [{ message: 'it comes from the same shard here', location: model.at([...path, 'from']) }],
        );
      } else {
        joined.push({ entry, value });
      }
    }
    elementRule(model, name, path, value);
    watermarkRules(model, name, path, value);
  }
  fanRule(model, joined, 'to', 'into it', limits.channelsIntoShard);
  fanRule(model, joined, 'from', 'out of it', limits.channelsOutOfShard);
  blockCycleRule(model, joined);
  primaryRules(model);
}

function elementRule(model: Model, channel: string, path: Path, value: ChannelEntry): void {
  if (value.carries === 'packets' && value.element_bytes !== undefined) {
    model.report(
      'VANITY_E_ELEMENT_BYTES',
      { channel, bytes: descriptorBytes },
      model.at([...path, 'element_bytes'], 'key'),
    );
  }
  if (value.carries === 'messages' && value.element_bytes === undefined) {
    model.report(
      'VANITY_E_KEY_MISSING',
      {
        where: `[channels.${channel}]`,
        key: 'element_bytes',
        line: 'element_bytes = 64',
        expects: 'with carries = "messages", the size of one',
      },
      [...path, 'carries'],
    );
  }
}

function watermarkRules(model: Model, channel: string, path: Path, value: ChannelEntry): void {
  const { high_watermark: high, low_watermark: low, capacity } = value;
  const at = (key: string): Location => model.at([...path, key]);
  const related = (key: string) => [{ message: `${key} is set here`, location: at(key) }];
  if (high === undefined) {
    if (low === undefined) return;
    model.report(
      'VANITY_E_WATERMARK',
      {
        channel,
        problem: 'it has a low_watermark and no high_watermark',
        hint: `Add to [channels.${channel}]: high_watermark = ${Math.max(low + 1, (capacity * 3) / 4)}`,
      },
      at('low_watermark'),
    );
    return;
  }
  if (high > capacity) {
    model.report(
      'VANITY_E_WATERMARK',
      {
        channel,
        problem: `high_watermark = ${high} is above its capacity of ${capacity}`,
        hint: `Type a value up to ${capacity}, for example: high_watermark = ${Math.max(1, (capacity * 3) / 4)}`,
      },
      at('high_watermark'),
      model.source.has([...path, 'capacity']) ? related('capacity') : [],
    );
  }
  if (low !== undefined && low >= high) {
    model.report(
      'VANITY_E_WATERMARK',
      {
        channel,
        problem: `low_watermark = ${low} is not below high_watermark = ${high}`,
        hint: `Type a smaller value, for example: low_watermark = ${Math.floor(high / 2)}`,
      },
      at('low_watermark'),
      related('high_watermark'),
    );
  }
}

type Joined = readonly { entry: Entry<ChannelEntry>; value: ChannelEntry }[];

function fanRule(
  model: Model,
  joined: Joined,
  end: 'from' | 'to',
  direction: string,
  limit: number,
): void {
  const counts = new Map<string, number>();
  for (const { value } of joined) counts.set(value[end], (counts.get(value[end]) ?? 0) + 1);
  for (const [shard, count] of counts) {
    if (count <= limit) continue;
    const excess = joined.filter(({ value }) => value[end] === shard)[limit];
    if (!excess) continue;
    model.report('VANITY_E_CHANNEL_FAN', { shard, count, direction, limit }, [
      ...excess.entry.path,
      end,
    ]);
  }
}

// Each shard waits for room in a channel whose reader waits in turn: found as a cycle of block channels,
// one for every group of shards that can reach each other.
function blockCycleRule(model: Model, joined: Joined): void {
  const edges = new Map<string, { to: string; channel: Entry<ChannelEntry> }[]>();
  for (const { entry, value } of joined) {
    if (value.overflow !== 'block') continue;
    const out = edges.get(value.from) ?? [];
    out.push({ to: value.to, channel: entry });
    edges.set(value.from, out);
  }
  const done = new Set<string>();
  const reported = new Set<string>();
  for (const start of edges.keys()) {
    const stack = [{ shard: start, next: 0 }];
    const via: Entry<ChannelEntry>[] = [];
    const onStack = new Map<string, number>([[start, 0]]);
    while (stack.length > 0) {
      const top = stack.at(-1) as { shard: string; next: number };
      const edge = done.has(top.shard) ? undefined : edges.get(top.shard)?.[top.next++];
      if (!edge) {
        done.add(top.shard);
        onStack.delete(top.shard);
        stack.pop();
        via.pop();
        continue;
      }
      const depth = onStack.get(edge.to);
      if (depth === undefined) {
        if (done.has(edge.to)) continue;
        onStack.set(edge.to, stack.length);
        stack.push({ shard: edge.to, next: 0 });
        via.push(edge.channel);
        continue;
      }
      const shards = stack.slice(depth).map(({ shard }) => shard);
      const channels = [...via.slice(depth), edge.channel];
      if (shards.some((shard) => reported.has(shard))) continue;
      for (const shard of shards) reported.add(shard);
      const cycle = `${shards.map((shard, i) => `${shard} -[${channels[i]?.name}]-> `).join('')}${shards[0]}`;
      const place = (channel: Entry<ChannelEntry>) => model.at([...channel.path, 'overflow']);
      model.report(
        'VANITY_E_BLOCK_CYCLE',
        { cycle, channel: edge.channel.name },
        place(edge.channel),
        channels.slice(0, -1).map((channel) => ({
          message: `channel "${channel.name}" is part of it`,
          location: place(channel),
        })),
      );
    }
  }
}

function primaryRules(model: Model): void {
  for (const { name, path, value } of model.shards.values()) {
    if (!value) continue;
    const { strategy, primary } = value;
    const inbound = [...model.channels.values()].filter((channel) => channel.value?.to === name);
    const names = inbound.map((channel) => channel.name);
    const choose = list(names);
    const nothing = 'No channel goes into this shard: remove strategy and primary.';
    if (strategy === 'primary' && primary === undefined) {
      model.report(
        'VANITY_E_PRIMARY',
        {
          shard: name,
          problem: 'strategy = "primary" needs to know which channel is it',
          hint: names.length === 0 ? nothing : `Add to [shards.${name}]: primary = ${choose}`,
        },
        [...path, 'strategy'],
      );
    }
    if (primary === undefined) continue;
    if (strategy !== 'primary') {
      model.report(
        'VANITY_E_PRIMARY',
        {
          shard: name,
          problem: `primary is set, and strategy is "${strategy}"`,
          hint: 'Set strategy = "primary", or remove primary.',
        },
        model.at([...path, 'primary'], 'key'),
      );
    } else if (!names.includes(primary) && (model.joinsKnown || !model.channels.has(primary))) {
      const meant = nearest(primary, names);
      const known = model.channels.get(primary);
      model.report(
        'VANITY_E_PRIMARY',
        {
          shard: name,
          problem: known
            ? `its primary "${primary}" goes to shard "${known.value?.to}"`
            : `its primary "${primary}" is no declared channel`,
          hint:
            meant === undefined
              ? names.length === 0
                ? nothing
                : `Type: primary = ${choose}`
              : `Did you mean "${meant}"? Type: primary = "${meant}"`,
        },
        [...path, 'primary'],
        known ? [{ message: 'it goes there', location: model.at([...known.path, 'to']) }] : [],
      );
    }
  }
}
