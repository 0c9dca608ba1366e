#include <napi.h>

#include "addon/device.hpp"
#include "addon/host.hpp"
#include "addon/shard.hpp"
#include "addon/system.hpp"
#include "addon/wake.hpp"
#include "vanity/platform.hpp"
#include "vanity/program.h"

#ifndef VANITY_VERSION
#error "VANITY_VERSION comes from package.json by way of the build file"
#endif

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  vanity::platform_init();
  exports.Set("version", VANITY_VERSION);
  exports.Set("abiVersion", VANITY_ABI_VERSION);
  vanity::addon::export_host(env, exports);
  vanity::addon::export_system(env, exports);
  vanity::addon::export_shard(env, exports);
  vanity::addon::export_device(env, exports);
  vanity::addon::export_wake(env, exports);
  return exports;
}

NODE_API_MODULE(vanity, init)
