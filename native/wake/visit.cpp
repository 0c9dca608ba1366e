#include "wake/visit.hpp"

#include <cmath>
#include <memory>
#include <string>

#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "wake/awake.hpp"
#include "wake/cell.hpp"
#include "wake/floor.hpp"
#include "wake/interrupt.hpp"
#include "wake/mechanism.hpp"
#include "wake/oneway.hpp"
#include "wake/roundtrip.hpp"
#include "wake/virtio_user.hpp"

namespace vanity::wake {
namespace {

constexpr uint64_t kSamplesMax = 1u << 22;
constexpr uint64_t kIdleNsMax = 1'000'000'000;
constexpr uint64_t kVisitNsMax = 600'000'000'000;
constexpr uint64_t kSleepNsMax = 10'000'000;  // a bound, so that returns by deadline happen

void validate(const VisitSpec& spec) {
  const auto within = [](const char* what, uint64_t value, uint64_t least, uint64_t most) {
    if (value >= least && value <= most) return;
    throw Error("VANITY_E_WAKE_SPEC", std::string(what) + " must be from " + std::to_string(least) +
                                          " to " + std::to_string(most) + "; it is " +
                                          std::to_string(value));
  };
  within("samples", spec.samples, 1, kSamplesMax);
  within("idleNs", spec.idle_ns, 0, kIdleNsMax);
  within("maxNs", spec.max_ns, 1'000'000, kVisitNsMax);
  within("spinNs", spec.spin_ns, 0, kIdleNsMax);
  if (!(std::abs(spec.offset_ns) < 1e9)) {
    throw Error("VANITY_E_WAKE_SPEC", "offsetNs must be less than a second either way");
  }
}

void refuse_one_core(const VisitSpec& spec, const std::string& what) {
  if (spec.from != spec.to) return;
  throw Error(
      "VANITY_E_WAKE_PAIR",
      what + " keeps its core, so core " + std::to_string(spec.from) + " cannot signal itself",
      "give two different cores, or a mechanism that sleeps, such as futex");
}

template <class Run>
Visit measure(const VisitSpec& spec, Pair& pair, Run&& run) {
  const auto cell = std::make_unique<Cell>(spec, pair);
  run(*cell);
  return cell->result();
}

template <class M, class... Args>
Visit run(const VisitSpec& spec, Pair& pair, const Args&... args) {
  return measure(spec, pair, [&](Cell& cell) {
    if (spec.mode == Mode::oneway) oneway<M>(cell, args...);
    if (spec.mode == Mode::roundtrip) roundtrip<M>(cell, args...);
    if (spec.mode == Mode::signal) awake<M>(cell, args...);
  });
}

}  // namespace

Visit visit(const VisitSpec& given, Pair& pair) {
  validate(given);
  VisitSpec spec = given;
  if (spec.mode == Mode::floor || spec.mode == Mode::line) {
    refuse_one_core(spec, "a bare loop");
    return measure(spec, pair, floor);
  }
  const Mechanism& mechanism = usable_mechanism(spec.mechanism);
  if (!mechanism.sleeps) refuse_one_core(spec, mechanism.name);
  if (spec.mode == Mode::signal) refuse_one_core(spec, "a consumer that is awake");

  const uint64_t sleep = ns_to_ticks(kSleepNsMax);
  const auto backed = [&](Backend backend, uint64_t deep_after_ns) {
    return run<Backed<Hardware>>(spec, pair, backend, WaitTuning{0, sleep, deep_after_ns});
  };
  const std::string& name = mechanism.name;
  const WaitTuning adaptive{ns_to_ticks(spec.spin_ns), sleep};
  if (mechanism.kind == Kind::path) {
    spec.kernel = kernel_cpu(spec.from, spec.to);
    if (name == "virtio-user") return run<VirtioUser>(spec, pair, spec.kernel, adaptive);
    return run<Interrupt>(spec, pair, spec.kernel, adaptive);
  }
  if (name == "raw-futex") return run<RawFutex>(spec, pair);
  if (name == "eventfd") return run<EventFd>(spec, pair);
  if (name == "pipe") return run<Pipe>(spec, pair);
  if (name == "spin") return run<Backed<Bare>>(spec, pair, Backend::spin, WaitTuning{0, sleep});
  if (name == "spin+pause") return backed(Backend::spin, 0);
  if (name == "futex") return backed(Backend::futex, 0);
  if (name == "waitpkg-c01") return backed(Backend::waitpkg, UINT64_MAX);
  if (name == "waitpkg-c02") return backed(Backend::waitpkg, 0);
  if (name == "monitorx") return backed(Backend::monitorx, UINT64_MAX);
  if (name == "monitorx-c1") return backed(Backend::monitorx, 0);
  if (name == "wfet") return backed(Backend::wfe, 0);
  if (name == "wfe") return run<Backed<Untimed>>(spec, pair, Backend::wfe, WaitTuning{0, sleep});
  if (name == "zawrs") return backed(Backend::zawrs, 0);
  // adaptive, as a shard with wait = "auto" does
  return run<Backed<Hardware>>(spec, pair, choose_backend("auto"), adaptive);
}

}  // namespace vanity::wake
