// vanity channels: what is in the channels of a system that runs or is stuck, or was when it was dumped.
import { VanityError } from '../errors.js';
import { channelText } from '../report/channel-lines.js';
import {
  type ArchivedContents,
  CONTENTS_ELEMENTS,
  CONTENTS_MEMBER,
  readContents,
} from '../telemetry/contents.js';
import { chooseLeft, type FoundSystem, openSystem, readMember } from '../telemetry/systems.js';
import { note, print, printJson } from './output.js';

export interface ChannelsOptions {
  contents?: number;
  json?: boolean;
}

export function channelsCommand(
  system: string,
  names: readonly string[],
  options: ChannelsOptions,
): number {
  const found = chooseLeft(system, 'channels');
  const segment = openSystem(found);
  const most = options.contents ?? CONTENTS_ELEMENTS;
  const all = found.archive ? archived(found, most) : readContents(segment, found.live, most);
  const unknown = names.find((name) => !all.some(({ channel }) => channel === name));
  if (unknown !== undefined) {
    throw new VanityError('VANITY_E_CHANNEL_NONE', {
      system: segment.name,
      channel: unknown,
      channels: all.map(({ channel }) => channel).join(', '),
    });
  }
  const channels = all.filter(({ channel }) => names.length === 0 || names.includes(channel));
  if (options.json) printJson({ system: segment.name, live: found.live, channels });
  else {
    if (found.archive) note(`an archive of process ${segment.pid}`);
    print(channels.map(channelText).join('\n'));
  }
  return 0;
}

function archived({ path }: FoundSystem, most: number) {
  const text = new TextDecoder().decode(readMember(path, CONTENTS_MEMBER));
  const { channels, why }: ArchivedContents = JSON.parse(text);
  if (channels === undefined) {
    throw new VanityError('VANITY_E_CONTENTS', {
      problem: `what was in channels is not in the archive: ${why}`,
      hint: 'The rest can be looked at: vanity stats, top and trace.',
    });
  }
  return channels.map((channel) => ({
    ...channel,
    elements: channel.elements.slice(0, most),
    leftOut: channel.leftOut + Math.max(0, channel.elements.length - most),
  }));
}
