// What several sections of the page are made of.
import { type Content, type Markup, markup } from './markup.js';
import { NONE, ns } from './units.js';

export interface Section {
  id: string;
  title: string;
  /** In the list of sections. */
  short?: string;
  body: Markup;
}

export interface Column {
  title: Content;
  /** text: to the left; prose: to the left, and it may wrap. Numbers are to the right. */
  kind?: 'text' | 'prose' | 'dotcell' | 'barcell' | 'forest';
}

export interface Row {
  cells: readonly Content[];
  class?: string | undefined;
}

const kindOf = ({ kind }: Column): Markup | false => kind !== undefined && markup` class="${kind}"`;

/** A table in a box of its own that scrolls sideways; the first cell of a row is its header. */
export function table(
  caption: Content,
  columns: readonly Column[],
  groups: readonly { title?: Content; rows: readonly Row[] }[],
  label: string,
  /** Titles over several columns each. */
  spans: readonly (readonly [string, number])[] = [],
): Markup {
  const over =
    spans.length > 0 &&
    markup`<tr>${spans.map(([title, width]) =>
      title === ''
        ? markup`<td colspan="${width}"></td>`
        : markup`<th scope="colgroup" colspan="${width}" class="span">${title}</th>`,
    )}</tr>`;
  const head = markup`<thead>${over}<tr>${columns.map(
    (column) => markup`<th scope="col"${kindOf(column)}>${column.title}</th>`,
  )}</tr></thead>`;
  const bodies = groups.map(
    ({ title, rows }) =>
      markup`<tbody>${
        title !== undefined &&
        markup`<tr class="group"><th scope="rowgroup" colspan="${columns.length}">${title}</th></tr>`
      }${rows.map(
        (row) =>
          markup`<tr${row.class && markup` class="${row.class}"`}>${columns.map((column, i) =>
            i === 0
              ? markup`<th scope="row">${row.cells[0]}</th>`
              : markup`<td${kindOf(column)}>${row.cells[i]}</td>`,
          )}</tr>`,
      )}</tbody>`,
  );
  // Who has no pointer scrolls it with the keys.
  return markup`<div class="scroll" role="region" aria-label="${label}" tabindex="0"><table>${
    caption !== '' && markup`<caption><span>${caption}</span></caption>`
  }${head}${bodies}</table></div>`;
}

/** Panels of which one is seen, chosen without a script. */
export function tabs(
  id: string,
  legend: string,
  panels: readonly { label: Content; content: Content }[],
  selected = 0,
): Content {
  if (panels.length === 0) return undefined;
  if (panels.length === 1) return panels[0]?.content;
  const most = panels.slice(0, MOST_PANELS);
  return markup`<fieldset class="tabs"><legend>${legend}</legend>${most.map(
    ({ label }, i) =>
      markup`<input type="radio" name="${id}" id="${id}-${i}"${i === selected && markup` checked`}><label for="${id}-${i}">${label}</label>`,
  )}${most.map(({ content }) => markup`<div class="panel">${content}</div>`)}</fieldset>`;
}

/** As many as the style has rules for. */
const MOST_PANELS = 24;

/** A latency for people, with the exact one for programs that read the page. */
export function latency(value: number | null | undefined): Markup {
  return value === null || value === undefined
    ? markup`${NONE}`
    : markup`<data value="${value}">${ns(value)}</data>`;
}

export function facts(rows: readonly (readonly [string, Content])[]): Markup {
  return markup`<dl class="list">${rows.map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}
