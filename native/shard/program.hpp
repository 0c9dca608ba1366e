// What a shard runs. Built-in stages and native modules look the same from the poll loop.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "vanity/program.h"

namespace vanity {

class Module;
class Shard;
struct ShardPlan;

class Program {
 public:
  virtual ~Program() = default;
  // On the shard's own thread, before traffic. Throws Error.
  virtual void init(Shard&) {}
  // Elements handled; 0 lets the shard sleep. Never blocks, allocates or throws.
  virtual uint32_t poll(Shard&) noexcept = 0;
  virtual void fini(Shard&) {}
  virtual void watermark(Shard&, vanity_channel*, bool /*high*/) noexcept {}
  virtual void device_event(Shard&, vanity_device&, vanity_device_state) noexcept {}
  // Can be left when it faults, and started anew: then renew() makes it as it was before init,
  // from its file as that is now. Throws Error. And where its own instructions lie.
  virtual bool renewable() const { return false; }
  virtual Module* module() noexcept { return nullptr; }
  virtual void renew() {}
  virtual void text(uintptr_t* begin, uintptr_t* end) const { *begin = *end = 0; }
  // Makes packets instead of receiving them.
  virtual bool is_source() const { return false; }
  // A source that will make no more. Asked by the kernel's thread.
  virtual bool finished() const noexcept { return false; }
  // After a poll that did nothing: how long the shard may sleep although nobody signals. 0: not.
  virtual uint64_t sleep_ns_max() const noexcept { return UINT64_MAX; }
  // Buffers of its own that it needs, and their size; 0 when it makes no packets.
  virtual uint32_t pool_buffers() const { return 0; }
  virtual uint32_t pool_buffer_bytes() const { return 2048; }
};

// A built-in stage by its name. Throws VANITY_E_PROGRAM for an unknown name, VANITY_E_OPTION for a
// bad option.
std::unique_ptr<Program> make_stage(const ShardPlan& plan);

// A native module: dlopen, ABI check. Throws VANITY_E_PROGRAM_LOAD or VANITY_E_PROGRAM_ABI.
// Options `buffers` and `buffer_bytes` give it a pool of its own for vanity_allocate.
std::unique_ptr<Program> load_module(const std::string& path,
                                     const std::map<std::string, std::string>& options);

// What stands for a program of JavaScript, whose thread is a worker. The same options.
std::unique_ptr<Program> make_foreign(const std::map<std::string, std::string>& options);

// The option as an unsigned number within [min, max], or `otherwise` when absent.
uint64_t option_number(const std::map<std::string, std::string>& options, const std::string& key,
                       uint64_t otherwise, uint64_t min, uint64_t max);

}  // namespace vanity
