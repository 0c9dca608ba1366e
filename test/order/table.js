// The table of docs/design/memory-order.md, as a reader sees it: names and instructions stand in
// backquotes, the two sides of a pair are parted by " / ".
import { readFileSync } from 'node:fs';

export const DOCUMENT = 'docs/design/memory-order.md';
export const MACHINES = ['x86-64', 'aarch64', 'riscv64'];

const COLUMNS = ['pair', 'first', 'then', 'protects', 'shape', ...MACHINES, 'held by'];
const quoted = (text) => [...text.matchAll(/`([^`]+)`/g)].map(([, token]) => token);

/** "`file.hpp` `A::b` `A::c`" as [{file, name}, ...]. */
function functions(cell) {
  let file;
  return quoted(cell).flatMap((token) => {
    if (!/\.[ch]pp$/.test(token)) return [{ file, name: token }];
    file = token;
    return [];
  });
}

export function readTable(text = readFileSync(DOCUMENT, 'utf8')) {
  const rows = text.split('\n').filter((line) => line.startsWith('|'));
  const cells = rows.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  const head = cells.findIndex((row) => row.join() === COLUMNS.join());
  if (head < 0) throw new Error(`${DOCUMENT} has no table with columns ${COLUMNS.join(', ')}`);
  // It ends where the rows have other columns: the next table.
  const end = cells.findIndex((row, i) => i > head && row.length !== COLUMNS.length);
  return cells.slice(head + 2, end < 0 ? undefined : end).map((row) => {
    const cell = Object.fromEntries(COLUMNS.map((name, i) => [name, row[i] ?? '']));
    return {
      pair: cell.pair,
      shape: cell.shape,
      /** The functions of each side. */
      sides: [functions(cell.first), functions(cell.then)],
      /** What each side becomes: a sequence of instructions; empty: no barrier at all. */
      becomes: Object.fromEntries(
        MACHINES.map((machine) => [machine, cell[machine].split(' / ').map(quoted)]),
      ),
      /** Names of files, each with the checks in it that cover the pair. */
      heldBy: quoted(cell['held by']).map((file) => ({ file })),
      checks: [...cell['held by'].matchAll(/"([^"]+)"/g)].map(([, name]) => name),
    };
  });
}
