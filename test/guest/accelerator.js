// examples/accelerator on QEMU's edu, through `vanity run`: in TypeScript and in C++, by a level line whose EOI is
// delayed and by messages; what lies outside a grant; SIGKILL, and Linux that wants the device back. Runs inside
// the guest, as root; jobs/accelerator.sh builds the modules and names the device.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findSystems, openSystem } from '../../dist/telemetry/systems.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const EXAMPLE = fileURLToPath(new URL('../../examples/accelerator/', import.meta.url));
const PROGRAMS = fileURLToPath(new URL('./programs/', import.meta.url));
const DEVICE = `/sys/bus/pci/devices/${process.env.VANITY_EDU}`;
const SOON_MS = 200_000;

let passed = 0;
let failed = 0;
function check(what, truth, detail = '') {
  if (truth) passed++;
  else failed++;
  const more = truth || detail === '' ? '' : `: ${JSON.stringify(detail)}`;
  console.log(`${truth ? 'ok' : 'not ok'} ${what}${more}`);
}
function equal(what, found, wanted) {
  check(what, JSON.stringify(found) === JSON.stringify(wanted), { found, wanted });
}

/** `vanity run`, which goes on until it is told to stop. */
function start(manifest, ...settings) {
  const flags = settings.flatMap((text) => ['--set', text]);
  const child = spawn(
    process.execPath,
    [MAIN, 'run', manifest, '--json', '--quiet', '--duration', '240s', ...flags],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const run = { child, stdout: '', stderr: '', segment: undefined };
  child.stdout.on('data', (part) => {
    run.stdout += part;
  });
  child.stderr.on('data', (part) => {
    run.stderr += part;
  });
  run.ended = once(child, 'close');
  return run;
}

/** Until `done` of the system's snapshot, or the end of the process, or of patience. */
async function until(run, done) {
  for (const end = Date.now() + SOON_MS; Date.now() < end; await sleep(200)) {
    if (run.child.exitCode !== null || run.child.signalCode !== null) return false;
    if (run.segment === undefined) {
      const found = findSystems().find((system) => system.live);
      try {
        const segment = found && openSystem(found);
        // A start holds what a killed one left for a moment, to clear it away.
        if (segment?.pid === run.child.pid) run.segment = segment;
      } catch {
        // It is still being written.
      }
    }
    if (run.segment && done(run.segment.read())) return true;
  }
  return false;
}
async function stop(run) {
  run.child.kill('SIGINT');
  const [code] = await run.ended;
  let report;
  try {
    report = JSON.parse(run.stdout);
  } catch {
    // The next check says so.
  }
  return { code, report, stderr: run.stderr };
}

const user = (snapshot, shard) => snapshot.shards.find(({ name }) => name === shard)?.user ?? {};
const answered = (snapshot) => {
  const { right = 0, wrong = 0 } = user(snapshot, 'client');
  return right + wrong;
};
const mastersBus = () => (readFileSync(`${DEVICE}/config`)[4] & 4) !== 0;

/** The example to its end; `interrupts` is what the vector must have counted. */
async function example(what, manifest, settings, { factorials, copies, delayed }) {
  const total = factorials + copies + 1;
  const run = start(
    `${EXAMPLE}${manifest}`,
    ...settings,
    'shards.accelerator.sleep_us_max=1000000', // what no interrupt wakes sleeps for a second
    `shards.client.options.factorials=${factorials}`,
    `shards.client.options.copies=${copies}`,
  );
  const all = await until(run, (snapshot) => answered(snapshot) === total);
  const { code, report, stderr } = await stop(run);
  check(`${what}: every request is answered`, all, stderr);
  equal(`${what}: it ends in order`, [code, report?.state], [0, 'stopped']);
  if (report?.shards === undefined) return console.log(run.stdout, stderr);
  equal(`${what}: every answer is right`, report.shards.client.user, { right: total, wrong: 0 });
  equal(`${what}: nothing failed, nothing was lost`, [report.failures, report.lost], [[], 0]);
  equal(`${what}: the device is given back`, report.devices.edu.state, 'returned');
  check(`${what}: the device masters the bus no more`, !mastersBus());
  const [vector] = Object.values(report.vectors);
  const wanted = factorials + copies * 2;
  equal(
    `${what}: an interrupt for each operation, all taken`,
    [vector.raised, vector.taken],
    [wanted, wanted],
  );
  equal(`${what}: an EOI for each delayed interrupt`, vector.done, delayed ? wanted : 0);
  equal(`${what}: no storm`, vector.storms, 0);
  const { waits } = report.shards.accelerator;
  check(`${what}: the shard slept while the device worked`, waits >= copies * 2, waits);
  // Else it would have come to them at the end of a sleep.
  const { p50 } = vector.latency_ns ?? {};
  check(`${what}: its interrupts woke it`, p50 > 0 && p50 < 5e8, vector.latency_ns);
}

// Compiled by the job, from examples/accelerator.
const CLIENT = 'shards.client.program=../../.cache/accelerator/client.js';
const TYPESCRIPT = [CLIENT, 'shards.accelerator.program=../../.cache/accelerator/accelerator.js'];
const NATIVE = [CLIENT, 'shards.accelerator.program=./accelerator.so'];
const some = { factorials: 40, copies: 3 };

// Either language and either interrupt each time, all four pairs of them under --full.
const full = (process.env.VANITY_FULL ?? '') !== '';
if (!full) console.log('# left out: TypeScript with MSI and C++ with INTx on the edu (--full)');

const parts = {
  async typescript() {
    await example('TypeScript, INTx', 'vanity.toml', TYPESCRIPT, { ...some, delayed: true });
    if (full) await example('TypeScript, MSI', 'msi.toml', TYPESCRIPT, { ...some, delayed: false });
  },
  async native() {
    if (full) await example('native, INTx', 'vanity.toml', NATIVE, { ...some, delayed: true });
    await example('native, MSI', 'msi.toml', NATIVE, { ...some, delayed: false });
  },

  // -- a line that stays masked until its EOI
  async eoi() {
    const run = start(`${PROGRAMS}holder.toml`);
    const judged = ({ right = 0, wrong = 0 }) => right + wrong;
    await until(run, (snapshot) => judged(user(snapshot, 'holder')) === 4);
    const { code, report, stderr } = await stop(run);
    equal('delayed EOI: it ends in order', [code, stderr.includes('error')], [0, false]);
    equal('delayed EOI: masked until done(), high until acknowledged', report?.shards.holder.user, {
      right: 4,
      wrong: 0,
    });
    const [{ raised, taken, done }] = Object.values(report?.vectors ?? [{}]);
    equal('delayed EOI: counted', [raised, taken, done], [3, 3, 3]);
  },

  // -- what was not granted
  async grants() {
    for (const [program, allowed, refused] of [
      ['strayer.js', 3, 7],
      ['./strayer.so', 3, 8],
    ]) {
      const run = start(`${PROGRAMS}strayer.toml`, `shards.strayer.program=${program}`);
      const tried = await until(run, (snapshot) => user(snapshot, 'strayer').refused > 0);
      await sleep(100);
      const { code, report, stderr } = await stop(run);
      check(`${program}: it ran`, tried && code === 0, stderr);
      equal(`${program}: what is outside its grant is refused`, report?.shards.strayer.user, {
        allowed,
        refused,
        wrong: 0,
      });
      const counted = report?.devices.edu.refused;
      check(`${program}: and counted for the device`, counted > 0 && counted <= refused, counted);
    }
  },

  // -- killed with a DMA under way, and started again, by the other program
  async killed() {
    const run = start(
      `${EXAMPLE}vanity.toml`,
      ...TYPESCRIPT,
      'shards.client.options.factorials=0',
      'shards.client.options.copies=1000',
    );
    check('killed: it worked', await until(run, (snapshot) => answered(snapshot) >= 2));
    run.child.kill('SIGKILL');
    await run.ended;
    check('killed: the device masters the bus no more', !mastersBus());
    await example('after SIGKILL', 'vanity.toml', NATIVE, {
      factorials: 5,
      copies: 1,
      delayed: true,
    });
  },

  // -- Linux wants it back under load
  async wanted() {
    for (const [what, program] of [
      ['TypeScript', TYPESCRIPT],
      ['native', NATIVE],
    ]) {
      const run = start(
        `${EXAMPLE}vanity.toml`,
        ...program,
        'shards.client.options.factorials=1000000',
        'shards.client.options.at_once=8',
      );
      check(`${what}: it works`, await until(run, (snapshot) => answered(snapshot) >= 20));
      const driver = readlinkSync(`${DEVICE}/driver`).split('/').pop();
      const before = Date.now();
      // Returns when the last descriptor of the device is closed.
      writeFileSync(`/sys/bus/pci/drivers/${driver}/unbind`, process.env.VANITY_EDU);
      const took = Date.now() - before;
      check(`${what}: Linux has it back`, took < 5000, took);
      const seen = answered(run.segment.read());
      check(
        `${what}: the system runs on, and its program refuses`,
        await until(run, (snapshot) => answered(snapshot) > seen + 20),
      );
      const { code, report, stderr } = await stop(run);
      equal(`${what}: it ends in order`, [code, report?.state], [0, 'stopped']);
      equal(`${what}: and says so`, report?.devices.edu.state, 'returned');
      check(`${what}: with a warning`, /VANITY_W_DEVICE_WANTED/.test(stderr + run.stdout), stderr);
      writeFileSync('/sys/bus/pci/drivers_probe', process.env.VANITY_EDU);
    }
    await example('bound again', 'msi.toml', TYPESCRIPT, {
      factorials: 5,
      copies: 1,
      delayed: false,
    });
  },
};

const chosen = process.argv.slice(2);
for (const [name, part] of Object.entries(parts)) {
  if (chosen.length === 0 || chosen.includes(name)) await part();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
