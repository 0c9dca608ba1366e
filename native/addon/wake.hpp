#pragma once

#include <napi.h>

namespace vanity::addon {

void export_wake(Napi::Env env, Napi::Object exports);

}  // namespace vanity::addon
