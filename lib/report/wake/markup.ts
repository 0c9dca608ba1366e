// HTML that escapes by default: whatever is put into a template is text, unless it was made here too.
// Names of hosts and notes come from files that anybody may have written.

export class Markup {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  toString(): string {
    return this.#text;
  }
}

export type Content = Markup | string | number | false | null | undefined | readonly Content[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function text(content: Content): string {
  if (content instanceof Markup) return content.toString();
  if (content === null || content === undefined || content === false) return '';
  if (typeof content === 'object') return content.map(text).join('');
  // Control characters are no text in HTML, and may turn the direction of what follows.
  return String(content)
    .replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (c) =>
      c === '\n' || c === '\t' ? c : '\ufffd',
    )
    .replace(/[&<>"']/g, (c) => ENTITIES[c] ?? c);
}

/** `markup\`<td>${anything}</td>\`` */
export function markup(parts: TemplateStringsArray, ...values: readonly Content[]): Markup {
  return new Markup(String.raw({ raw: parts }, ...values.map(text)));
}
