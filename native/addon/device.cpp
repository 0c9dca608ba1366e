#include "addon/device.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "addon/convert.hpp"

namespace vanity::addon {
namespace {

RegisterView& view_of(const Napi::CallbackInfo& info) {
  return *static_cast<RegisterView*>(info.Data());
}
bool reaches(const RegisterView& view) {
  if (view.over != nullptr && *view.over) return false;
  return view.device == nullptr || !view.device->let_go();
}
// A negative one becomes a large one, which no grant holds.
uint64_t offset_of(const Napi::CallbackInfo& info) {
  return static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
}

template <class T>
Napi::Value read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const RegisterView& view = view_of(info);
    const Register<T> at = view.view.at<T>(offset_of(info));
    const T value = reaches(view) ? at.read() : std::numeric_limits<T>::max();
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
    const RegisterView& view = view_of(info);
    const Register<T> at = view.view.at<T>(offset_of(info));
    if (reaches(view)) at.write(value);
  });
}
void refused(const Napi::CallbackInfo& info) {
  vanity_device* const device = view_of(info).device;
  if (device != nullptr) device->refuse();
}

// `registers` outlives the environment's last call.
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
  object.Set("refused", Napi::Function::New<refused>(env, "refused", registers));
  object.Set("bytes", static_cast<double>(registers->view.bytes()));
  return object;
}

// testRegisters(memory): a device made of memory.
Napi::Value test_registers(const Napi::CallbackInfo& info) {
  auto memory = info[0].As<Napi::ArrayBuffer>();
  auto owned = std::make_unique<RegisterView>(
      RegisterView{{memory.Data(), memory.ByteLength()}, nullptr, nullptr});
  Napi::Object object = registers_object(info.Env(), owned.get());
  object.Set("memory", memory);  // keeps it alive
  object.AddFinalizer([](Napi::BasicEnv, RegisterView* view) { delete view; }, owned.release());
  return object;
}

IrqLine& line_of(const Napi::CallbackInfo& info) {
  return *static_cast<IrqLine*>(info.Data());
}
Napi::Value take(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(line_of(info).take()));
}
void done(const Napi::CallbackInfo& info) {
  line_of(info).done();
}

const vanity_dma& memory_of(const Napi::CallbackInfo& info) {
  return static_cast<vanity_device::Memory*>(info.Data())->where;
}
Napi::Value address(const Napi::CallbackInfo& info) {
  const vanity_dma& memory = memory_of(info);
  const auto offset = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  if (offset >= memory.bytes) throw Napi::RangeError::New(info.Env(), "past the end of the region");
  const uint64_t within = offset & ((uint64_t{1} << memory.page_shift) - 1);
  return Napi::BigInt::New(info.Env(), memory.pages[offset >> memory.page_shift] + within);
}

vanity_device& device_of(const Napi::CallbackInfo& info) {
  return *static_cast<vanity_device*>(info.Data());
}
Napi::Value news(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), device_of(info).news());
}
void follow(const Napi::CallbackInfo& info) {
  device_of(info).follow(
      static_cast<vanity_device_state>(info[0].As<Napi::Number>().Uint32Value()));
}

Napi::Object irq_object(Napi::Env env, const vanity_device::Vector& vector,
                        const DevicePlan& plan) {
  static constexpr const char* kTriggers[] = {"level", "edge", "msi", "msix"};
  static constexpr const char* kEois[] = {"immediate", "delayed"};
  Napi::Object row = Napi::Object::New(env);
  row.Set("vector", vector.number);
  for (const auto& irq : plan.irqs) {
    if (irq.vector != vector.number) continue;
    row.Set("trigger", kTriggers[static_cast<uint32_t>(irq.trigger)]);
    row.Set("eoi", kEois[static_cast<uint32_t>(irq.eoi)]);
  }
  row.Set("take", Napi::Function::New<take>(env, "take", vector.line));
  row.Set("done", Napi::Function::New<done>(env, "done", vector.line));
  return row;
}

Napi::Object memory_object(Napi::Env env, const vanity_device::Memory& memory,
                           const std::function<Napi::Value(void*, size_t)>& wrap) {
  Napi::Object row = Napi::Object::New(env);
  const vanity_dma& where = memory.where;
  row.Set("name", memory.name);
  row.Set("memory", wrap(where.data, where.bytes));
  row.Set("contiguous", where.page_shift >= 63
                            ? std::numeric_limits<double>::infinity()
                            : std::ldexp(1.0, static_cast<int>(where.page_shift)));
  row.Set("address", Napi::Function::New<address>(env, "address",
                                                  const_cast<vanity_device::Memory*>(&memory)));
  return row;
}

}  // namespace

Napi::Array devices_array(Napi::Env env, Shard& shard, const std::vector<DevicePlan>& plans,
                          const bool* over, DeviceViews& views,
                          const std::function<Napi::Value(void*, size_t)>& wrap) {
  Napi::Array array = Napi::Array::New(env);
  for (const DevicePlan& plan : plans) {
    vanity_device* const device = shard.find_device(plan.name);
    if (device == nullptr) continue;
    Napi::Object row = Napi::Object::New(env);
    row.Set("name", device->name());
    Napi::Array mmio = Napi::Array::New(env);
    for (const vanity_device::Registers& each : device->registers()) {
      views.registers.push_back(
          std::make_unique<RegisterView>(RegisterView{each.view, device, over}));
      Napi::Object grant = Napi::Object::New(env);
      grant.Set("bar", each.bar);
      grant.Set("offset", static_cast<double>(each.offset));
      grant.Set("registers", registers_object(env, views.registers.back().get()));
      mmio.Set(mmio.Length(), grant);
    }
    row.Set("mmio", mmio);
    Napi::Array irqs = Napi::Array::New(env);
    for (const auto& vector : device->vectors()) {
      irqs.Set(irqs.Length(), irq_object(env, vector, plan));
    }
    row.Set("irqs", irqs);
    Napi::Array dma = Napi::Array::New(env);
    for (const auto& memory : device->memory()) {
      dma.Set(dma.Length(), memory_object(env, memory, wrap));
    }
    row.Set("dma", dma);
    row.Set("news", Napi::Function::New<news>(env, "news", device));
    row.Set("follow", Napi::Function::New<follow>(env, "follow", device));
    array.Set(array.Length(), row);
  }
  return array;
}

void export_device(Napi::Env env, Napi::Object exports) {
  exports.Set("testRegisters", Napi::Function::New(env, test_registers, "testRegisters"));
}

}  // namespace vanity::addon
