// The state that TypeScript programs hand on: what a description may say, how two of them differ, what travels.
import test from 'ava';
import { limits } from '../../dist/manifest/limits.js';
import {
  copyState,
  stateDifference,
  stateHash,
  stateProblem,
  valuesProblem,
} from '../../dist/runtime/program-state.js';

const described = (fields, more = {}) => ({ name: 'flows', version: 1, fields, ...more });

test('a description says what is wrong with it', (t) => {
  t.is(stateProblem(described({ a: 'u8', b: 'u64[8]', c: 'value', d: 'text' })), undefined);
  t.is(stateProblem(null), 'it is no object');
  t.is(stateProblem(described({ a: 'u8' }, { name: '' })), 'it has no name');
  t.is(stateProblem(described({ a: 'u8' }, { version: 1.5 })), 'its version is no whole number');
  t.is(stateProblem(described({})), 'it has no fields');
  t.is(stateProblem(described({ a: 'u128' })), 'field a has no known type');
  t.is(stateProblem(described({ a: 'text[2]' })), 'field a has no known type');
  t.is(stateProblem(described({ a: 7 })), 'field a has no known type');
  t.is(stateProblem(described({ a: 'u8[0]' })), 'field a has no elements');
  t.is(stateProblem(described({ ['n'.repeat(limits.nameBytes)]: 'u8' })), undefined);
  t.is(
    stateProblem(described({ ['n'.repeat(limits.nameBytes + 1)]: 'u8' })),
    'field 0 has no name of 1 to 31 bytes',
  );
  const many = (n) =>
    described(Object.fromEntries(Array.from({ length: n }, (_, i) => [`f${i}`, 'u8'])));
  t.is(stateProblem(many(limits.stateFields)), undefined);
  t.is(stateProblem(many(limits.stateFields + 1)), 'it has 1025 fields, at most 1024 are possible');
});

test('two descriptions differ field by field', (t) => {
  const was = described({ total: 'u64', lengths: 'u64[8]', gone: 'f64' });
  t.deepEqual(
    stateDifference(was, described({ gone: 'f64', lengths: 'u64[8]', total: 'u64' })),
    [],
  );
  t.deepEqual(
    stateDifference(
      was,
      described({ total: 'u64', lengths: 'u32[8]', fresh: 'text' }, { version: 2 }),
    ),
    ['! version: 1 -> 2', '! lengths: u64[8] -> u32[8]', '- gone: f64', '+ fresh: text'],
  );
  t.deepEqual(stateDifference(was, { ...was, name: 'ports' }), ['! name: flows -> ports']);
  t.deepEqual(stateDifference(described({ a: 'u8' }), undefined), ['- a: u8']);
  t.deepEqual(stateDifference(undefined, was), []);
});

test('the hash is that of what the description says', (t) => {
  const one = described({ a: 'u8', b: 'u16' });
  t.is(stateHash(undefined), 0n);
  t.is(stateHash(one), stateHash(described({ b: 'u16', a: 'u8' })));
  const others = [{ a: 'u8' }, { a: 'u8', b: 'u32' }, { a: 'u8', c: 'u16' }].map((f) =>
    described(f),
  );
  const all = [one, ...others, { ...one, version: 2 }, { ...one, name: 'x' }].map(stateHash);
  t.is(new Set(all).size, all.length);
});

test('values are held against the description', (t) => {
  const good = {
    u8: [0, 255],
    i8: [-128, 127],
    u32: [0, 2 ** 32 - 1],
    u64: [0n, 2n ** 64n - 1n],
    i64: [-(2n ** 63n), 2n ** 63n - 1n],
    f64: [Number.NaN, -1.5],
    bool: [true, false],
    text: ['', 'x'],
    bytes: [new Uint8Array(3)],
    value: [undefined, new Map([[1, new Set([2])]])],
    'u16[2]': [[1, 2], new Uint16Array(2)],
    'i64[1]': [[1n], new BigInt64Array(1)],
  };
  const bad = {
    u8: [-1, 256, 1.5, 1n, '1', undefined],
    i8: [-129, 128],
    u32: [2 ** 32],
    u64: [1, -1n, 2n ** 64n],
    i64: [2n ** 63n],
    f64: [1n, '1'],
    bool: [0],
    text: [0],
    bytes: [[1], 'x'],
    'u16[2]': [[1], [1, 2, 3], [1, 70000], 'ab', new DataView(new ArrayBuffer(2))],
    'i64[1]': [[1]],
  };
  for (const [type, values] of Object.entries(good)) {
    for (const a of values) t.is(valuesProblem(described({ a: type }), { a }), undefined, type);
  }
  for (const [type, values] of Object.entries(bad)) {
    for (const a of values)
      t.is(valuesProblem(described({ a: type }), { a }), `a a that is no ${type}`);
  }
  t.is(valuesProblem(described({ a: 'u8' }), undefined), 'no object');
  t.is(valuesProblem(described({ a: 'u8' }), {}), 'no a');
  t.is(valuesProblem(described({ a: 'u8' }), { a: 1, b: 2 }), 'b, which is not described');
});

test('a copy shares nothing with what it was made of, and says how large it is', (t) => {
  const flows = new Map([['one', { seen: 1 }]]);
  const bytes = new Uint8Array([1, 2, 3]);
  const what = described({ flows: 'value', bytes: 'bytes' });
  const { copy, bytes: size } = copyState(what, { flows, bytes });
  t.deepEqual(copy.flows, flows);
  t.deepEqual([...copy.bytes], [1, 2, 3]);
  flows.get('one').seen = 2;
  bytes[0] = 9;
  t.is(copy.flows.get('one').seen, 1);
  t.is(copy.bytes[0], 1);
  t.true(size > 10);
  t.throws(() => copyState(what, { flows }), { message: 'it gave no bytes' });
  t.throws(() => copyState(what, { flows: () => 0, bytes }));
  const large = new Uint8Array(limits.stateBytes + 1);
  t.throws(() => copyState(what, { flows, bytes: large }), { message: /at most 67108864 are/ });
});
