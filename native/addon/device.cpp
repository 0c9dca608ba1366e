#include "addon/device.hpp"

#include <string>

#include "addon/convert.hpp"
#include "platform/error.hpp"

namespace vanity::addon {
namespace {

const MmioView& view_of(const Napi::CallbackInfo& info) {
  const auto& registers = *static_cast<RegisterView*>(info.Data());
  if (registers.over != nullptr && *registers.over) {
    throw Error("VANITY_E_VFIO_ACCESS", "the shard has ended, and its grants with it",
                "Leave devices alone in timers and promises once fini() has run.");
  }
  return registers.view;
}
// A negative one becomes a large one, which no grant holds.
uint64_t offset_of(const Napi::CallbackInfo& info) {
  return static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
}

template <class T>
Napi::Value read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const T value = view_of(info).at<T>(offset_of(info)).read();
    if constexpr (sizeof(T) == 8) return Napi::BigInt::New(info.Env(), value);
    return Napi::Number::New(info.Env(), static_cast<double>(value));
  });
}
template <class T>
void write(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    T value;
    if constexpr (sizeof(T) == 8) {
      bool lossless;
      value = info[1].As<Napi::BigInt>().Uint64Value(&lossless);
    } else {
      value = static_cast<T>(info[1].As<Napi::Number>().Uint32Value());
    }
    view_of(info).at<T>(offset_of(info)).write(value);
  });
}

// testRegisters(memory): a device made of memory.
Napi::Value test_registers(const Napi::CallbackInfo& info) {
  auto memory = info[0].As<Napi::ArrayBuffer>();
  auto owned =
      std::make_unique<RegisterView>(RegisterView{{memory.Data(), memory.ByteLength()}, nullptr});
  Napi::Object object = registers_object(info.Env(), owned.get());
  object.Set("memory", memory);  // keeps it alive
  object.AddFinalizer([](Napi::BasicEnv, RegisterView* view) { delete view; }, owned.release());
  return object;
}

}  // namespace

Napi::Object registers_object(Napi::Env env, RegisterView* registers) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&]<class T>(const char* read_name, const char* write_name, T) {
    object.Set(read_name, Napi::Function::New<read<T>>(env, read_name, registers));
    object.Set(write_name, Napi::Function::New<write<T>>(env, write_name, registers));
  };
  set("read8", "write8", uint8_t{});
  set("read16", "write16", uint16_t{});
  set("read32", "write32", uint32_t{});
  set("read64", "write64", uint64_t{});
  object.Set("bytes", static_cast<double>(registers->view.bytes()));
  return object;
}

void export_device(Napi::Env env, Napi::Object exports) {
  exports.Set("testRegisters", Napi::Function::New(env, test_registers, "testRegisters"));
}

}  // namespace vanity::addon
