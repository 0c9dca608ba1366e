// Takes bursts of 32 messages and reads each: its first and last words must hold the number that follows.
let expected = 0;
let input;
let wrong;

export default {
  init(shard) {
    input = shard.inputs[0];
    wrong = shard.counter('wrong');
  },
  poll() {
    const got = input.peek(32);
    if (got === 0) return 0;
    const numbers = input.f64;
    const stride = input.stride / 8;
    let at = input.offset / 8;
    for (let i = 0; i < got; ++i, at += stride) {
      if (numbers[at] !== expected || numbers[at + stride - 1] !== expected) wrong.add(1);
      expected = numbers[at] + 1;
    }
    input.release(got);
    return got;
  },
};
