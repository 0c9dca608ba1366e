// Writes docs/reference/errors.md and the tables of docs/reference/manifest.md from the code. Run after
// the build of lib/.
import { readFileSync, writeFileSync } from 'node:fs';
import { errors, warnings } from '../../dist/errors.js';
import { builtins } from '../../dist/manifest/builtins.js';
import { expectationAt, jsonSchema } from '../../dist/manifest/schema.js';

// ---- errors.md ---------------------------------------------------------------------------------

const plain = (template) =>
  template.replace(/\{\{|\}\}|\{(\w+)\}/g, (match, word) => (word ? `<${word}>` : match[0]));
const hintOf = (hint) =>
  /^\{\w+\}$/.test(hint) ? 'depends on what is wrong' : `\`\`${plain(hint)}\`\``;
const entry = ([code, { message, hint, exitCode }]) =>
  `### ${code}\n\n- message: \`\`${plain(message)}\`\`\n- hint: ${hintOf(hint)}\n${
    exitCode ? `- exit code: ${exitCode}\n` : ''
  }`;

export const errorsText = `# Errors

Generated from \`lib/errors.ts\` by \`node docs/reference/generate-tables.js\`. Every error has a code, a message that says
what was expected and what was found, and a hint that says what to type. An error of a manifest has a place
(\`file:line:column\`) too, and the second place when two things clash. Words in angle brackets are filled in.
The exit code is 1 unless the entry says otherwise. The native core raises some of these with more exact words
of its own.

\`vanity check --json\` gives \`{ ok, errors, warnings }\`; each error and warning is
\`{ code, message, hint, file, line, column, related: [{ message, file, line, column }] }\`.

## Errors

${Object.entries(errors).map(entry).join('\n')}
## Warnings

A warning stops nothing.

${Object.entries(warnings).map(entry).join('\n')}`;

// ---- manifest.md -------------------------------------------------------------------------------

const rows = (header, lines) =>
  [header, header.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

function defaultOf(node, key) {
  const value = node.properties[key].default;
  if (node.required?.includes(key)) return 'required';
  if (value === undefined || typeof value === 'object') return 'none';
  return `\`${JSON.stringify(value)}\``;
}

function keyTable(path, node) {
  const lines = Object.entries(node.properties).map(([key, { description, type }]) => [
    `\`${key}\``,
    expectationAt([...path, key])?.expects ?? (type === 'array' ? 'a list, see below' : 'a table'),
    defaultOf(node, key),
    description ?? '',
  ]);
  return rows(['key', 'value', 'default', 'what it is'], lines);
}

function programTable() {
  const range = ([min, max], port) => {
    const many = max === Number.POSITIVE_INFINITY ? (min === 0 ? 'any' : `${min} or more`) : `${min} to ${max}`;
    return (min === max ? String(min) : many) + (port ? ', a port among them' : '');
  };
  const options = (all) =>
    Object.entries(all).map(
      ([name, { about, expects, required }]) => `\`${name}\`: ${about} ${expects}${required ? ', required' : ''}`,
    );
  const lines = [...builtins].map(([name, program]) => [
    `\`${name}\``,
    range(program.inputs, program.port === 'rx'),
    range(program.outputs, program.port === 'tx'),
    program.about,
    options(program.options).join('; ') || 'none',
  ]);
  return rows(['program', 'inputs', 'outputs', 'what it does', 'options'], lines);
}

const { properties } = jsonSchema();
const one = (section) => properties[section].additionalProperties;
const tables = { programs: programTable() };
for (const name of ['system', 'kernel']) tables[name] = keyTable([name], properties[name]);
for (const name of ['shards', 'channels', 'ports', 'devices']) tables[name] = keyTable([name, 'x'], one(name));
for (const name of ['mmio', 'irqs', 'dma']) {
  tables[name] = keyTable(['devices', 'x', name, 0], one('devices').properties[name].items);
}

tables.watchdog = keyTable(['shards', 'x', 'watchdog'], one('shards').properties.watchdog);

/** The text of manifest.md with its tables as they are now. */
export const fillTables = (text) =>
  text.replace(/<!-- (\w+) -->\n[\s\S]*?<!-- end -->/g, (_, name) => `<!-- ${name} -->\n${tables[name]}\n<!-- end -->`);

if (import.meta.url === `file://${process.argv[1]}`) {
  writeFileSync(new URL('errors.md', import.meta.url), errorsText);
  const manifest = new URL('manifest.md', import.meta.url);
  writeFileSync(manifest, fillTables(readFileSync(manifest, 'utf8')));
}
