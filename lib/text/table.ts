// Plain text tables: columns apart by two spaces, numbers to the right.

export interface Column {
  title: string;
  /** Numbers read best to the right. */
  right?: boolean;
}

export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map((column, i) =>
    Math.max(column.title.length, ...rows.map((row) => (row[i] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ right }, i) => {
        const cell = cells[i] ?? '';
        const width = widths[i] ?? 0;
        return right ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)];
}
