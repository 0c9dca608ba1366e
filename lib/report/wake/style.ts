// The style of the page: light and dark by the reader's preference, paper when printed. Every text has a
// contrast of at least 4.5 to what is behind it, every line of a chart 3; a test computes the first.

/** Steps of the heatmap, least latency first: background and text. */
const HEAT_LIGHT = [
  ['#f1f6fb', '#16181d'],
  ['#d9e8f6', '#16181d'],
  ['#b7d3ee', '#16181d'],
  ['#8ab8e3', '#16181d'],
  ['#5b99d3', '#0b0e13'],
  ['#2467a8', '#ffffff'],
  ['#0d3f75', '#ffffff'],
] as const;
const HEAT_DARK = [
  ['#182230', '#e8eaee'],
  ['#1a3049', '#e8eaee'],
  ['#1c4166', '#f2f5f9'],
  ['#1f5686', '#ffffff'],
  ['#4d90c9', '#0b0e13'],
  ['#86b9e4', '#0b0e13'],
  ['#c4e0f7', '#0b0e13'],
] as const;
export const HEAT_STEPS = HEAT_LIGHT.length;

const heat = (steps: readonly (readonly [string, string])[]): string =>
  steps.map(([back, ink], i) => `--h${i}:${back};--hi${i}:${ink};`).join('');

// Told apart with the common kinds of colour blindness: each family also has its own markers and dashes.
const LIGHT = `--page:#f5f6f8;--card:#fff;--ink:#16181d;--muted:#525a66;--rule:#d8dce3;--grid:#e4e7ec;--minor:#f0f2f5;
--accent:#0b5cad;--good:#0b6b3a;--bad:#b3261e;--good-back:#e6f4ec;--bad-back:#fcebe9;--code:#f0f2f5;
--k0:#0b5cad;--k1:#3d93d6;--k2:#00806a;--k3:#5b9a1f;--k4:#c9480a;--k5:#7b3fa0;--k6:#6b7280;--k7:#c0397f;${heat(HEAT_LIGHT)}`;
const DARK = `--page:#0e1116;--card:#161a21;--ink:#e8eaee;--muted:#a6afbc;--rule:#323945;--grid:#2a303a;--minor:#20252d;
--accent:#7db8f2;--good:#7bd3a0;--bad:#ff9d94;--good-back:#14301f;--bad-back:#3a1a18;--code:#20252d;
--k0:#6fb1f5;--k1:#a9d3fb;--k2:#3ec9ad;--k3:#a5d860;--k4:#ff9a5c;--k5:#c79bea;--k6:#98a1ae;--k7:#f48fbf;${heat(HEAT_DARK)}`;

/** Panels that a row of radio buttons may have. */
const MOST_TABS = 24;
const each = (n: number, rule: (i: number) => string): string =>
  Array.from({ length: n }, (_, i) => rule(i)).join('');

