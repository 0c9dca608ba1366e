// Granted devices as objects of JavaScript. The views of them live as long as the shard runs: what
// is called later is refused, for the kernel has taken the device away by then.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "device/mmio.hpp"

namespace vanity::addon {

// One range of registers; `over`, where it is given, says that the shard has ended.
struct RegisterView {
  MmioView view;
  const bool* over;
};
// `registers` stays the caller's, and outlives the environment's last call.
Napi::Object registers_object(Napi::Env env, RegisterView* registers);

void export_device(Napi::Env env, Napi::Object exports);

}  // namespace vanity::addon
