// An execution in writing: for people, for tools, and to be run again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/world.hpp"

namespace vanity::sim {

// A column for each thread, a numbered line for each step: what it did, and whose store it found.
std::string text_of(const World& world);
// For https://ui.perfetto.dev: a track for each thread, a microsecond for each step.
std::string perfetto_of(const World& world);
// One line a step and nothing that depends on the processor.
std::string log_of(const World& world);

// What is needed to run it again.
struct Repro {
  std::string scenario;
  std::string system;  // of a whole one, in text; see system/plan.hpp
  Setup setup;
  uint64_t seed = 0;
  uint64_t schedule = 0;  // its number under the seed
  std::string build;
  std::string verdict;
  std::vector<uint8_t> decisions;
};
// The trace goes along as comments.
std::string write_repro(const Repro& repro, const std::string& comment);
// False, with the reason, when it is none.
bool read_repro(const std::string& text, Repro& repro, std::string& error);

const char* name_of(Model model) noexcept;
bool model_of(const std::string& name, Model& model) noexcept;
// The linker's build id of this program.
std::string build_id();

}  // namespace vanity::sim
