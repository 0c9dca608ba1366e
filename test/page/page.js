// Opens pages of wake reports as a reader does: phone and desk, light and dark, on paper, without scripts.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { wakeHtml } from '../../dist/report/wake/html.js';
import { ns, short } from '../../dist/report/wake/units.js';
import { makeReport, spoil } from '../fixtures/wake/make.js';
import { contrasts, headings, overlaps, spills } from './look.js';

const SCHEMES = ['light', 'dark'];
const ALL = [390, 768, 1280].flatMap((width) => SCHEMES.map((colorScheme) => [width, colorScheme]));
/** For pages that differ from the others only in part. */
const SOME = [
  [390, 'dark'],
  [1280, 'light'],
];

const two = makeReport({ samples: 2500 });
const sixteen = makeReport({ cpus: 16, samples: 200 });
const PAGES = {
  '2-processors': { report: two, screens: ALL },
  '16-processors': { report: sixteen, screens: ALL },
  '64-processors': { report: makeReport({ cpus: 64, samples: 88, rounds: 1, idles: [0, 1e5] }) },
  '1-processor': { report: makeReport({ cpus: 1 }) },
  compared: { report: makeReport({ seed: 2, scale: 1.06 }), before: two },
  incomplete: {
    report: makeReport({
      complete: false,
      mechanisms: ['spin', 'futex'],
      idles: [1e5],
      samples: 60,
    }),
  },
  hostile: { report: spoil(makeReport({ cpus: 4, samples: 40 })) },
};

const folder = mkdtempSync(join(tmpdir(), 'vanity-page-'));
const pictures = process.argv[2];
if (pictures) mkdirSync(pictures, { recursive: true });
let passed = 0;
let failed = 0;

async function check(name, body) {
  try {
    await body();
    passed++;
  } catch (error) {
    failed++;
    console.log(`not ok - ${name}\n${String(error.message).replace(/^/gm, '    ')}`);
  }
}

const root = process.getuid?.() === 0;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  // Chromium refuses its sandbox to root.
  args: root ? ['--no-sandbox'] : [],
});

/** A page that is open, and everything it did that it should not. */
async function open(name, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => faults.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  page.on('dialog', (dialog) => faults.push(`dialog: ${dialog.message()}`));
  page.on('request', (request) => {
    const url = request.url();
    if (url !== address(name) && url !== 'data:,') faults.push(`request: ${url.slice(0, 200)}`);
  });
  await page.goto(address(name));
  return { page, faults, close: () => context.close() };
}

const address = (name) => pathToFileURL(join(folder, `${name}.html`)).href;

/** Every panel and every detail in turn; `look` is called with what is seen then. */
async function everywhere(page, look) {
  await page.evaluate(() => {
    for (const one of document.querySelectorAll('details')) one.open = true;
  });
  await look('as opened');
  const most = await page.evaluate(() =>
    Math.max(
      0,
      ...[...document.querySelectorAll('.tabs')].map(
        (one) => one.querySelectorAll(':scope > input').length,
      ),
    ),
  );
  for (let i = 0; i < most; i++) {
    await page.evaluate((k) => {
      for (const one of document.querySelectorAll('.tabs')) {
        const input = one.querySelectorAll(':scope > input')[k];
        if (input) input.checked = true;
      }
    }, i);
    await look(`panel ${i}`);
  }
}

