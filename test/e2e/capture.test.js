// Capture files through the command line: in, out, replay modes, and everything that is wrong with them.
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { packets, readCapture, writePcap } from './helpers/captures.js';
import { ROOT, runJson, scratch, vanity, writeManifest } from './helpers/vanity.js';

const CORPUS = join(ROOT, 'test/fixtures/captures');

function system(folder, { file = 'in.pcap', write, replay, name = `cap${process.pid}` }) {
  return writeManifest(
    folder,
    `[system]
name = "${name}"
oversubscribe = true
[ports.in]
driver = "capture"
file = "${file}"
${replay ? `replay = "${replay}"` : ''}
rx = "one"
${write ? `[ports.out]\ndriver = "capture"\nwrite = "${write}"\ntx = "two"` : ''}
[shards.one]
program = "forward"
[shards.two]
program = "${write ? 'forward' : 'sink'}"
[channels.link]
from = "one"
to = "two"
overflow = "block"
`,
  );
}

/** Each packet as text, so that a difference is readable. */
const told = (list) => list.map(({ ns, data }) => `${ns} ${data.toString('hex')}`);

for (const write of ['out.pcap', 'out.pcapng']) {
  test.serial(
    `what goes into ${write} is what came in, packet by packet, to the nanosecond`,
    async (t) => {
      const folder = scratch(t);
      const list = packets(3000);
      writePcap(join(folder, 'in.pcap'), list);
      const { code, json } = await runJson(t, folder, [system(folder, { write })]);
      t.is(code, 0);
      t.is(json.lost, 0);
      t.is(json.ports.in.rx_packets, list.length);
      t.is(json.ports.out.tx_packets, list.length);
      t.is(json.ports.in.state, 'finished');
      t.deepEqual(told(readCapture(join(folder, write))), told(list));

      // And what was written can be read.
      const again = await runJson(t, folder, [
        system(folder, { file: write, write: 'again.pcap' }),
      ]);
      t.is(again.code, 0);
      t.deepEqual(told(readCapture(join(folder, 'again.pcap'))), told(list));
    },
  );
}

test.serial('a loop begins again until it is told to stop', async (t) => {
  const folder = scratch(t);
  writePcap(join(folder, 'in.pcap'), packets(100));
  const { code, json } = await runJson(t, folder, [
    system(folder, { replay: 'loop' }),
    '--duration',
    '500ms',
  ]);
  t.is(code, 0);
  t.true(json.ports.in.rx_packets > 10_000);
  t.is(json.lost, 0);
  t.is(json.shards.two.consumed, json.ports.in.rx_packets);
});

test.serial('a timed replay takes as long as the capture did', async (t) => {
  const folder = scratch(t);
  writePcap(join(folder, 'in.pcap'), packets(51, 20_000_000n));
  const { code, json } = await runJson(t, folder, [system(folder, { replay: 'timed' })]);
  t.is(code, 0);
  t.is(json.ports.in.rx_packets, 51);
  t.true(json.duration_s >= 1 && json.duration_s < 3, `${json.duration_s} s`);
});

test.serial('a capture that ends in the middle: what came before, then where', async (t) => {
  const folder = scratch(t);
  const list = packets(200);
  const path = writePcap(join(folder, 'in.pcap'), list);
  const whole = readFileSync(path).length;
  truncateSync(path, whole - 5);
  const offset = whole - 16 - list.at(-1).data.length;
  for (const replay of ['as-fast', 'loop', 'timed']) {
    const manifest = system(folder, { write: 'out.pcap', replay });
    const { code, json, stderr } = await runJson(t, folder, [manifest]);
    t.is(code, 1, replay);
    t.is(json.state, 'failed');
    t.is(json.lost, 0);
    t.is(json.ports.in.rx_packets, 199, replay);
    t.is(json.ports.in.errors, 1);
    t.regex(json.failures[0].code, /^VANITY_E_/);
    t.true(json.failures[0].message.includes(`offset ${offset}`), json.failures[0].message);
    t.true(stderr.includes(`offset ${offset}`));
    t.deepEqual(told(readCapture(join(folder, 'out.pcap'))), told(list.slice(0, -1)), replay);
  }
});

