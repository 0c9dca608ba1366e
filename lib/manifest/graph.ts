import type { Plan, PortPlan } from './plan.js';

interface Node {
  readonly id: string;
  readonly title: string;
  readonly lines: readonly string[];
  readonly kind: 'shard' | 'port';
}

interface Edge {
  readonly from: string;
  readonly to: string;
  readonly label: string;
  readonly style: 'packets' | 'messages' | 'port';
}

interface Graph {
  readonly nodes: readonly Node[];
  readonly edges: readonly Edge[];
}

const base = (path: string) => path.slice(path.lastIndexOf('/') + 1);

function kindOf(plan: Plan, { driver, interface: name, device }: PortPlan): string {
  if (driver === 'af_packet') return `af_packet ${name}`;
  const nic = plan.devices[device];
  return nic === undefined ? driver : `${nic.driver} ${nic.pci}`;
}

// A port that receives and sends stands twice, at the left and at the right, so that packets flow one way.
function graphOf(plan: Plan): Graph {
  const shardId = (index: number) => `shard ${plan.shards[index]?.name}`;
  const nodes: Node[] = plan.shards.map((shard) => ({
    id: `shard ${shard.name}`,
    title: shard.name,
    lines: [base(shard.program), shard.core === 'auto' ? 'core auto' : `core ${shard.core}`],
    kind: 'shard',
  }));
  const edges: Edge[] = plan.channels.map((channel) => ({
    from: shardId(channel.from),
    to: shardId(channel.to),
    label: `${channel.name} (${channel.capacity}${channel.packets ? '' : ` × ${channel.elementBytes} B`})`,
    style: channel.packets ? 'packets' : 'messages',
  }));
  for (const port of plan.ports) {
    const kind = kindOf(plan, port);
    const side = (direction: 'rx' | 'tx', file: string) => {
      if (port[direction].length === 0) return;
      const id = `port ${port.name} ${direction}`;
      const lines = file === '' ? [kind] : [kind, base(file)];
      nodes.push({ id, title: `${port.name} ${direction}`, lines, kind: 'port' });
      for (const [queue, shard] of port[direction].entries()) {
        const label = port[direction].length > 1 ? `queue ${queue}` : '';
        edges.push(
          direction === 'rx'
            ? { from: id, to: shardId(shard), label, style: 'port' }
            : { from: shardId(shard), to: id, label, style: 'port' },
        );
      }
    };
    side('rx', port.file);
    side('tx', port.write);
  }
  return { nodes, edges };
}

/** The system as a Graphviz graph. */
export function toDot(plan: Plan): string {
  const { nodes, edges } = graphOf(plan);
  const quote = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`;
  const label = (lines: readonly string[]) =>
    `"${lines.map((l) => l.replace(/["\\]/g, '\\$&')).join('\\n')}"`;
  const line = { packets: 'solid', messages: 'dashed', port: 'bold' };
  return [
    `digraph ${quote(plan.name)} {`,
    '  rankdir=LR;',
    '  node [fontname="sans-serif", fontsize=11];',
    '  edge [fontname="sans-serif", fontsize=9];',
    ...nodes.map(
      ({ id, title, lines, kind }) =>
        `  ${quote(id)} [shape=${kind === 'shard' ? 'box, style=rounded' : 'cds'}, label=${label([title, ...lines])}];`,
    ),
    ...edges.map(
      ({ from, to, label: text, style }) =>
        `  ${quote(from)} -> ${quote(to)} [label=${quote(text)}, style=${line[style]}];`,
    ),
    '}',
    '',
  ].join('\n');
}

const box = { width: 150, height: 58, gapX: 150, gapY: 34, margin: 24, header: 34 };

