// One factory a built-in stage; make_stage() in stages.cpp is the list.
#pragma once

#include <memory>

#include "shard/plan.hpp"
#include "shard/program.hpp"

namespace vanity::stage {

std::unique_ptr<Program> make_forward(const ShardPlan& plan);
std::unique_ptr<Program> make_flow_split(const ShardPlan& plan);
std::unique_ptr<Program> make_filter(const ShardPlan& plan);
std::unique_ptr<Program> make_count(const ShardPlan& plan);
std::unique_ptr<Program> make_mirror(const ShardPlan& plan);
std::unique_ptr<Program> make_sink(const ShardPlan& plan);
std::unique_ptr<Program> make_generate(const ShardPlan& plan);

}  // namespace vanity::stage