test.serial('no file of the corpus does harm', async (t) => {
  t.timeout(55_000);
  const folder = scratch(t);
  const files = readdirSync(CORPUS).filter((name) => /\.pcap(ng)?$/.test(name));
  t.true(files.length > 30);
  let good = 0;
  for (const [i, name] of files.entries()) {
    // In turn, as a looping replay reads ahead and the other does not.
    const replay = i % 2 === 0 ? 'as-fast' : 'loop';
    const manifest = system(folder, { file: join(CORPUS, name), write: 'out.pcapng', replay });
    const args = [manifest, '--duration', replay === 'loop' ? '50ms' : '5s'];
    const { code, signal, json, stderr } = await runJson(t, folder, args);
    t.is(signal, null, name);
    t.true(code === 0 || code === 1, `${name}: ${code}`);
    if (code === 1) t.regex(JSON.stringify(json), /VANITY_E_/, name);
    else good++;
    t.notRegex(stderr, /VANITY_E_(BUFFER_LEAK|STUCK|DRAIN|INTERNAL)|Assertion/, name);
  }
  t.log(`${good} of ${files.length} are good captures`);
  t.true(good > 5 && good < files.length);
});

/** Starts nothing, says what and in which line of the manifest. */
async function refused(t, folder, options, code, text) {
  const manifest = system(folder, options);
  const line =
    readFileSync(manifest, 'utf8')
      .split('\n')
      .findIndex((l) => l.startsWith(options.line ?? 'file =')) + 1;
  const plain = await vanity(t, folder, ['run', manifest]);
  t.is(plain.code, 1, plain.stdout + plain.stderr);
  t.true(plain.stderr.includes(code), plain.stderr);
  t.regex(plain.stderr, text);
  t.true(plain.stderr.includes(`vanity.toml:${line}:`), plain.stderr);
  const asJson = await runJson(t, folder, [manifest]);
  t.is(asJson.code, 1);
  t.is(asJson.json.error.code, code);
  t.deepEqual(existsSync(join(folder, 'runtime')) ? readdirSync(join(folder, 'runtime')) : [], []);
}

test.serial('a file that is not there, or is no file', async (t) => {
  const folder = scratch(t);
  await refused(t, folder, { file: 'none.pcap' }, 'VANITY_E_PORT_FILE', /none\.pcap/);
  mkdirSync(join(folder, 'folder.pcap'));
  await refused(t, folder, { file: 'folder.pcap' }, 'VANITY_E_PORT_FILE', /folder\.pcap/);
  execFileSync('mkfifo', [join(folder, 'fifo.pcap')]);
  await refused(t, folder, { file: 'fifo.pcap' }, 'VANITY_E_PORT_FILE', /fifo\.pcap/);
});

test.serial('a file that is no capture', async (t) => {
  const folder = scratch(t);
  for (const [name, text] of [
    ['empty.pcap', ''],
    ['words.pcap', 'these are words and no packets at all'],
  ]) {
    writeFileSync(join(folder, name), text);
    const { code, json } = await runJson(t, folder, [system(folder, { file: name })]);
    t.is(code, 1);
    t.is(json.error.code, 'VANITY_E_CAPTURE_FORMAT');
    t.true(json.error.message.includes(name));
    t.deepEqual(readdirSync(join(folder, 'runtime')), []);
  }
});

test.serial('an output that cannot be written', async (t) => {
  const folder = scratch(t);
  writePcap(join(folder, 'in.pcap'), packets(10));
  const nowhere = { write: 'none/out.pcap', line: 'write =' };
  await refused(t, folder, nowhere, 'VANITY_E_PORT_FILE', /none/);
  mkdirSync(join(folder, 'folder.pcap'));
  const isFolder = { write: 'folder.pcap', line: 'write =' };
  await refused(t, folder, isFolder, 'VANITY_E_PORT_FILE', /it is a folder/);
});

test.serial(
  'a full disk: the port fails, says so, and what did not fit counts as lost',
  async (t) => {
    const folder = scratch(t);
    writePcap(join(folder, 'in.pcap'), packets(3000));
    symlinkSync('/dev/full', join(folder, 'out.pcap'));
    const { code, json } = await runJson(t, folder, [system(folder, { write: 'out.pcap' })]);
    t.is(code, 1);
    t.is(json.ports.out.state, 'failed');
    t.true(json.ports.out.tx_dropped > 0);
    t.is(json.lost, json.ports.out.tx_dropped);
    t.regex(json.failures[0].message, /out\.pcap: No space left on device/);
  },
);
