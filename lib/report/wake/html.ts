// One report as one page that needs nothing else: no request, no script. It can be mailed, printed, and opened
// from a disk; a policy in its head forbids it everything but its own style.
import { createHash } from 'node:crypto';
import type { WakeReport } from '../../wake/result.js';
import { comparisonSection } from './compared.js';
import {
  adviceSection,
  clockSection,
  figuresSection,
  hostSection,
  mechanismsSection,
  noiseSection,
  notesSection,
} from './context.js';
import { Markup, markup } from './markup.js';
import {
  distributionSection,
  disturbedSection,
  heatSection,
  percentileSection,
  signalSection,
  sweepSection,
  tiles,
  timeSection,
  wakesSection,
} from './measured.js';
import { STYLE } from './style.js';
import { date, seconds, share } from './units.js';
import { disturbedShare, View } from './view.js';

/** Share of disturbed wakes that a reader has to know of first. */
const BUSY = 0.05;

// No text of a report is in it.
const STYLE_MARKUP = new Markup(STYLE);

export function wakeHtml(report: WakeReport, before?: WakeReport): string {
  const view = new View(report);
  const { host } = report;
  const disturbed = disturbedShare(report.cells);
  const sections = [
    before && comparisonSection(before, report),
    sweepSection(view),
    notesSection(view),
    heatSection(view),
    distributionSection(view),
    percentileSection(view),
    signalSection(view),
    timeSection(view),
    wakesSection(view),
    disturbedSection(view),
    figuresSection(view),
    adviceSection(view),
    clockSection(view),
    noiseSection(view),
    mechanismsSection(view),
    hostSection(view),
  ].filter((section) => section !== undefined);

  const policy = [
    "default-src 'none'",
    `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  const guest =
    host.hypervisor === null
      ? 'bare metal'
      : host.hypervisor === 'unknown'
        ? 'guest of a hypervisor'
        : `guest of ${host.hypervisor}`;
  const facts = [
    `${host.cpus.length} ${host.cpus.length === 1 ? 'processor' : 'processors'}`,
    host.architecture,
    `Linux ${host.kernel}`,
    guest,
    `Node ${host.node}`,
    date(report.created),
    `measured for ${seconds(report.elapsed_s)}${report.options.quick ? ' (quick)' : ''}`,
  ];
  return markup`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="vanity ${report.vanity}">
<title>Wake latency of ${host.name}: ${host.processor}</title>
<link rel="icon" href="data:,">
<style>${STYLE_MARKUP}</style>
</head>
<body>
<header>
<p class="eyebrow">Wake latency${before && ', compared'}</p>
<h1>${host.name} <span>${host.processor}</span></h1>
<ul class="facts">${facts.map((fact) => markup`<li>${fact}</li>`)}</ul>
${
  !report.complete &&
  markup`<p class="alert"><strong>Incomplete.</strong> The run was interrupted after ${seconds(report.elapsed_s)} of ${seconds(report.options.budget_s)}; what follows covers what was measured until then.</p>`
}
${
  disturbed > BUSY &&
  markup`<p class="alert"><strong>A busy host.</strong> ${share(disturbed)} of all wakes were disturbed: <a href="#disturbed">other threads or the hypervisor</a> had a processor meanwhile. The figures are true of this host as it was, not of the mechanisms alone.</p>`
}
${tiles(view)}
<nav aria-label="Sections"><ul>${sections.map(({ id, title, short = title }) => markup`<li><a href="#${id}">${short}</a></li>`)}</ul></nav>
</header>
<main>
${sections.map(
  ({ id, title, body }) => markup`<section id="${id}" aria-labelledby="${id}-h">
<h2 id="${id}-h">${title}</h2>
${body}
</section>
`,
)}</main>
<footer><p>Drawn from a report of <code>vanity bench wake</code>, Vanity ${report.vanity}. Every value is in its JSON, with the raw histograms; <code>vanity report</code> draws and compares such files.</p></footer>
</body>
</html>
`.toString();
}
