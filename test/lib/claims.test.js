// Claims of counters: their words, what they come to, and what is said of one that does not hold.
import test from 'ava';
import { brokenClaim, claimLine, parseClaim } from '../../dist/planning/claims.js';

const SHARDS = ['a', 'b-2', 'end'];
const VALUES = { a: { sent: 3, 'my-own': 10 }, 'b-2': { sent: 4 }, end: { received: 7 } };
const read = (shard, counter) => VALUES[shard]?.[counter];
const broken = (text) => brokenClaim(parseClaim(text, SHARDS), read);

test('sums on both sides, with factors and numbers', (t) => {
  for (const text of [
    'a.sent + b-2.sent = end.received',
    'end.received - a.sent - 4 = 0',
    '2 * a.sent + 1 = end.received',
    '- a.sent + end.received = b-2.sent',
    'a.my-own > 9',
    'a.sent + 5 <= 2 * b-2.sent',
    '12 != 2 * a.sent + 5',
    'a.sent < 4',
    'a.sent >= 3',
  ])
    t.is(broken(text), undefined, text);
});

test('one that does not hold names what was found', (t) => {
  t.is(
    broken('a.sent  +  1 = end.received'),
    '"a.sent + 1 = end.received" does not hold: a.sent is 3, end.received is 7',
  );
  t.is(broken('a.sent = a.nothing'), '"a.sent = a.nothing": a has no counter "nothing"');
  for (const text of ['a.sent > 3', 'a.sent < 3', 'a.sent != 3', 'a.sent >= 4', 'a.sent <= 2'])
    t.truthy(broken(text), text);
});

test('what the simulator reads is the sum, and then the words', (t) => {
  const claim = parseClaim('2 * a.sent + 1 <= end.received - b-2.sent', SHARDS);
  t.is(
    claimLine(claim, SHARDS),
    'claim <= -1 3 2 0 sent -1 2 received 1 1 sent 2 * a.sent + 1 <= end.received - b-2.sent',
  );
});

test('what is no claim is refused', (t) => {
  for (const [text, says] of [
    ['a.sent', /needs one of = != < <= > >=/],
    ['a.sent = c.sent', /there is no shard "c"/],
    ['a.sent = sent', /"sent" is neither a number nor SHARD\.COUNTER/],
    ['a.sent b-2.sent = 3', /a \+ or - before "b-2\.sent"/],
    ['a.sent + = 3', /"" is neither/],
    ['2 * = a.sent', /"" is neither/],
  ])
    t.throws(() => parseClaim(text, SHARDS), { code: 'VANITY_E_USAGE', message: says }, text);
});
