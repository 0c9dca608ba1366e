#include "addon/system.hpp"

#include <map>
#include <mutex>
#include <utility>

#include "addon/convert.hpp"
#include "addon/plan.hpp"

namespace vanity::addon {
namespace {

// Process-wide, since workers have environments of their own. Never destroyed: at exit, threads
// that did not stop may still look.
struct Registry {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<System>> systems;
};
Registry& registry() {
  static auto* all = new Registry();
  return *all;
}

Napi::Array to_js(Napi::Env env, const std::vector<Failure>& failures) {
  Napi::Array list = Napi::Array::New(env);
  for (const Failure& failure : failures) {
    Napi::Object row = Napi::Object::New(env);
    row.Set("code", failure.code);
    row.Set("message", failure.message);
    row.Set("hint", failure.hint);
    list.Set(list.Length(), row);
  }
  return list;
}

class SystemHandle : public Napi::ObjectWrap<SystemHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "System",
        {InstanceMethod<&SystemHandle::start>("start"), InstanceMethod<&SystemHandle::stop>("stop"),
         InstanceMethod<&SystemHandle::wanted>("wanted"),
         InstanceMethod<&SystemHandle::refused>("refused"),
         InstanceMethod<&SystemHandle::overdue>("overdue"),
         InstanceMethod<&SystemHandle::failures>("failures"),
         InstanceMethod<&SystemHandle::warnings>("warnings"),
         InstanceMethod<&SystemHandle::interrupted>("interrupted"),
         InstanceMethod<&SystemHandle::close>("close")});
  }

  explicit SystemHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SystemHandle>(info) {
    const Napi::Env env = info.Env();
    guarded(env, [&] {
      Plan plan = plan_from_js(info[0].As<Napi::Object>());
      if (info[2].IsString()) plan.manifest = info[2].As<Napi::String>().Utf8Value();
      on_event_ = Napi::ThreadSafeFunction::New(env, info[1].As<Napi::Function>(), "vanity", 0, 1);
      BootOptions options;
      options.handle_signals = true;
      options.on_change = [on_event = on_event_] { on_event.NonBlockingCall(); };
      try {
        system_ = std::make_shared<System>(plan, options);
      } catch (...) {
        on_event_.Release();
        throw;
      }
      const std::lock_guard<std::mutex> lock(registry().mutex);
      registry().systems[plan.name] = system_;
    });
    try {
      describe(env, info.This().As<Napi::Object>());
    } catch (...) {
      shut();  // nobody has a handle to stop it by
      throw;
    }
    // The kernel's thread calls into this environment: it must be over before that is.
    napi_add_env_cleanup_hook(env, at_exit, this);
    Ref();  // the hook holds this; close() lets go of both
  }

 private:
  void describe(Napi::Env env, Napi::Object self) {
    Segment& segment = system_->segment();
    // The mapping is the system's; close() detaches this view before the mapping goes.
    const Napi::ArrayBuffer view = Napi::ArrayBuffer::New(
        env, segment.base(), static_cast<size_t>(segment.bytes()), [](Napi::BasicEnv, void*) {});
    segment_ = Napi::Persistent(view.As<Napi::Object>());
    self.Set("segment", view);
    self.Set("segmentPath", segment.path());
  }
  void start(const Napi::CallbackInfo&) {
    if (system_ != nullptr) system_->start();
  }
  void stop(const Napi::CallbackInfo& info) {
    if (system_ != nullptr) system_->stop(info[0].ToBoolean().Value());
  }
  // TypeScript shards that come: each is to be a worker.
  Napi::Value wanted(const Napi::CallbackInfo& info) {
    Napi::Array list = Napi::Array::New(info.Env());
    if (system_ == nullptr) return list;
    for (const Workers::Wanted& wanted : system_->workers().wanted()) {
      Napi::Object row = Napi::Object::New(info.Env());
      row.Set("index", wanted.shard);
      row.Set("name", wanted.name);
      row.Set("program", wanted.program);
      list.Set(list.Length(), row);
    }
    return list;
  }
  // (index, code, message, hint): it came to none.
  void refused(const Napi::CallbackInfo& info) {
    if (system_ == nullptr) return;
    const auto text = [&info](size_t i) { return info[i].ToString().Utf8Value(); };
    system_->workers().fail(info[0].ToNumber().Uint32Value(), text(1), text(2), text(3));
  }
  // TypeScript shards whose workers are to be terminated.
  Napi::Value overdue(const Napi::CallbackInfo& info) {
    Napi::Array list = Napi::Array::New(info.Env());
    if (system_ == nullptr) return list;
    for (const uint32_t s : system_->workers().overdue()) list.Set(list.Length(), s);
    return list;
  }
  Napi::Value failures(const Napi::CallbackInfo& info) {
    return to_js(info.Env(), system_ != nullptr ? system_->failures() : last_failures_);
  }
  Napi::Value warnings(const Napi::CallbackInfo& info) {
    return to_js(info.Env(), system_ != nullptr ? system_->warnings() : last_warnings_);
  }
  Napi::Value interrupted(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), system_ != nullptr && system_->interrupted());
  }
  void close(const Napi::CallbackInfo& info) {
    if (!segment_.IsEmpty()) {
      segment_.Value().As<Napi::ArrayBuffer>().Detach();
      segment_.Reset();
    }
    if (system_ == nullptr) return;
    shut();
    napi_remove_env_cleanup_hook(info.Env(), at_exit, this);
    Unref();
  }

  static void at_exit(void* self) { static_cast<SystemHandle*>(self)->shut(); }

  // By close(), or when the environment ends with the system still running.
  void shut() {
    if (system_ == nullptr) return;
    system_->close();
    last_failures_ = system_->failures();
    last_warnings_ = system_->warnings();
    {
      const std::lock_guard<std::mutex> lock(registry().mutex);
      registry().systems.erase(system_->plan().name);
    }
    system_.reset();
    on_event_.Release();
  }

  std::shared_ptr<System> system_;
  std::vector<Failure> last_failures_;
  std::vector<Failure> last_warnings_;
  Napi::ThreadSafeFunction on_event_;
  Napi::ObjectReference segment_;
};

Napi::FunctionReference* constructor_of(Napi::Env env) {
  return env.GetInstanceData<Napi::FunctionReference>();
}

Napi::Value boot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject() || !info[1].IsFunction()) {
    throw Napi::TypeError::New(env, "boot(plan, onEvent): expected an object and a function");
  }
  return constructor_of(env)->New({info[0], info[1], info[2]});
}

}  // namespace

std::shared_ptr<System> find_system(const std::string& name) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  const auto found = registry().systems.find(name);
  return found == registry().systems.end() ? nullptr : found->second.lock();
}

void export_system(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Napi::FunctionReference(Napi::Persistent(SystemHandle::define(env))));
  exports.Set("boot", Napi::Function::New(env, boot, "boot"));
}

}  // namespace vanity::addon
