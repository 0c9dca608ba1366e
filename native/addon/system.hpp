// The handle that JavaScript has of a running system.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "kernel/system.hpp"

namespace vanity::addon {

void export_system(Napi::Env env, Napi::Object exports);

// A system of this process by its name, for a worker thread that becomes one of its shards; null
// when there is none.
std::shared_ptr<System> find_system(const std::string& name);

}  // namespace vanity::addon
