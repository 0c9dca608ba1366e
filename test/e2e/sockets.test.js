// Ports at sockets with nobody at the other end, or the wrong one: each says what is wrong, and the rest of the system runs.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { workspace } from './helpers.js';

// Whatever cores there are, and whoever has them.
const RUN = ['run', '--sim', 'threads'];
const OTHER_USER = 4711;
const root = process.getuid() === 0; // only root can be somebody else

const port = (name, driver) => `
[ports.${name}]
driver = "${driver}"
socket = "${name}.sock"
buffers = 512
rx = "end"
`;
const system = (ports) => `
[system]
name = "sockets"
oversubscribe = true
[shards.source]
program = "generate"
options = { rate = 20000 }
[shards.end]
program = "sink"
[channels.way]
from = "source"
to = "end"
overflow = "block"
${ports.join('')}`;

/** Somebody who listens in a process of another user, or died doing so. */
async function listener(t, path, options = {}) {
  const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('listens'))`;
  const child = spawn(process.execPath, ['-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
    ...options,
  });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

test.serial('each wrong socket is named, and the rest runs', async (t) => {
  const at = workspace(t);
  const socket = (name) => join(at.path, `${name}.sock`);
  chmodSync(at.path, 0o777);

  writeFileSync(socket('text'), 'no socket');
  const stale = await listener(t, socket('stale'));
  stale.kill('SIGKILL');
  await once(stale, 'close');
  const web = createServer((peer) => {
    peer.on('error', () => {});
    peer.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  t.teardown(() => web.close());
  await new Promise((resolve) => web.listen(socket('web'), resolve));
  if (root) await listener(t, socket('other'), { uid: OTHER_USER, gid: OTHER_USER });

  const wrong = {
    missing: /there is no socket \S+missing\.sock/,
    text: /text\.sock is no socket/,
    stale: /stale\.sock is stale: nobody listens on it/,
    web: /web\.sock: what answers there speaks no vhost-user/,
    ...(root ? { other: /other\.sock: process \d+ of user 4711 .* may not share memory/ } : {}),
  };
  const names = Object.keys(wrong);
  const run = at.start(
    ...RUN,
    at.file('all.toml', system(names.map((name) => port(name, 'virtio-user')))),
    '--json',
  );
  for (const name of names) await run.said(wrong[name]);
  await sleep(1500); // in which each is tried again
  run.kill('SIGINT');
  const { code, stdout, stderr } = await run.ended;
  t.is(code, 0, stderr);
  const report = JSON.parse(stdout);
  t.is(report.lost, 0);
  t.true(report.shards.end.received > 1000);
  t.is(new Set(stderr.match(/VANITY_W_PORT_PEER\]: \w+/g)).size, names.length, stderr);
});

test.serial('a peer that speaks something else is let go, and counted', async (t) => {
  const at = workspace(t);
  const run = at.start(...RUN, at.file('vm.toml', system([port('vm', 'vhost-user')])), '--json');
  await run.said(/nobody is there yet/);
  const peer = connect(join(at.path, 'vm.sock'));
  peer.on('error', () => {});
  peer.write('GET / HTTP/1.1\r\nHost: vanity\r\n\r\n');
  peer.resume();
  await new Promise((resolve) => peer.on('close', resolve)); // an error or not
  run.kill('SIGINT');
  const { code, stdout, stderr } = await run.ended;
  t.is(code, 0, stderr);
  const report = JSON.parse(stdout);
  t.is(report.ports.vm.errors, 1);
  t.true(report.shards.end.received > 0);
});

test.serial('a path that cannot be listened on is an error at the start', async (t) => {
  const at = workspace(t);
  const manifest = at.file('vm.toml', system([port('vm', 'vhost-user')]));
  writeFileSync(join(at.path, 'vm.sock'), 'no socket');
  const file = await at.run(...RUN, manifest);
  t.is(file.code, 1);
  t.regex(file.stderr, /vm\.sock exists and is no socket/);
  t.regex(file.stderr, /remove the file/);

  const used = at.file('used.toml', system([port('used', 'vhost-user')]));
  await listener(t, join(at.path, 'used.sock'));
  const taken = await at.run(...RUN, used);
  t.is(taken.code, 1);
  t.regex(taken.stderr, /used\.sock is in use: somebody listens on it/);
});
