// The instrument of native/wake/ as promises: it runs on threads of its own while JavaScript
// sleeps. One thing is measured at a time, whatever thread asks for it.
#include "addon/wake.hpp"

#include <time.h>

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "addon/convert.hpp"
#include "platform/clock.hpp"
#include "platform/topology.hpp"
#include "vanity/platform.hpp"
#include "wake/clock_quality.hpp"
#include "wake/mechanism.hpp"
#include "wake/skew.hpp"
#include "wake/visit.hpp"

namespace vanity::addon {
namespace {

// What runs now, of all environments of this process.
struct Running {
  std::mutex mutex;
  wake::Pair* pair = nullptr;
};
Running& running() {
  static Running one;
  return one;
}

uint64_t loaded_at() {
  static const uint64_t ticks = now_ticks();
  return ticks;
}

// Runs `measure` on a thread of Node's pool, and `convert`s what it found on JavaScript's.
template <class Result>
class Measurement : public Napi::AsyncWorker {
 public:
  using Measure = std::function<Result(wake::Pair&)>;
  using Convert = Napi::Value (*)(Napi::Env, Result&);

  static Napi::Value start(Napi::Env env, Measure measure, Convert convert) {
    auto worker = std::unique_ptr<Measurement>(new Measurement(env, std::move(measure), convert));
    Running& now = running();
    {
      const std::lock_guard lock(now.mutex);
      if (now.pair != nullptr) {
        throw Error("VANITY_E_WAKE_BUSY",
                    "this process measures already, and two visits would disturb one another",
                    "await the one before, or call abort()");
      }
      now.pair = &worker->pair_;
    }
    const Napi::Promise promise = worker->deferred_.Promise();
    worker.release()->Queue();  // deletes itself
    return promise;
  }
  ~Measurement() override { release(); }

  void Execute() override {
    try {
      result_ = measure_(pair_);
    } catch (...) {
      error_ = std::current_exception();
    }
    release();
  }
  void OnOK() override {
    const Napi::Env env = Env();
    try {
      try {
        if (error_) std::rethrow_exception(error_);
        deferred_.Resolve(convert_(env, result_));
      } catch (const Error& error) {
        deferred_.Reject(to_js(env, error));
      } catch (const Napi::Error&) {
        throw;
      } catch (const std::exception& error) {
        deferred_.Reject(Napi::Error::New(env, error.what()).Value());
      }
    } catch (const Napi::Error&) {
      // The environment goes, and nobody is left to be told.
    }
  }

 private:
  Measurement(Napi::Env env, Measure measure, Convert convert)
      : AsyncWorker(env), measure_(std::move(measure)), convert_(convert), deferred_(env) {}

  void release() noexcept {
    Running& now = running();
    const std::lock_guard lock(now.mutex);
    if (now.pair == &pair_) now.pair = nullptr;
  }

  const Measure measure_;
  const Convert convert_;
  Napi::Promise::Deferred deferred_;
  wake::Pair pair_;
  Result result_{};
  std::exception_ptr error_;
};

// What is wrong with the arguments rejects the promise, as what is wrong later does.
template <class Body>
Napi::Value promised(Napi::Env env, Body&& body) {
  const auto rejected = [env](Napi::Value reason) {
    const Napi::Promise::Deferred deferred(env);
    deferred.Reject(reason);
    return deferred.Promise();
  };
  try {
    return body();
  } catch (const Error& error) {
    return rejected(to_js(env, error));
  } catch (const Napi::Error& error) {
    return rejected(error.Value());
  }
}

// The vector becomes the array's memory.
template <class Array, class T>
Napi::Value array_of(Napi::Env env, std::vector<T>& values) {
  auto* const held = new std::vector<T>(std::move(values));
  if (held->empty()) {
    delete held;
    return Array::New(env, 0);
  }
  const Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
      env, held->data(), held->size() * sizeof(T),
      [](Napi::BasicEnv, void*, std::vector<T>* vector) { delete vector; }, held);
  return Array::New(env, held->size(), buffer, 0);
}

Napi::Value visit_object(Napi::Env env, wake::Visit& visit) {
  Napi::Object row = Napi::Object::New(env);
  const auto set = [&](const char* name, auto value) {
    row.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  row.Set("latencyNs", array_of<Napi::Float64Array>(env, visit.latency_ns));
  row.Set("signalNs", array_of<Napi::Float64Array>(env, visit.signal_ns));
  row.Set("marks", array_of<Napi::Uint8Array>(env, visit.marks));
  set("idledNs", visit.idled_ns);
  set("overrun", visit.overrun);
  set("wallNs", visit.wall_ns);
  set("cpuNs", visit.cpu_ns);
  set("waits", visit.wakes.waits);
  set("signalled", visit.wakes.signalled);
  set("deadline", visit.wakes.deadline);
  set("osLimit", visit.wakes.os_limit);
  set("spurious", visit.wakes.spurious);
  set("lateFoundWork", visit.wakes.late);
  Napi::Array involuntary = Napi::Array::New(env, 2);
  for (uint32_t i = 0; i < 2; ++i) {
    involuntary.Set(i, Napi::Number::New(env, static_cast<double>(visit.involuntary[i])));
  }
  row.Set("involuntary", involuntary);
  return row;
}

// A whole number that is not negative.
uint64_t whole(const Napi::Object& object, const char* key) {
  const double value = number(object, key);
  if (value >= 0 && value <= 9007199254740991.0 &&
      value == static_cast<double>(static_cast<uint64_t>(value))) {
    return static_cast<uint64_t>(value);
  }
  throw Error("VANITY_E_WAKE_SPEC", std::string(key) +
                                        " must be a whole number of at least 0; it is " +
                                        object.Get(key).ToString().Utf8Value());
}

uint32_t processor(double id) {
  if (id >= 0 && id <= UINT32_MAX && id == static_cast<uint32_t>(id)) {
    return static_cast<uint32_t>(id);
  }
  throw Error("VANITY_E_CORE_PIN", "no core has the number " + std::to_string(id));
}

wake::Mode mode_of(const std::string& name) {
  if (name == "oneway") return wake::Mode::oneway;
  if (name == "roundtrip") return wake::Mode::roundtrip;
  if (name == "signal") return wake::Mode::signal;
  if (name == "floor") return wake::Mode::floor;
  if (name == "line") return wake::Mode::line;
  throw Error("VANITY_E_WAKE_SPEC", "\"" + name + "\" is not a mode",
              "one of oneway, roundtrip, signal, floor, line");
}

Napi::Value visit_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    const Napi::Object given = info[0].ToObject();
    wake::VisitSpec spec;
    spec.mechanism = text(given, "mechanism");
    spec.mode = mode_of(text(given, "mode"));
    spec.from = processor(number(given, "from"));
    spec.to = processor(number(given, "to"));
    spec.idle_ns = whole(given, "idleNs");
    spec.samples = whole(given, "samples");
    spec.max_ns = whole(given, "maxNs");
    spec.spin_ns = whole(given, "spinNs");
    spec.offset_ns = number(given, "offsetNs");
    spec.seed = whole(given, "seed");
    return Measurement<wake::Visit>::start(
        env, [spec](wake::Pair& pair) { return wake::visit(spec, pair); }, visit_object);
  });
}

