// What is looked at inside the page: each function runs there, and has to be whole by itself.

/** Elements that reach beyond the screen, other than inside a box that scrolls by itself. */
export function spills() {
  const wide = document.documentElement.clientWidth;
  const found = [];
  if (document.documentElement.scrollWidth > wide) {
    found.push(`the page is ${document.documentElement.scrollWidth} wide, the screen ${wide}`);
  }
  for (const one of document.querySelectorAll('body *')) {
    if (one.closest('.scroll') !== null && !one.matches('.scroll')) continue;
    if (one.closest('svg, pre') !== null || !one.checkVisibility()) continue;
    const { right, left, width } = one.getBoundingClientRect();
    if (width > 1 && (right > wide + 1 || left < -1)) {
      found.push(`${one.tagName} ${one.className}: ${Math.round(left)} to ${Math.round(right)}`);
    }
  }
  return found.slice(0, 10);
}

/** Texts of a chart that touch one another, or reach out of it. */
export function overlaps() {
  const found = [];
  for (const chart of document.querySelectorAll('.chart svg, svg.dots')) {
    if (!chart.checkVisibility()) continue;
    const frame = chart.getBoundingClientRect();
    const texts = [...chart.querySelectorAll('text')].map((one) => ({
      name: one.textContent,
      box: one.getBoundingClientRect(),
    }));
    for (const { name, box } of texts) {
      if (
        box.left < frame.left - 1 ||
        box.right > frame.right + 1 ||
        box.bottom > frame.bottom + 1
      ) {
        found.push(`"${name}" leaves its chart`);
      }
    }
    for (const [i, a] of texts.entries()) {
      for (const b of texts.slice(i + 1)) {
        const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
        const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
        // The box of a line of text is higher than its letters.
        if (across > 0 && down > a.box.height * 0.25) found.push(`"${a.name}" and "${b.name}"`);
      }
    }
  }
  return found.slice(0, 10);
}

/** The least contrast between a text and what is behind it (WCAG 2.2, 1.4.3). */
export function contrasts() {
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((v) => {
      const share = v / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let least = { ratio: 21 };
  let count = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const one = walker.currentNode.parentElement;
    if (text === '' || one.closest('title, desc, style') !== null || !one.checkVisibility())
      continue;
    const style = getComputedStyle(one);
    const front = luminance(parse(one instanceof SVGElement ? style.fill : style.color));
    const back = luminance(behind(one));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    count++;
    if (ratio < least.ratio)
      least = { ratio, text: text.slice(0, 40), in: one.outerHTML.slice(0, 120) };
  }
  return { least, count };
}

/** What a screen reader would miss. */
export function headings() {
  const found = [];
  let before = 0;
  for (const one of document.querySelectorAll('h1, h2, h3, h4')) {
    const level = Number(one.tagName[1]);
    if (level > before + 1) found.push(`${one.tagName} after H${before}: ${one.textContent}`);
    before = level;
  }
  if (document.querySelectorAll('h1').length !== 1) found.push('not one h1');
  if (document.documentElement.lang !== 'en') found.push('no language');
  for (const svg of document.querySelectorAll('svg')) {
    if (svg.parentElement.closest('svg') !== null || svg.getAttribute('aria-hidden') === 'true')
      continue;
    const named = (svg.getAttribute('aria-labelledby') ?? '')
      .split(' ')
      .map((id) => document.getElementById(id));
    if (
      svg.getAttribute('role') !== 'img' ||
      named.length !== 2 ||
      named.some((one) => !one?.textContent)
    ) {
      found.push(`a chart without a name: ${svg.outerHTML.slice(0, 80)}`);
    }
  }
  for (const table of document.querySelectorAll('table')) {
    if (!table.querySelector('thead th[scope=col]')) found.push('a table without heads of columns');
    for (const row of table.querySelectorAll('tbody tr')) {
      if (!row.querySelector('th[scope]'))
        found.push(`a row without a head: ${row.textContent.slice(0, 40)}`);
    }
  }
  for (const input of document.querySelectorAll('input')) {
    if (input.labels.length === 0) found.push('an input without a label');
  }
  return found.slice(0, 10);
}