// Longest path from the sources; an edge that closes a cycle does not count.
function layersOf({ nodes, edges }: Graph): Map<string, number> {
  const out = new Map<string, string[]>(nodes.map(({ id }) => [id, []]));
  for (const { from, to } of edges) out.get(from)?.push(to);
  const state = new Map<string, 'open' | 'closed'>();
  const order: string[] = [];
  const back = new Set<string>();
  const visit = (root: string) => {
    const stack = [{ id: root, next: 0 }];
    state.set(root, 'open');
    while (stack.length > 0) {
      const top = stack.at(-1) as { id: string; next: number };
      const to = out.get(top.id)?.[top.next++];
      if (to === undefined) {
        state.set(top.id, 'closed');
        order.unshift(top.id);
        stack.pop();
      } else if (state.get(to) === 'open') {
        back.add(`${top.id}\0${to}`);
      } else if (!state.has(to)) {
        state.set(to, 'open');
        stack.push({ id: to, next: 0 });
      }
    }
  };
  const hasInput = new Set(edges.map(({ to }) => to));
  for (const { id } of nodes) if (!hasInput.has(id)) visit(id);
  for (const { id } of nodes) if (!state.has(id)) visit(id);
  const layer = new Map<string, number>(order.map((id) => [id, 0]));
  for (const id of order) {
    for (const to of out.get(id) ?? []) {
      if (back.has(`${id}\0${to}`)) continue;
      layer.set(to, Math.max(layer.get(to) ?? 0, (layer.get(id) ?? 0) + 1));
    }
  }
  return layer;
}

// Columns by layer; a few sweeps that move every node to the middle of its neighbours.
function columnsOf(graph: Graph): string[][] {
  const layer = layersOf(graph);
  const columns: string[][] = [];
  for (const { id } of graph.nodes) {
    const at = layer.get(id) ?? 0;
    while (columns.length <= at) columns.push([]);
    columns[at]?.push(id);
  }
  const neighbours = new Map<string, string[]>(graph.nodes.map(({ id }) => [id, []]));
  for (const { from, to } of graph.edges) {
    neighbours.get(from)?.push(to);
    neighbours.get(to)?.push(from);
  }
  const row = new Map<string, number>();
  const number = (column: readonly string[]) => {
    for (const [index, id] of column.entries()) row.set(id, index - (column.length - 1) / 2);
  };
  for (const column of columns) number(column);
  for (let sweep = 0; sweep < 6; sweep++) {
    for (const column of sweep % 2 === 0 ? columns : [...columns].reverse()) {
      const middle = new Map(
        column.map((id) => {
          const rows = (neighbours.get(id) ?? []).map((other) => row.get(other) ?? 0);
          return [id, rows.length === 0 ? 0 : rows.reduce((a, b) => a + b, 0) / rows.length];
        }),
      );
      column.sort((a, b) => (middle.get(a) ?? 0) - (middle.get(b) ?? 0));
      number(column);
    }
  }
  return columns;
}

