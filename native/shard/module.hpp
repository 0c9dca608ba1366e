// A native module: a shared object that speaks the C ABI of vanity/program.h. One object is one
// copy of it in memory, with its state.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "shard/guard.hpp"
#include "shard/program.hpp"
#include "vanity/program.h"

namespace vanity {

class Module : public Program {
 public:
  struct Loaded {
    const vanity_program* program;
    uintptr_t text_begin;
    uintptr_t text_end;
  };

  // Throws VANITY_E_PROGRAM_LOAD or VANITY_E_PROGRAM_ABI. A copy has static memory of its own,
  // whoever else runs the same file.
  enum class File : uint8_t { itself, copy };
  Module(std::string path, const std::map<std::string, std::string>& options, File file);

  // Finds a program that is linked in, before any file is looked for: the simulator's. Null: none.
  static inline const vanity_program* (*linked_in)(const std::string& path) = nullptr;

  bool renewable() const override { return true; }
  void renew() override;
  void text(uintptr_t* begin, uintptr_t* end) const override;
  Module* module() noexcept override { return this; }
  uint32_t pool_buffers() const override { return buffers_; }
  uint32_t pool_buffer_bytes() const override { return buffer_bytes_ / 64 * 64; }

  void init(Shard& shard) override;
  uint32_t poll(Shard& shard) noexcept override;
  void fini(Shard& shard) override;
  void watermark(Shard& shard, vanity_channel* channel, bool high) noexcept override;
  void device_event(Shard& shard, vanity_device& device,
                    vanity_device_state news) noexcept override;

  // Which shard it sees, and who stands between it and the process, from here on; without, both are
  // those of the shard that it is given.
  void play(vanity_shard* handle, Guard* guard) noexcept {
    handle_ = handle;
    guard_ = guard;
  }

  // Its static memory is that key's from here on; and so it will be when it is renewed, where it
  // gets another copy of it. Throws Error.
  void confine(ProtectionKey& key);

  const std::string& path() const noexcept { return path_; }
  const char* name() const noexcept { return loaded_.program->name; }
  const char* version() const noexcept {
    return loaded_.program->version == nullptr ? "" : loaded_.program->version;
  }
  // Was it compiled with a header that knows of reloads?
  bool knows_reload() const noexcept;
  // How it hands on its state; null: it has none that outlives it.
  const vanity_reload* reload() const noexcept { return reload_; }
  const vanity_state* state() const noexcept {
    return reload_ == nullptr ? nullptr : reload_->state;
  }
  // As the members of vanity_reload; 0 where there is none, but for migrate, which then refuses.
  int save(void* into) noexcept;
  int restore(const void* from) noexcept;
  int migrate(const vanity_state& was, const void* from) noexcept;
  int healthy() noexcept;

 private:
  void take(const Loaded& loaded);
  void give_key();
  template <class Call>
  auto guarded(Call&& call, Guard::Calls calls) noexcept;

  const std::string path_;
  Loaded loaded_{};
  const vanity_program* program_ = nullptr;
  decltype(vanity_program::device_event) device_event_ = nullptr;
  const vanity_reload* reload_ = nullptr;
  const uint32_t buffers_;
  const uint32_t buffer_bytes_;
  void* state_ = nullptr;
  vanity_shard* handle_ = nullptr;
  Guard* guard_ = nullptr;
  ProtectionKey* key_ = nullptr;
};

}  // namespace vanity
