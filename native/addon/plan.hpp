// lib/manifest/plan.ts to native/shard/plan.hpp, field by field. Values were checked there.
#pragma once

#include <napi.h>

#include "shard/plan.hpp"

namespace vanity::addon {

Plan plan_from_js(const Napi::Object& object);

}  // namespace vanity::addon
