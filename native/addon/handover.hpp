// What JavaScript calls when one of its programs takes another's place on a shard.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>

#include "shard/shard.hpp"

namespace vanity::addon {

// As long-lived as the environment.
struct HandoverCalls {
  Shard* shard = nullptr;
  const bool* over = nullptr;           // turns true when the shard has ended
  std::function<void(uint32_t)> flush;  // what JavaScript counted, with so many samples
  uint64_t since = 0;                   // the end of the last turn
};

Napi::Object handover_object(Napi::Env env, HandoverCalls& calls);

}  // namespace vanity::addon
