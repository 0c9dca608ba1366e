// Fills its channel with bursts of 32 numbered messages, every word written.
let next = 0;
let output;

export default {
  init(shard) {
    output = shard.outputs[0];
  },
  poll(shard) {
    if (shard.stopping) return 0;
    const got = output.claim(32);
    const numbers = output.f64;
    const words = output.elementBytes / 8;
    let at = output.offset / 8;
    for (let i = 0; i < got; ++i, at += words) {
      for (let w = 0; w < words; ++w) numbers[at + w] = next;
      ++next;
    }
    output.commit(got);
    return got || 1; // full: nobody wakes a producer, so it must not sleep
  },
};