export const STYLE = `
:root{color-scheme:light dark;${LIGHT}}
@media screen and (prefers-color-scheme:dark){:root{${DARK}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
main,header,footer{max-width:1064px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1{font-size:clamp(1.55rem,4.5vw,2.2rem);line-height:1.15;letter-spacing:-.015em;margin:4px 0 10px;text-wrap:balance}
h1 span{color:var(--muted);font-weight:400}
h2{font-size:1.22rem;letter-spacing:-.008em;margin:0 0 4px;scroll-margin-top:12px}
h3{font-size:1rem;margin:22px 0 6px}
p{margin:6px 0 10px;max-width:74ch}
a{color:var(--accent);text-underline-offset:.18em}
.eyebrow{margin:0;color:var(--accent);font-weight:600;font-size:.84rem;letter-spacing:.04em;text-transform:uppercase}
.facts{color:var(--muted);display:flex;flex-wrap:wrap;gap:2px 18px;list-style:none;margin:0;padding:0;font-size:.92rem}
.sub,.note{color:var(--muted);font-size:.92rem}
.alert{border-left:4px solid var(--bad);background:var(--bad-back);padding:10px 14px;border-radius:4px;margin:16px 0 0;max-width:none}
nav{margin:18px 0 0}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;padding:0;margin:0;font-size:.92rem}
nav a{display:inline-block;padding:4px 0}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:22px 24px;margin:18px 0}
.tiles{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;gap:12px;margin:22px 0 0}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:14px 18px 12px}
.tile dt{color:var(--muted);font-size:.86rem;line-height:1.35}
.tile dd{margin:0}
.tile .big{font-size:1.85rem;font-weight:650;line-height:1.25;letter-spacing:-.02em;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile .small{color:var(--muted);font-size:.86rem;line-height:1.4}
figure{margin:10px 0 0}
figcaption{color:var(--muted);font-size:.88rem;max-width:80ch}
.chart svg{display:block;width:100%;height:auto}
.chart .middle,.chart .narrow{display:none}
svg text{fill:var(--muted);font-variant-numeric:tabular-nums}
svg .label{fill:var(--ink)}
svg .value{fill:var(--muted)}
.axis{fill:none;stroke:var(--muted);stroke-width:1}
.grid{stroke:var(--grid);stroke-width:1}
.grid.minor{stroke:var(--minor)}
.line{fill:none;stroke:var(--k);stroke-width:2.1;stroke-linejoin:round;stroke-linecap:butt}
.line.faint{stroke-width:1.3;opacity:.42}
.mark{fill:var(--k);stroke:var(--k);stroke-width:1.5}
.leader{fill:none;stroke:var(--rule);stroke-width:1}
.reach{stroke:var(--k);stroke-width:2.5;opacity:.55}
.stop{stroke:var(--k);stroke-width:2}
.dots,.swatch{display:block;overflow:visible}
.swatch{display:inline-block;vertical-align:middle;margin-right:8px;flex:none}
.dots text{font-size:11.5px}
.bar{fill:var(--k0)}
.bar-back{fill:var(--minor)}
${each(8, (i) => `.k${i}{--k:var(--k${i})}`)}
.scroll{overflow-x:auto;margin:10px -24px 0;padding:0 24px;scrollbar-width:thin}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:-2px}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;width:100%}
caption{text-align:left;color:var(--muted);font-size:.88rem;padding:0 0 6px}
caption span{display:block;position:sticky;left:0;max-width:calc(100vw - 62px)}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap;vertical-align:middle}
th:first-child,td:first-child{padding-left:0}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--muted);font-weight:600;font-size:.84rem;border-bottom:1px solid var(--rule);vertical-align:bottom}
tbody th,thead th:first-child{text-align:left}
tbody th{font-weight:500}
thead .span{text-align:left;border-bottom:1px solid var(--grid);padding-bottom:2px}
thead .span+.span{padding-left:26px}
th.text,td.text{text-align:left}
td.prose,th.prose{text-align:left;white-space:normal;min-width:15ch}
tr.group th{padding-top:16px;font-weight:650;color:var(--ink);border-bottom:1px solid var(--rule)}
td.zero{color:var(--muted)}
td.dotcell,th.dotcell{width:46%;min-width:250px;text-align:left}
td.barcell{min-width:96px}
.forest{min-width:190px;width:26%}
.ratio{--k:var(--k6)}
.ratio.slower{--k:var(--bad)}
.ratio.faster{--k:var(--good)}
.quiet{color:var(--muted)}
.verdict{font-size:1.08rem;font-weight:600;border-left:4px solid var(--rule);padding:2px 0 2px 12px;color:var(--ink)}
.verdict.bad{border-color:var(--bad);color:var(--ink)}
.verdict.good{border-color:var(--good);color:var(--ink)}
.barcell svg{display:block;margin-top:2px}
.reference th{font-weight:400}
.good{color:var(--good);font-weight:600}
.bad{color:var(--bad);font-weight:600}
.chip{display:inline-block;border-radius:4px;padding:0 7px;font-size:.82rem;font-weight:600;background:var(--code);color:var(--ink)}
.chip.good{background:var(--good-back);color:var(--good)}
.chip.bad{background:var(--bad-back);color:var(--bad)}
fieldset.tabs{border:0;padding:0;margin:12px 0 0;min-width:0}
fieldset.tabs>legend{float:left;padding:4px 12px 4px 0;font-size:.88rem;color:var(--muted)}
fieldset.tabs>legend+*{clear:none}
.tabs>input{position:absolute;opacity:0;pointer-events:none}
.tabs>label{display:inline-block;border:1px solid var(--rule);border-radius:6px;padding:3px 11px;margin:0 5px 6px 0;font-size:.88rem;cursor:pointer;font-variant-numeric:tabular-nums}
.tabs>label:hover{border-color:var(--accent)}
.tabs>input:checked+label{background:var(--ink);border-color:var(--ink);color:var(--card)}
.tabs>input:focus-visible+label{outline:2px solid var(--accent);outline-offset:2px}
.tabs>.panel{display:none;clear:both}
${each(MOST_TABS, (i) => `.tabs>input:nth-of-type(${i + 1}):checked~.panel:nth-of-type(${i + 1})${i < MOST_TABS - 1 ? ',' : ''}`)}{display:block}
.heat{width:auto;border-collapse:separate;border-spacing:2px;font-size:.84rem}
.heat th,.heat td{border:0;text-align:center;padding:0;min-width:44px;height:38px;line-height:1.15;border-radius:3px}
.heat th{color:var(--muted);font-weight:600;font-size:.82rem;min-width:30px;padding:0 4px}
.heat td i{display:block;font-style:normal;font-size:.68rem}
.heat .self{color:var(--muted)}
.heat thead th{height:auto}
.heat .gap{border-left:9px solid transparent;background-clip:padding-box}
.heat tr.gap>*{border-top:9px solid transparent;background-clip:padding-box;height:47px}
.heat td.gap{min-width:53px}
.heat.few td{min-width:92px;height:66px;font-size:1.1rem}
.heat.few td i{font-size:.76rem;margin-top:2px}
.heat.many{font-size:.68rem;border-spacing:1px}
.heat.many td,.heat.many th{min-width:30px;height:26px}
.heat.many tr.gap>*{height:35px}
.heat.many td.gap{min-width:39px}
.heat.many td i{font-size:.56rem}
${each(HEAT_STEPS, (i) => `.h${i}{background:var(--h${i});color:var(--hi${i})}`)}
.ramp{display:flex;flex-wrap:wrap;align-items:center;gap:2px;margin:12px 0 0;font-size:.84rem;color:var(--muted);list-style:none;padding:0}
.ramp li{padding:2px 8px;border-radius:3px;font-variant-numeric:tabular-nums}
.ramp .plain{padding-left:0}
dl.list{display:grid;grid-template-columns:minmax(110px,max-content) 1fr;gap:4px 20px;margin:10px 0 0;font-size:.92rem}
dl.list dt{color:var(--muted)}
dl.list dd{margin:0}
.advice{list-style:none;padding:0;margin:10px 0 0}
.advice li{padding:12px 0;border-top:1px solid var(--grid)}
.advice li:first-child{border-top:0}
.advice p{margin:2px 0 6px}
pre{margin:6px 0 0;background:var(--code);border-radius:6px;padding:8px 12px;overflow-x:auto;font-size:.85rem}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre code{white-space:pre-wrap}
details{margin:12px 0 0}
summary{cursor:pointer;color:var(--accent);font-size:.92rem;padding:3px 0}
ul.notes{padding-left:20px;margin:8px 0 0}
ul.notes li{margin:4px 0;max-width:80ch}
footer{color:var(--muted);font-size:.86rem;padding-bottom:44px}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media (max-width:720px){
body{font-size:15.5px}
main,header,footer{padding-left:14px;padding-right:14px}
header{padding-top:22px}
section{padding:16px 14px;margin:14px 0;border-radius:8px}
.scroll{margin-left:-14px;margin-right:-14px;padding:0 14px}
.tiles{grid-auto-flow:row;grid-template-columns:1fr 1fr;gap:8px}
.tile{padding:10px 12px}
.tile .big{font-size:1.45rem}
dl.list{grid-template-columns:1fr;gap:0}
dl.list dd{margin-bottom:8px}
th,td{padding:5px 8px}
.tabs>label{padding:5px 12px}
}
@media screen and (max-width:900px){
.chart .wide{display:none}
.chart .middle{display:block}
.tile .big{font-size:1.5rem}
}
@media screen and (max-width:620px){
.optional{display:none}
.chart .middle{display:none}
.chart .narrow{display:block}
.dotcell,.wide-only{display:none}
}
@media print{
@page{margin:13mm 12mm}
:root{--page:#fff;color-scheme:light}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
html{font-size:9.4pt}
body{font-size:1rem;background:#fff}
main,header,footer{max-width:none;padding:0}
header{padding-top:0}
nav,.tabs>label,details:not([open])>summary{display:none}
.tabs>input:checked+label{display:inline-block;background:none;color:var(--ink);border:0;padding:3px 0;font-weight:600}
section{border:0;border-top:1px solid var(--rule);border-radius:0;padding:10pt 0 0;margin:14pt 0 0}
.tiles{grid-auto-flow:column;grid-template-columns:none}
.chart .wide{display:none}
.chart .middle{display:block}
.tile .big{font-size:15pt}
h2,h3,caption{break-after:avoid}
figure,tr,.tile,.advice li,.heat{break-inside:avoid}
thead{display:table-header-group}
.scroll{overflow:visible;margin-left:0;margin-right:0;padding:0}
table{font-size:8pt}
thead th{font-size:7.5pt}
th,td{padding:2.5pt 4pt;white-space:normal}
th,td{overflow-wrap:normal}
tbody th,.chip{white-space:nowrap}
.forest{min-width:104px;width:18%}
.forest text{font-size:8px}
dl.list{grid-template-columns:minmax(90px,max-content) 1fr}
.heat td,.heat th,.heat td.gap,.heat tr.gap>*{min-width:0;height:22pt;padding:0 1pt;font-size:7.5pt}
.heat{width:100%;table-layout:fixed;border-spacing:1px}
.heat.many td,.heat.many th,.heat.many td.gap,.heat.many tr.gap>*{font-size:4pt;height:11pt;min-width:0;padding:0}
.heat .gap{border-left-width:4px}
.heat tr.gap>*{border-top-width:4px}
.heat.many td i{font-size:3pt}
a{color:inherit;text-decoration:none}
pre{border:1px solid var(--rule)}
}
`;
