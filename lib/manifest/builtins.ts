/** The built-in programs as the manifest sees them: what they join and which options they take. */

import { limits } from './limits.js';

type OptionValue = string | number | boolean;

export interface OptionRule {
  readonly expects: string;
  readonly example: string;
  readonly about: string;
  readonly required?: boolean;
  accepts(value: OptionValue): boolean;
}

export interface Builtin {
  readonly about: string;
  /** How many inputs (channels and ports) it can have. */
  readonly inputs: readonly [min: number, max: number];
  readonly outputs: readonly [min: number, max: number];
  /** A direction in which it needs at least one port. */
  readonly port?: 'rx' | 'tx';
  /** Uses its first output only. */
  readonly firstOutputOnly?: boolean;
  readonly options: Readonly<Record<string, OptionRule>>;
}

const any = Number.POSITIVE_INFINITY;

function integerOption(min: number, max: number, example: number, about: string): OptionRule {
  return {
    expects: `an integer from ${min} to ${max}`,
    example: String(example),
    about,
    accepts: (value) =>
      Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
  };
}

export const builtins: ReadonlyMap<string, Builtin> = new Map<string, Builtin>([
  [
    'port-rx',
    {
      about: 'takes packets from its ports and gives them to its outputs',
      inputs: [1, any],
      outputs: [1, any],
      port: 'rx',
      options: {},
    },
  ],
  [
    'port-tx',
    {
      about: 'takes packets from its inputs and sends them out of its ports',
      inputs: [1, any],
      outputs: [1, any],
      port: 'tx',
      options: {},
    },
  ],
  [
    'forward',
    {
      about: 'passes every packet on; with several outputs, bursts take turns',
      inputs: [1, any],
      outputs: [1, any],
      options: {},
    },
  ],
  [
    'flow-split',
    {
      about: 'spreads packets over its outputs by flow; both directions of a flow go the same way',
      inputs: [1, any],
      outputs: [1, any],
      options: {},
    },
  ],
  [
    'filter',
    {
      about: 'passes what matches to output 0 and the rest to output 1, or discards it',
      inputs: [1, any],
      outputs: [1, 2],
      options: {
        expression: {
          expects: 'a filter in libpcap syntax',
          example: '"tcp port 443"',
          required: true,
          about: 'Filter in libpcap syntax.',
          accepts: (value) => typeof value === 'string' && value.trim() !== '',
        },
      },
    },
  ],
  [
    'count',
    {
      about: 'counts by protocol and passes packets on, or ends them when it has no output',
      inputs: [1, any],
      outputs: [0, any],
      firstOutputOnly: true,
      options: {},
    },
  ],
  [
    'mirror',
    {
      about: 'gives every packet to every output',
      inputs: [1, any],
      outputs: [1, any],
      options: {},
    },
  ],
  ['sink', { about: 'ends every packet', inputs: [1, any], outputs: [0, 0], options: {} }],
  [
    'generate',
    {
      about: 'makes packets; with several outputs, bursts take turns',
      inputs: [0, 0],
      outputs: [1, any],
      options: {
        size: integerOption(60, 9000, 64, 'Bytes of a packet.'),
        rate: integerOption(0, 1e9, 1000000, 'Packets per second; 0 means as fast as it goes.'),
        flows: integerOption(1, 60000, 64, 'Different flows.'),
        buffers: integerOption(64, limits.poolBuffersMax, 4096, 'Buffers of its pool.'),
        count: integerOption(
          0,
          Number.MAX_SAFE_INTEGER,
          1000,
          'Packets in all; 0 means without end.',
        ),
      },
    },
  ],
]);