const escapeXml = (text: string) =>
  text.replace(
    /[&<>"]/g,
    (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] as string,
  );

const cut = (text: string, most: number) =>
  text.length > most ? `${text.slice(0, most - 1)}…` : text;

const style = `
  :root { color-scheme: light dark; }
  .back { fill: #ffffff; } text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 13px; } .small { font-size: 11px; fill: #59636e; }
  .label { font-size: 10px; fill: #59636e; stroke: #ffffff; stroke-width: 3px; paint-order: stroke; }
  .shard { fill: #ddf4ff; stroke: #0969da; } .port { fill: #dafbe1; stroke: #1a7f37; }
  .edge { fill: none; stroke: #59636e; stroke-width: 1.5; } .messages { stroke-dasharray: 5 4; }
  .tip { fill: #59636e; }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117; } text { fill: #e6edf3; } .small { fill: #9198a1; }
    .label { fill: #9198a1; stroke: #0d1117; }
    .shard { fill: #121d2f; stroke: #4493f8; } .port { fill: #12261e; stroke: #3fb950; }
    .edge { stroke: #9198a1; } .tip { fill: #9198a1; }
  }`;

/** The system as a drawing that stands alone, in columns from source to sink. */
export function toSvg(plan: Plan): string {
  const graph = graphOf(plan);
  const columns = columnsOf(graph);
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const { width, height, gapX, gapY, margin, header } = box;
  const place = new Map<string, { x: number; y: number; row: number; column: number }>();
  const pitch = height + gapY;
  for (const [c, column] of columns.entries()) {
    const top = margin + header + ((tallest - column.length) * pitch) / 2;
    for (const [r, id] of column.entries()) {
      place.set(id, { x: margin + c * (width + gapX), y: top + r * pitch, row: r, column: c });
    }
  }
  let floor = margin + header + tallest * pitch - gapY;
  let side = 0; // room beside the columns for edges that go back
  const seen = new Map<string, number>();
  const paths: string[] = [];
  const labels: string[] = [];
  for (const edge of graph.edges) {
    const from = place.get(edge.from);
    const to = place.get(edge.to);
    if (!from || !to) continue;
    const pair = `${edge.from}\0${edge.to}`;
    const copy = seen.get(pair) ?? 0;
    seen.set(pair, copy + 1);
    const y1 = from.y + height / 2 + copy * 12;
    const y2 = to.y + height / 2 + copy * 12;
    const x1 = from.x + width;
    const x2 = to.x - 7;
    let path: string;
    let at: { x: number; y: number };
    if (to.column > from.column) {
      const bend = Math.min(gapX / 2, (x2 - x1) / 2);
      // An edge over several columns passes below the boxes between.
      const far = to.column - from.column > 1;
      const lane = far ? floor + 18 : (y1 + y2) / 2;
      if (far) floor = lane;
      path = far
        ? `M${x1},${y1} C${x1 + bend},${y1} ${x1 + 20},${lane} ${x1 + bend + 40},${lane} L${x2 - bend - 40},${lane} C${x2 - 20},${lane} ${x2 - bend},${y2} ${x2},${y2}`
        : `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`;
      at = { x: (x1 + x2) / 2, y: lane - 5 };
    } else {
      floor += 18;
      side = 36;
      path = `M${x1},${y1} C${x1 + 50},${y1} ${x1 + 50},${floor} ${x1 - 20},${floor} L${x2 + 20},${floor} C${x2 - 50},${floor} ${x2 - 50},${y2} ${x2},${y2}`;
      at = { x: (x1 + x2) / 2, y: floor - 5 };
    }
    paths.push(`<path class="edge ${edge.style}" marker-end="url(#tip)" d="${path}"/>`);
    if (edge.label !== '') {
      labels.push(
        `<text class="label" x="${at.x}" y="${at.y}" text-anchor="middle">${escapeXml(cut(edge.label, 30))}</text>`,
      );
    }
  }
  const boxes = graph.nodes.flatMap(({ id, title, lines, kind }) => {
    const at = place.get(id);
    if (!at) return [];
    const middle = at.x + width / 2;
    const text = [title, ...lines].map((line, index) => {
      const name = index === 0 ? 'title' : 'small';
      return `<text class="${name}" x="${middle}" y="${at.y + 19 + index * 15 + (2 - lines.length) * 7}" text-anchor="middle">${escapeXml(cut(line, 24))}</text>`;
    });
    const rect = `<rect class="${kind}" x="${at.x}" y="${at.y}" width="${width}" height="${height}" rx="${kind === 'shard' ? 8 : 26}"/>`;
    return [rect, ...text];
  });
  const w = 2 * (margin + side) + columns.length * (width + gapX) - gapX;
  const h = floor + margin;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="${-side} 0 ${w} ${h}" role="img" aria-label="${escapeXml(plan.name)}">`,
    `<style>${style}\n</style>`,
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path class="tip" d="M0,0 L8,4 L0,8 Z"/></marker></defs>',
    `<rect class="back" x="${-side}" width="${w}" height="${h}"/>`,
    `<text class="title" x="${margin}" y="${margin + 6}">${escapeXml(plan.name)}</text>`,
    ...paths,
    ...boxes,
    ...labels,
    '</svg>',
    '',
  ].join('\n');
}