Napi::Value skew_object(Napi::Env env, wake::Skew& skew) {
  Napi::Object row = Napi::Object::New(env);
  row.Set("offsetNs", skew.offset_ns);
  row.Set("errorNs", skew.error_ns);
  return row;
}

Napi::Value skew_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    const uint32_t from = processor(info[0].ToNumber().DoubleValue());
    const uint32_t to = processor(info[1].ToNumber().DoubleValue());
    return Measurement<wake::Skew>::start(
        env, [from, to](wake::Pair& pair) { return wake::measure_skew(from, to, pair); },
        skew_object);
  });
}

Napi::Value clock_object(Napi::Env env, wake::ClockQuality& clock) {
  Napi::Object row = Napi::Object::New(env);
  row.Set("source", clock.source);
  row.Set("ticksPerSecond", clock.ticks_per_second);
  row.Set("errorPpm", clock.error_ppm);
  row.Set("invariant", clock.invariant);
  row.Set("tickNs", clock.tick_ns);
  row.Set("readNs", clock.read_ns);
  return row;
}

Napi::Value clock_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    return Measurement<wake::ClockQuality>::start(
        env, [](wake::Pair&) { return wake::measure_clock(); }, clock_object);
  });
}

Napi::Value mechanisms_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    Napi::Array list = Napi::Array::New(env);
    const char* const kinds[] = {"backend", "path", "reference"};
    for (const wake::Mechanism& mechanism : wake::mechanisms()) {
      Napi::Object row = Napi::Object::New(env);
      row.Set("name", mechanism.name);
      row.Set("kind", kinds[static_cast<size_t>(mechanism.kind)]);
      row.Set("about", mechanism.about);
      row.Set("usable", mechanism.usable);
      row.Set("reason", mechanism.reason);
      row.Set("sleeps", mechanism.sleeps);
      list.Set(list.Length(), row);
    }
    return list;
  });
}

void abort_js(const Napi::CallbackInfo&) {
  Running& now = running();
  const std::lock_guard lock(now.mutex);
  if (now.pair != nullptr) now.pair->stop();
}

void pin_js(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { pin_thread(processor(info[0].ToNumber().DoubleValue())); });
}

Napi::Value now_ns(const Napi::CallbackInfo& info) {
  const auto ticks = static_cast<double>(now_ticks() - loaded_at());
  return Napi::Number::New(info.Env(), ticks * 1e9 / static_cast<double>(ticks_per_second()));
}

Napi::Value thread_usage(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  Napi::Object row = Napi::Object::New(env);
  row.Set("cpuNs", Napi::Number::New(env, static_cast<double>(used.tv_sec) * 1e9 +
                                              static_cast<double>(used.tv_nsec)));
  row.Set("involuntary",
          Napi::Number::New(env, static_cast<double>(thread_switches().involuntary)));
  return row;
}

}  // namespace

void export_wake(Napi::Env env, Napi::Object exports) {
  loaded_at();
  Napi::Object wake = Napi::Object::New(env);
  const auto set = [&](const char* name, auto function) {
    wake.Set(name, Napi::Function::New(env, function, name));
  };
  set("mechanisms", mechanisms_js);
  set("clock", clock_js);
  set("skew", skew_js);
  set("visit", visit_js);
  set("abort", abort_js);
  set("pin", pin_js);
  set("nowNs", now_ns);
  set("threadUsage", thread_usage);
  exports.Set("wake", wake);
}

}  // namespace vanity::addon