try {
  for (const [name, { report, before }] of Object.entries(PAGES)) {
    writeFileSync(join(folder, `${name}.html`), wakeHtml(report, before));
  }

  for (const [name, { screens = SOME }] of Object.entries(PAGES)) {
    for (const [width, colorScheme] of screens) {
      const { page, faults, close } = await open(name, {
        viewport: { width, height: 900 },
        colorScheme,
      });
      if (pictures) {
        const path = join(pictures, `${name}-${width}-${colorScheme}.png`);
        await page.screenshot({ path, fullPage: true });
      }
      const seen = { wide: [], touching: [], faint: [] };
      await everywhere(page, async (state) => {
        const note = (found) => found.map((what) => `${state}: ${what}`);
        seen.wide.push(...note(await page.evaluate(spills)));
        seen.touching.push(...note(await page.evaluate(overlaps)));
        const { least, count } = await page.evaluate(contrasts);
        if (count < 100 || least.ratio < 4.5) seen.faint.push(...note([JSON.stringify(least)]));
      });
      const where = `${name}, ${width} px, ${colorScheme}`;
      for (const [what, found] of [
        ['nothing is wider than the screen', seen.wide],
        ['labels of charts stand apart, and inside', seen.touching],
        ['text can be read', seen.faint],
        ['it asks for nothing and complains of nothing', faults],
      ]) {
        await check(`${where}: ${what}`, () => assert.deepEqual(found.slice(0, 8), []));
      }
      await close();
    }
  }

  await check('dark is dark, and light is light', async () => {
    const backgrounds = [];
    for (const colorScheme of SCHEMES) {
      const { page, close } = await open('2-processors', { colorScheme });
      backgrounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await close();
    }
    const [light, dark] = backgrounds.map((colour) => Number(/\d+/.exec(colour)[0]));
    assert.ok(light > 230 && dark < 40, backgrounds.join(' and '));
  });

  await check('texts of a hostile report are texts', async () => {
    for (const javaScriptEnabled of [true, false]) {
      const { page, faults, close } = await open('hostile', { javaScriptEnabled });
      assert.equal(await page.evaluate(() => window.hostile), undefined);
      assert.equal(await page.locator('script, img, iframe, object, embed').count(), 0);
      assert.ok((await page.title()).includes('<script>'));
      assert.deepEqual(faults, []);
      await close();
    }
  });

  await check('without scripts, all of it can be read and chosen', async () => {
    const { page, close } = await open('2-processors', { javaScriptEnabled: false });
    assert.ok(await page.locator('#sweep .chart svg.wide').first().isVisible());
    await page.locator('#pairs label', { hasText: /^futex$/ }).click();
    assert.ok(await page.locator('#pairs caption', { hasText: /^futex, p50/ }).isVisible());
    assert.ok(!(await page.locator('#pairs caption', { hasText: /^spin, p50/ }).isVisible()));
    await page.locator('#distribution label', { hasText: /^10\u00a0ms$/ }).click();
    const shown = page.locator('#distribution .panel:visible figcaption');
    assert.match(await shown.innerText(), /after 10\u00a0ms idle/);
    await page.locator('#percentiles summary').first().click();
    assert.ok(await page.locator('#percentiles details table').first().isVisible());
    await close();
  });

  await check('panels are chosen with the keyboard, and the choice is seen', async () => {
    const { page, close } = await open('2-processors');
    await page.locator('#spread-idle-3').focus();
    await page.keyboard.press('ArrowRight');
    const shown = page.locator('#distribution .panel:visible figcaption');
    assert.match(await shown.innerText(), /after 1\u00a0ms idle/);
    const outline = await page
      .locator('#spread-idle-4 + label')
      .evaluate((one) => getComputedStyle(one).outlineStyle);
    assert.equal(outline, 'solid');
    await close();
  });

  for (const [name, { report }] of Object.entries({
    '2-processors': PAGES['2-processors'],
    '16-processors': PAGES['16-processors'],
    '64-processors': PAGES['64-processors'],
  })) {
    await check(`${name}: the map shows each pair once`, async () => {
      const { page, close } = await open(name);
      const cells = page.locator('#pairs table.heat:visible td[class^="h"]');
      assert.equal(await cells.count(), report.pairs.length);
      assert.match(await page.locator('#pairs caption:visible').first().innerText(), /^spin, p50/);
      const [first] = await cells.allInnerTexts();
      const order = await page.locator('#pairs table.heat:visible thead th').allInnerTexts();
      const title = await page.locator('#pairs .sub').innerText();
      const cell = report.cells.find(
        (c) =>
          c.mechanism === 'spin' &&
          c.mode === 'oneway' &&
          c.from === Number(order[1]) &&
          c.to === Number(order[2]) &&
          title.includes(c.idle_ns === 0 ? 'without idle' : `after ${short(c.idle_ns)} idle`),
      );
      const { p50 } = cell.latency;
      assert.ok([ns(p50), p50.toFixed(0)].includes(first.split('\n')[0]), `${first} ${p50}`);
      await close();
    });
  }

  await check('percentiles in the page are those of the report', async () => {
    const { page, close } = await open('2-processors');
    const rows = await page.locator('#percentiles > .scroll table tbody tr').evaluateAll((all) =>
      all.map((row) => ({
        name: row.querySelector('th').innerText.trim(),
        values: [...row.querySelectorAll('td')].map((cell) => ({
          text: cell.innerText,
          exact: cell.querySelector('data')?.value,
        })),
      })),
    );
    let [group, seen] = ['', 0];
    for (const { name, values } of rows) {
      if (values.length === 0) {
        group = name;
        continue;
      }
      const roundtrip = group.startsWith('Round trip');
      const idle = ['without idle time', '1 µs', '10 µs', '100 µs', '1 ms', '10 ms'].findIndex(
        (text) =>
          group.replaceAll('\u00a0', ' ').endsWith(`${text}${text.startsWith('w') ? '' : ' idle'}`),
      );
      const cell = two.cells.find(
        (c) =>
          c.mechanism === name &&
          c.from === 0 &&
          c.to === 1 &&
          (roundtrip
            ? c.mode === 'roundtrip'
            : c.mode === 'oneway' && c.idle_ns === two.options.idles_ns[idle]),
      );
      const { p50, p90, p99, p99_9, p99_99, max, count } = cell.latency;
      for (const [i, value] of [p50, p90, p99, p99_9, p99_99, max].entries()) {
        assert.equal(values[i].text, value === null ? '–' : ns(value), `${group} ${name}`);
        if (value !== null) assert.equal(Number(values[i].exact), value);
      }
      assert.equal(values[6].text, count.toLocaleString('en-US'));
      seen++;
    }
    assert.equal(seen, two.cells.filter((c) => c.from === 0).length);
    await close();
  });

  await check('headings follow one another, charts have names, tables have heads', async () => {
    for (const name of Object.keys(PAGES)) {
      const { page, close } = await open(name);
      assert.deepEqual(await page.evaluate(headings), [], name);
      await close();
    }
  });

  for (const name of ['2-processors', '16-processors', '64-processors', 'compared']) {
    await check(`${name}: on paper it is light, whole, and not cut off`, async () => {
      const { page, close } = await open(name, {
        colorScheme: 'dark',
        viewport: { width: 703, height: 990 },
      });
      await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
      const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(background, 'rgb(255, 255, 255)');
      assert.deepEqual(await page.evaluate(spills), []);
      assert.deepEqual(await page.evaluate(overlaps), []);
      const cut = await page.evaluate(() =>
        [...document.querySelectorAll('.scroll, pre')]
          .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
          .map(
            (one) => `${one.getAttribute('aria-label')}: ${one.scrollWidth} in ${one.clientWidth}`,
          ),
      );
      assert.deepEqual(cut, []);
      const { least } = await page.evaluate(contrasts);
      assert.ok(least.ratio >= 4.5, JSON.stringify(least));
      const pdf = await page.pdf({ format: 'A4', preferCSSPageSize: true });
      if (pictures) writeFileSync(join(pictures, `${name}.pdf`), pdf);
      assert.equal(pdf.subarray(0, 5).toString(), '%PDF-');
      const sheets = pdf.toString('latin1').match(/\/Type\s*\/Page\b/g)?.length ?? 0;
      assert.ok(sheets >= 3 && sheets <= 20, `${sheets} sheets`);
      await close();
    });
  }
} finally {
  await browser.close();
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
