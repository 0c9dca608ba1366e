import { accessSync, constants, statSync } from 'node:fs';
import { extname } from 'node:path';
import { type Builtin, builtins } from '../builtins.js';
import { foundText, type Model } from '../model.js';
import type { Path } from '../parse.js';
import type { ShardEntry } from '../schema.js';
import { list, nearest } from '../suggest.js';

export const programExtensions = ['.so', '.js', '.mjs', '.ts'] as const;

export function programRules(model: Model): void {
  for (const { name, path, value } of model.shards.values()) {
    if (!value) continue;
    const builtin = builtins.get(value.program);
    if (builtin) {
      optionRules(model, name, path, value, builtin);
      messageRule(model, name, path, value);
      if (model.joinsKnown) endRules(model, name, path, value, builtin);
    } else {
      fileRules(model, name, path, value);
      if (model.joinsKnown) aloneRule(model, name, path);
    }
  }
}

interface Ends {
  readonly inputs: number;
  readonly outputs: number;
  readonly rx: number;
  readonly tx: number;
}

function endsOf(model: Model, shard: string): Ends {
  const count = (of: Iterable<boolean>) => [...of].filter(Boolean).length;
  const channels = [...model.channels.values()].flatMap(({ value }) => (value ? [value] : []));
  const ports = [...model.ports.values()].flatMap(({ value }) => (value ? [value] : []));
  const rx = count(ports.map((port) => port.rx?.includes(shard) ?? false));
  const tx = count(ports.map((port) => port.tx?.includes(shard) ?? false));
  return {
    rx,
    tx,
    inputs: rx + count(channels.map((channel) => channel.to === shard)),
    outputs: tx + count(channels.map((channel) => channel.from === shard)),
  };
}

function endRules(
  model: Model,
  shard: string,
  path: Path,
  value: ShardEntry,
  builtin: Builtin,
): void {
  const { program } = value;
  const ends = endsOf(model, shard);
  const refuse = (problem: string, hint: string) =>
    model.report('VANITY_E_PROGRAM_ENDS', { shard, program, problem, hint }, [...path, 'program']);
  if (builtin.port && ends[builtin.port] === 0) {
    refuse(
      `which needs a port to ${builtin.port === 'rx' ? 'receive from' : 'send to'}`,
      `Add to a port, [ports.NAME]: ${builtin.port} = "${shard}"`,
    );
  }
  const checks = [
    ['input', 'to', 'rx', builtin.inputs, ends.inputs, builtin.port === 'rx'],
    ['output', 'from', 'tx', builtin.outputs, ends.outputs, builtin.port === 'tx'],
  ] as const;
  for (const [end, key, direction, [min, max], count, said] of checks) {
    if (count < min && !said) {
      refuse(
        `which needs ${min === 1 ? `an ${end}` : `${min} ${end}s`} and has ${count === 0 ? 'none' : count}`,
        `Add [channels.NAME] with ${key} = "${shard}", or a port with ${direction} = "${shard}".`,
      );
    } else if (count > max) {
      refuse(
        `which has ${max === 0 ? `no ${end}s` : `at most ${max} ${end}s`}; ${count} ${count === 1 ? 'is' : 'are'} joined to it`,
        `Remove what has ${key} = "${shard}" or ${direction} = "${shard}", or run another program.`,
      );
    }
  }
  if (builtin.firstOutputOnly && ends.outputs > 1) {
    model.warn('VANITY_W_OUTPUT_UNUSED', { shard, program, count: ends.outputs }, [
      ...path,
      'program',
    ]);
  }
}

function messageRule(model: Model, shard: string, path: Path, value: ShardEntry): void {
  for (const channel of model.channels.values()) {
    if (channel.value?.carries !== 'messages') continue;
    if (channel.value.from !== shard && channel.value.to !== shard) continue;
    model.report(
      'VANITY_E_PROGRAM_MESSAGES',
      { channel: channel.name, shard, program: value.program },
      [...channel.path, 'carries'],
      [{ message: 'the program is set here', location: model.at([...path, 'program']) }],
    );
  }
}

function optionRules(
  model: Model,
  shard: string,
  path: Path,
  value: ShardEntry,
  builtin: Builtin,
): void {
  const { program, options } = value;
  const known = Object.keys(builtin.options);
  for (const [option, given] of Object.entries(options)) {
    const rule = Object.hasOwn(builtin.options, option) ? builtin.options[option] : undefined;
    const at = [...path, 'options', option];
    if (!rule) {
      const meant = nearest(option, known);
      const hint =
        meant !== undefined
          ? `Did you mean "${meant}"? Type: options = { ${meant} = ${foundText(given)} }`
          : known.length === 0
            ? 'It takes no options: remove it.'
            : `Its options: ${list(known, 'and')}.`;
      model.report(
        'VANITY_E_OPTION_UNKNOWN',
        { shard, program, option, hint },
        model.at(at, 'key'),
      );
    } else if (!rule.accepts(given)) {
      const { expects, example } = rule;
      model.report(
        'VANITY_E_OPTION_VALUE',
        { shard, program, option, expects, example, found: foundText(given) },
        at,
      );
    }
  }
  for (const [option, rule] of Object.entries(builtin.options)) {
    if (!rule.required || Object.hasOwn(options, option)) continue;
    if (Object.keys(options).some((given) => nearest(given, known) === option)) continue;
    const { expects, example } = rule;
    model.report('VANITY_E_OPTION_MISSING', { shard, program, option, expects, example }, [
      ...path,
      'program',
    ]);
  }
}

function fileRules(model: Model, shard: string, path: Path, value: ShardEntry): void {
  const { program } = value;
  const at = [...path, 'program'];
  const extension = extname(program);
  if (!(programExtensions as readonly string[]).includes(extension)) {
    const meant = nearest(program, builtins.keys());
    const hint =
      meant === undefined
        ? `Built-ins: ${list(builtins.keys(), 'and')}.`
        : `Did you mean "${meant}"? Type: program = "${meant}"`;
    model.report('VANITY_E_PROGRAM_UNKNOWN', { shard, program, hint }, at);
    return;
  }
  const problem = fileProblem(model.file(at, program));
  if (problem)
    model.report('VANITY_E_PROGRAM_FILE', { shard, file: JSON.stringify(program), problem }, at);
}

/** What stands in the way of reading a file; undefined when nothing does. */
export function fileProblem(file: string): string | undefined {
  try {
    const found = statSync(file);
    if (found.isDirectory()) return 'is a folder';
    if (!found.isFile()) return 'is not a regular file';
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'does not exist';
    return `cannot be read (${code ?? String(error)})`;
  }
}

function aloneRule(model: Model, shard: string, path: Path): void {
  const { inputs, outputs } = endsOf(model, shard);
  const granted = [...model.devices.values()].some(
    ({ value }) =>
      value && [...value.mmio, ...value.irqs, ...value.dma].some((grant) => grant.to === shard),
  );
  if (inputs + outputs === 0 && !granted) model.warn('VANITY_W_SHARD_ALONE', { shard }, path);
}
