// A worker thread's environment becomes a shard of a running system.
#pragma once

#include <napi.h>

namespace vanity::addon {

void export_shard(Napi::Env env, Napi::Object exports);

}  // namespace vanity::addon
