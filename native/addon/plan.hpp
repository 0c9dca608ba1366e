// lib/manifest/plan.ts to native/shard/plan.hpp, field by field. Values were checked there.
#pragma once

#include <napi.h>

#include <map>
#include <string>
#include <vector>

#include "kernel/parts.hpp"
#include "shard/plan.hpp"

namespace vanity::addon {

Plan plan_from_js(const Napi::Object& object);
WatchPlan watch_from_js(const Napi::Object& object);
std::map<std::string, std::string> options_from_js(const Napi::Object& object);
std::vector<std::string> names_from_js(const Napi::Value& value);
Parts parts_from_js(const Napi::Object& object);

}  // namespace vanity::addon
