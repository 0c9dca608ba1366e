import test from 'ava';
import { chooseWake } from '../../dist/wake/options.js';

const processor = (id, usable = true) => ({
  id,
  core: id,
  package: 0,
  node: 0,
  siblings: [id],
  cluster: [id],
  isolated: false,
  usable,
});
const mechanism = (name, usable = true, reason = 'always there') => ({
  name,
  kind: 'backend',
  about: '',
  usable,
  reason,
  sleeps: true,
});
const HOST = {
  processors: [processor(0, false), processor(1), processor(2), processor(3)],
  mechanisms: [
    mechanism('waitpkg-c01', false, 'CPUID leaf 7 ECX[5] is clear'),
    mechanism('spin'),
    mechanism('futex'),
    mechanism('raw-futex'),
  ],
};
const choose = (flags) => chooseWake(flags, HOST);

test('without flags: all that is usable, decades of idle times, the plan chooses the pairs', (t) => {
  const choice = choose({});
  t.deepEqual(
    choice.mechanisms.map((m) => m.name),
    ['spin', 'futex', 'raw-futex'],
  );
  t.deepEqual(choice.idlesNs, [0, 1e3, 1e4, 1e5, 1e6, 1e7]);
  t.is(choice.pairs, null);
  t.is(choice.samples, null);
  t.true(choose({ quick: true }).rounds < choice.rounds);
});

test('flags narrow it; what is given twice counts once', (t) => {
  const choice = choose({
    pairs: '1-2, 2-1,1-2',
    mechanisms: 'raw-futex,spin,spin',
    idle: '1ms,0,10us,2.5us,100ns,1s,10000ns',
    samples: '100',
    rounds: '10',
    seed: '0',
  });
  t.deepEqual(choice.pairs, [
    [1, 2],
    [2, 1],
  ]);
  t.deepEqual(
    choice.mechanisms.map((m) => m.name),
    ['spin', 'raw-futex'],
    'in the order of the host',
  );
  t.deepEqual(choice.idlesNs, [0, 100, 2500, 1e4, 1e6, 1e9]);
  t.is(choice.samples, 100);
  t.is(choice.seed, 0);
  t.is(choose({ pairs: 'all' }).pairs.length, 6);
  t.deepEqual(choose({ pairs: '1-1' }).pairs, [[1, 1]]);
  t.is(choose({ mechanisms: 'all' }).mechanisms.length, 3);
});

const WRONG = [
  [
    { pairs: '1-9' },
    'PAIR',
    /--pairs 1-9: there is no processor 9 online/,
    /--pairs 1-2 .*use: 1-3/,
  ],
  [{ pairs: '0-1' }, 'PAIR', /may not use processor 0/, /1-3/],
  [{ pairs: '1' }, 'PAIR', /"1" of --pairs is no pair/, /--pairs/],
  [{ pairs: '1-2-3' }, 'PAIR', /no pair/, /--pairs/],
  [{ pairs: '-1-2' }, 'PAIR', /no pair/, /--pairs/],
  [{ pairs: '1-2;2-1' }, 'PAIR', /no pair/, /--pairs/],
  [{ pairs: '' }, 'USAGE', /--pairs is a list/, /help/],
  [{ pairs: '1-2,' }, 'USAGE', /--pairs is a list/, /help/],
  [{ mechanisms: 'futx' }, 'MECHANISM', /no mechanism is called "futx"/, /Did you mean "futex"\?/],
  [{ mechanisms: 'telepathy' }, 'MECHANISM', /"telepathy"/, /There are .*"spin"/],
  [
    { mechanisms: 'waitpkg-c01' },
    'MECHANISM',
    /not have .*"waitpkg-c01": CPUID/,
    /--mechanisms spin,futex/,
  ],
  [{ mechanisms: ',' }, 'USAGE', /--mechanisms is a list/, /help/],
  [{ idle: '10' }, 'USAGE', /--idle .*"10" is none/, /help/],
  [{ idle: '10 parsecs' }, 'USAGE', /"10 parsecs" is none/, /help/],
  [{ idle: '-1us' }, 'USAGE', /"-1us" is none/, /help/],
  [{ idle: '1m' }, 'USAGE', /"1m" is none/, /help/],
  [{ idle: '1.1s' }, 'USAGE', /--idle goes up to 1.0 s; it is "1.1s"/, /help/],
  [
    { idle: Array.from({ length: 33 }, (_, i) => `${i}us`).join() },
    'USAGE',
    /up to 32 times/,
    /help/,
  ],
  [
    { samples: '0' },
    'USAGE',
    /--samples must be a whole number from 1 to 1000000; it is "0"/,
    /help/,
  ],
  [{ samples: '1000001' }, 'USAGE', /--samples must be/, /help/],
  [{ samples: '1e3' }, 'USAGE', /--samples must be/, /help/],
  [{ samples: '3' }, 'USAGE', /--samples 3 is fewer than one a round/, /help/],
  [{ rounds: '0' }, 'USAGE', /--rounds must be/, /help/],
  [{ rounds: '101' }, 'USAGE', /--rounds must be .* 1 to 100/, /help/],
  [{ seed: '-1' }, 'USAGE', /--seed must be/, /help/],
  [{ seed: '4294967296' }, 'USAGE', /--seed must be/, /help/],
];

for (const [flags, code, message, hint] of WRONG) {
  const name = Object.entries(flags).flat().join(' ').slice(0, 40);
  test(`refused: ${name}`, (t) => {
    const full = code === 'USAGE' ? 'VANITY_E_USAGE' : `VANITY_E_WAKE_${code}`;
    const error = t.throws(() => choose(flags), { code: full });
    t.regex(error.message, message);
    t.regex(error.hint, hint);
    t.is(error.exitCode, 2);
  });
}

test('the last value within the limits is taken', (t) => {
  t.is(choose({ samples: '1000000' }).samples, 1_000_000);
  t.is(choose({ rounds: '100' }).rounds, 100);
  t.is(choose({ seed: '4294967295' }).seed, 2 ** 32 - 1);
  t.is(choose({ idle: Array.from({ length: 32 }, (_, i) => `${i}us`).join() }).idlesNs.length, 32);
});
