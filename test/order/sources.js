// Finds every ordered atomic operation in the sources and the function that it stands in. Reads the
// code as clang-format leaves it: enough of C++ to know a function from a class, a lambda or a loop.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

export const FOLDERS = [
  'include/vanity',
  'platform',
  'memory',
  'shard',
  'device',
  'kernel',
  'port',
  'packet',
];

const ANY = /memory_order_\w+|\b(?:own|mirror|publish|observe|publish_bits|take)<Edge::/g;
/** Ordered by name, by a primitive of atomic.hpp, or, unnamed, sequentially consistent. */
const ORDERED =
  /memory_order_(?:acquire|release|acq_rel|seq_cst|consume)|\b(?:publish|observe|publish_bits|take)<Edge::/g;
const UNNAMED =
  /\.(?:load\(\)|(?:store|exchange|fetch_\w+|compare_exchange_\w+)\((?:[^()]|\([^()]*\))*\))/g;

/** Comments, strings and directives become blanks, so that positions stay. */
function blank(text) {
  return text.replace(
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)'|^#(?:[^\\\n]|\\.|\\\n)*/gm,
    (found) => found.replace(/[^\n]/g, ' '),
  );
}

/** What a header that ends at a brace opens: a scope's name, a function's, or neither. */
function opened(header) {
  let text = header.replace(/\[\[.*?\]\]/g, ' ').trim();
  while (/^template\s*</.test(text)) {
    let depth = 0;
    let end = text.indexOf('<');
    do {
      if (text[end] === '<') depth++;
      if (text[end] === '>') depth--;
      end++;
    } while (depth > 0);
    text = text.slice(end).trim();
  }
  const scope = /^(?:class|struct|union)\s+(?:alignas\([^)]*\)\s*)?(\w+)/.exec(text);
  if (scope !== null) return { scope: scope[1] };
  if (/^(?:if|else|for|while|do|switch|try|catch|return|namespace|enum|extern)\b/.test(text))
    return {};
  if (/\]\s*(?:\([^()]*\)\s*)?(?:noexcept\s*)?$/.test(text)) return {}; // a lambda
  const call = /^[^(=]*?((?:\w+::)*~?\w+)\s*\(/.exec(text);
  return call === null ? {} : { call: call[1] };
}

/**
 * [{file, line, function, what}], `function` qualified by its class. Without `relaxed` only what
 * orders.
 */
export function operations(file, text, { relaxed = false } = {}) {
  const code = blank(text);
  const found = [...code.matchAll(relaxed ? ANY : ORDERED), ...code.matchAll(UNNAMED)]
    .filter(([what]) => what.startsWith('memory') || !/memory_order/.test(what))
    .map((match) => ({ at: match.index, what: match[0] }))
    .sort((a, b) => a.at - b.at);
  const result = [];
  const scopes = []; // of each open brace: {scope} or {call} or {}
  const parens = [0];
  let since = 0; // where the header began
  let next = 0;
  for (let i = 0; i < code.length && next < found.length; i++) {
    if (i === found[next].at) {
      // In an initializer list the function's brace is still to come.
      const named = [...scopes, opened(code.slice(since, i))];
      const call = named.find((each) => each.call !== undefined)?.call ?? 'no function';
      const scope = named.findLast((each) => each.scope !== undefined)?.scope;
      result.push({
        file: basename(file),
        line: code.slice(0, i).split('\n').length,
        function: scope === undefined || call.includes('::') ? call : `${scope}::${call}`,
        what: found[next].what,
        text: code.slice(since, code.indexOf(';', i)).trim(),
      });
      next++;
    }
    const c = code[i];
    if (c === '(') parens[parens.length - 1]++;
    if (c === ')') parens[parens.length - 1]--;
    if (c === '{') {
      scopes.push(opened(code.slice(since, i)));
      parens.push(0);
    }
    if (c === '}') {
      scopes.pop();
      parens.pop();
    }
    if (c === '{' || c === '}' || (c === ';' && parens.at(-1) === 0)) since = i + 1;
  }
  return result;
}

export function allOperations(options) {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join('native', folder), { recursive: true })
      .filter((name) => /\.[ch]pp$/.test(name))
      .sort()
      .flatMap((name) => {
        const path = join('native', folder, name);
        return operations(path, readFileSync(path, 'utf8'), options);
      }),
  );
}
