// BasicWaiter, BasicSleeper, signal() and BasicDoorbell, as they ship, under Relacy.
#include <fstream>

#include "platform/wait.hpp"
#include "vanity/doorbell.hpp"
// after the headers under test
#include "policy.hpp"

using model::Without;
using vanity::Backend;

namespace {

constexpr auto kRelaxed = std::memory_order(0);
constexpr auto kAcquire = std::memory_order(2);
constexpr auto kRelease = std::memory_order(3);

// One producer hands values over through a word that the consumer waits on.
template <Backend kBackend, Without kWithout, uint32_t kLast = 2>
struct OneWord : rl::test_suite<OneWord<kBackend, kWithout, kLast>, 2> {
  using Policy = model::Policy<kWithout>;
  vanity::BasicSleeper<Policy> sleeper;
  model::Atomic<uint32_t> mail;
  rl::var<int> payload;

  void before() {
    mail.watched = kBackend != Backend::futex;
    payload($) = 0;
  }
  void thread(unsigned index) {
    if (index == 1) {
      payload($) = 7;
      for (uint32_t i = 1; i <= kLast; ++i) {
        mail.store(i, kRelease);
        vanity::signal(sleeper);
      }
      return;
    }
    vanity::BasicWaiter<Policy> waiter(kBackend, {0, 1}, &sleeper);
    for (uint32_t seen = 0; seen != kLast;) {
      const auto look = [&] {
        if (Policy::blind()) return Policy::blind() = false;
        return mail.load(kAcquire) != seen;
      };
      waiter.idle(&mail, look, UINT64_MAX);
      seen = mail.load(kAcquire);
    }
    RL_ASSERT(payload($) == 7);
  }
};

// Two producers and the line of the doorbell: publish, mark, signal; take the mark, then look.
template <Without kWithout>
struct Doorbell : rl::test_suite<Doorbell<kWithout>, 3> {
  using Policy = model::Policy<kWithout>;
  vanity::BasicSleeper<Policy> sleeper;
  vanity::BasicDoorbell<Policy> line;
  model::Atomic<uint32_t> tails[2];

  void thread(unsigned index) {
    if (index < 2) {
      tails[index].store(1, kRelaxed);  // the mark's release publishes it
      line.ring(index);
      vanity::signal(sleeper);
      return;
    }
    Policy::blind() = false;
    vanity::BasicWaiter<Policy> waiter(Backend::futex, {0, 1}, &sleeper);
    for (uint32_t found = 0; found != 2;) {
      const auto look = [&] {
        if (Policy::blind()) return Policy::blind() = false;
        return line.any();
      };
      waiter.idle(&line, look, UINT64_MAX);
      for (uint32_t i = 0; i < 2; ++i) {
        if (line.take(i) == 0) continue;
        RL_ASSERT(tails[i].load(kRelaxed) == 1);
        ++found;
      }
    }
  }
};

// A futex whose time may run out at any moment, and a consumer that dates its work: what the bound
// found is late only if no signal follows.
template <Without kWithout>
struct Bounded : model::Policy<kWithout> {
  using Base = model::Policy<kWithout>;
  static void relax() { rl::yield(1, $); }
  static vanity::Wake futex_wait(const typename Base::template Atomic<uint32_t>& word,
                                 uint32_t expected, uint64_t deadline) {
    if (rl::rand(2) == 0) return vanity::Wake::deadline;
    return Base::futex_wait(word, expected, deadline);
  }
};

template <Without kWithout>
struct Dated : rl::test_suite<Dated<kWithout>, 2> {
  using Policy = Bounded<kWithout>;
  vanity::BasicSleeper<Policy> sleeper;
  model::Atomic<uint32_t> mail;

  void thread(unsigned index) {
    constexpr uint32_t kLast = 2;
    if (index == 1) {
      for (uint32_t i = 1; i <= kLast; ++i) {
        mail.store(i, kRelease);
        vanity::signal(sleeper);
      }
      return;
    }
    Policy::blind() = false;
    vanity::BasicWaiter<Policy> waiter(Backend::futex, {0, 1}, &sleeper);
    for (uint32_t seen = 0; seen != kLast;) {
      const auto look = [&] {
        if (Policy::blind()) return Policy::blind() = false;
        return mail.load(kAcquire) != seen;
      };
      waiter.idle(&mail, look, UINT64_MAX, [](uint64_t) { return true; });
      seen = mail.load(kAcquire);
    }
    RL_ASSERT(waiter.counters().late == 0);
  }
};

}  // namespace

int main() {
  using model::expect;
  constexpr auto kFull = rl::sched_full;
  constexpr auto kRandom = rl::sched_random;
  constexpr unsigned kAll = 2'000'000;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  expect<OneWord<Backend::futex, Without::nothing, 1>>("futex, one value", true, kFull, kAll);
  expect<OneWord<Backend::futex, Without::nothing>>("futex, random", true, kRandom, 200'000);
  expect<OneWord<Backend::futex, Without::heavy_fence>>("futex without the heavy fence", false,
                                                        kRandom, 200'000);
  expect<OneWord<Backend::futex, Without::light_fence>>("futex without the light fence", false,
                                                        kRandom, 200'000);
  expect<OneWord<Backend::futex, Without::second_look>>("futex without the second look", false,
                                                        kRandom, 200'000);
  expect<OneWord<Backend::waitpkg, Without::nothing, 1>>("monitor, one value", true, kFull, kAll);
  expect<OneWord<Backend::waitpkg, Without::nothing>>("monitor", true, kRandom, 200'000);
  expect<OneWord<Backend::waitpkg, Without::second_look>>("monitor without the second look", false,
                                                          kRandom, 200'000);
  expect<Dated<Without::nothing>>("dated, bounded sleeps", true, kRandom, 100'000);
  expect<Dated<Without::heavy_fence>>("dated without the heavy fence", false, kRandom, 100'000);
  expect<Dated<Without::light_fence>>("dated without the light fence", false, kRandom, 100'000);
  expect<Doorbell<Without::nothing>>("doorbell", true, kRandom, 200'000);
  expect<Doorbell<Without::heavy_fence>>("doorbell without the heavy fence", false, kRandom,
                                         200'000);
  expect<Doorbell<Without::light_fence>>("doorbell without the light fence", false, kRandom,
                                         200'000);
  expect<Doorbell<Without::second_look>>("doorbell without the second look", false, kRandom,
                                         200'000);
  std::printf("%d passed, %d failed\n", model::passed, model::failed);
  return model::failed == 0 ? 0 : 1;
}
