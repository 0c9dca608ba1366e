import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import test from 'ava';
import { native } from '../../dist/native.js';
import {
  MetricsServer,
  parseMetricsAddress,
  SegmentRegistry,
} from '../../dist/telemetry/metrics.js';
import { Segment } from '../../dist/telemetry/segment.js';
import { counters } from '../../docs/reference/generate.mjs';
import { labSegment, nicRows, writeSegment } from './helpers/segment.js';

const lines = async (segment) => (await new SegmentRegistry(segment).metrics()).split('\n');

test('two shards keep their own labels and values', async (t) => {
  const text = await lines(new Segment(labSegment()));
  t.true(text.includes('vanity_shard_received_total{system="lab",shard="rx"} 1000'));
  t.true(text.includes('vanity_shard_received_total{system="lab",shard="tx"} 900'));
});

test('channels, ports, queues and pools have theirs', async (t) => {
  const text = await lines(new Segment(labSegment()));
  for (const line of [
    'vanity_channel_dropped_total{system="lab",channel="link"} 10',
    'vanity_port_downs_total{system="lab",port="in"} 0',
    'vanity_queue_packets_total{system="lab",port="in",queue="0",direction="rx",shard="rx"} 1000',
    'vanity_queue_packets_total{system="lab",port="out",queue="0",direction="tx",shard="tx"} 900',
    'vanity_pool_taken_total{system="lab",pool="in.0",shard="rx"} 1000',
    'vanity_shard_user_total{system="lab",shard="rx",counter="hits"} 7',
    'vanity_shard_state{system="lab",shard="rx",state="running"} 1',
    'vanity_shard_state{system="lab",shard="rx",state="failed"} 0',
    'vanity_port_info{system="lab",port="in",driver="capture",target="in.pcap"} 1',
    'vanity_system_up{system="lab"} 1',
  ]) {
    t.true(text.includes(line), line);
  }
});

test('devices and vectors have theirs', async (t) => {
  const text = await lines(new Segment(writeSegment({}, nicRows())));
  const vector = '{system="lab",device="nic0",vector="0",shard="rx"';
  for (const line of [
    'vanity_device_state{system="lab",device="nic0",state="granted"} 1',
    'vanity_device_info{system="lab",device="nic0",address="0000:01:00.0",driver="virtio-net",backend="group"} 1',
    `vanity_vector_raised_total${vector}} 40`,
    `vanity_vector_latency_seconds_count${vector}} 40`,
    'vanity_vector_raised_total{system="lab",device="nic0",vector="2",shard="kernel"} 1',
    'vanity_vector_suppressed_total{system="lab",device="nic0",vector="1",shard="tx"} 2',
  ]) {
    t.true(text.includes(line), line);
  }
});

test('ticks become seconds', async (t) => {
  const text = await lines(new Segment(labSegment({ ticksPerSecond: 2_000_000_000 })));
  t.true(text.includes('vanity_shard_idle_seconds_total{system="lab",shard="rx"} 0.25'));
  t.false(
    text.some((line) => /^vanity.*ticks/.test(line)),
    'no metric in ticks',
  );
});

test('histograms are cumulative and end with +Inf, sum and count', async (t) => {
  const text = await lines(new Segment(labSegment()));
  const of = (le) => `vanity_shard_burst_bucket{system="lab",shard="rx",le="${le}"}`;
  t.true(text.includes(`${of(0)} 0`));
  t.true(text.includes(`${of(1)} 1`));
  t.true(text.includes(`${of(31)} 1`));
  t.true(text.includes(`${of(63)} 4`));
  t.true(text.includes(`${of('+Inf')} 4`));
  t.true(text.includes('vanity_shard_burst_count{system="lab",shard="rx"} 4'));
  t.true(text.includes('# TYPE vanity_shard_service_seconds histogram'));
});

test('a label value cannot break out of its quotes', async (t) => {
  const segment = new Segment(labSegment({ name: 'a"} 1\\x' }));
  const text = await lines(segment);
  t.true(text.includes('vanity_system_up{system="a\\"} 1\\\\x"} 1'));
});

test('every metric has one TYPE and one HELP line', async (t) => {
  const text = await lines(new Segment(labSegment()));
  const types = text.filter((line) => line.startsWith('# TYPE')).map((line) => line.split(' ')[2]);
  t.is(new Set(types).size, types.length);
  t.is(text.filter((line) => line.startsWith('# HELP')).length, types.length);
  t.true(types.length > 40);
});

test('addresses: a port alone is this machine only', (t) => {
  t.deepEqual(parseMetricsAddress(':9464'), { host: '127.0.0.1', port: 9464 });
  t.deepEqual(parseMetricsAddress('9464'), { host: '127.0.0.1', port: 9464 });
  t.deepEqual(parseMetricsAddress('0.0.0.0:80'), { host: '0.0.0.0', port: 80 });
  t.deepEqual(parseMetricsAddress('[::1]:9464'), { host: '::1', port: 9464 });
  t.deepEqual(parseMetricsAddress('node-1:9464'), { host: 'node-1', port: 9464 });
  for (const bad of ['', ':', 'x', ':65536', '::1:9464', ':-1', 'a b:1', ':9464/x']) {
    t.throws(() => parseMetricsAddress(bad), { code: 'VANITY_E_METRICS_ADDRESS' }, bad);
  }
});

test('the endpoint serves what the segment says now', async (t) => {
  const server = await MetricsServer.listen(':0');
  t.teardown(() => server.close());
  t.regex(server.url, /^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
  t.is((await fetch(server.url)).status, 503, 'nothing to serve before the boot');

  server.attach(new Segment(labSegment()));
  const response = await fetch(server.url);
  t.is(response.status, 200);
  t.is(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  t.regex(await response.text(), /vanity_shard_received_total\{system="lab",shard="rx"\} 1000/);

  t.is((await fetch(new URL('/', server.url))).status, 404);
  t.is((await fetch(server.url, { method: 'POST' })).status, 405);
});

test('a port in use is a clear error', async (t) => {
  const other = createServer();
  await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.teardown(() => other.close());
  const error = await t.throwsAsync(MetricsServer.listen(`:${other.address().port}`), {
    code: 'VANITY_E_METRICS_BIND',
  });
  t.regex(error.message, /the port is in use/);
});

test('the reference of counters is current, and every name is described', (t) => {
  const reference = readFileSync(
    new URL('../../docs/reference/counters.md', import.meta.url),
    'utf8',
  );
  t.is(reference, counters(native.fields()), 'run: node docs/reference/generate.mjs');
  for (const { table, name, text } of native.fields()) t.not(text, '', `${table}.${name}`);
});
