// The devices of a shard as objects of JavaScript.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <vector>

#include "device/mmio.hpp"
#include "shard/grant.hpp"
#include "shard/shard.hpp"

namespace vanity::addon {

// One range of registers. Where the device is let go, or the shard has ended, reads give all ones
// and writes go nowhere.
struct RegisterView {
  MmioView view;
  vanity_device* device = nullptr;  // null: memory, in a test
  const bool* over = nullptr;
};

// What the functions of a shard's devices work on; as long-lived as the environment.
struct DeviceViews {
  std::vector<std::unique_ptr<RegisterView>> registers;
};

// `wrap` makes an ArrayBuffer of memory; `over` turns true when the shard has ended.
Napi::Array devices_array(Napi::Env env, Shard& shard, const std::vector<DevicePlan>& plans,
                          const bool* over, DeviceViews& views,
                          const std::function<Napi::Value(void*, size_t)>& wrap);

void export_device(Napi::Env env, Napi::Object exports);

}  // namespace vanity::addon
