// Native modules: shared objects that speak the C ABI of vanity/program.h.
#include <dlfcn.h>

#include <cstddef>
#include <string>

#include "platform/error.hpp"
#include "shard/program.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

// What a module of this ABI has at the least; later members are optional ones.
constexpr uint32_t kStructBytesMin = offsetof(vanity_program, device_event);

class Module : public Program {
 public:
  Module(const vanity_program* program, const std::map<std::string, std::string>& options)
      : program_(program),
        device_event_(program->struct_bytes >= sizeof(vanity_program) ? program->device_event
                                                                      : nullptr),
        buffers_(static_cast<uint32_t>(
            option_number(options, "buffers", 0, 0, limits::kPoolBuffersMax))),
        buffer_bytes_(static_cast<uint32_t>(option_number(
            options, "buffer_bytes", 2048, limits::kBufferBytesMin, limits::kBufferBytesMax))) {}

  uint32_t pool_buffers() const override { return buffers_; }
  uint32_t pool_buffer_bytes() const override { return buffer_bytes_ / 64 * 64; }

  void init(Shard& shard) override {
    if (program_->init == nullptr) return;
    const int result = program_->init(shard.handle(), &state_);
    if (result != 0) {
      throw Error("VANITY_E_PROGRAM_INIT",
                  std::string(program_->name) + ": init returned " + std::to_string(result),
                  "look at the program's own messages above");
    }
  }
  uint32_t poll(Shard& shard) noexcept override { return program_->poll(shard.handle(), state_); }
  void fini(Shard& shard) override {
    if (program_->fini != nullptr) program_->fini(shard.handle(), state_);
  }
  void watermark(Shard& shard, vanity_channel* channel, bool high) noexcept override {
    if (program_->watermark != nullptr) {
      program_->watermark(shard.handle(), state_, channel, high ? 1 : 0);
    }
  }
  void device_event(Shard& shard, vanity_device& device,
                    vanity_device_state news) noexcept override {
    if (device_event_ != nullptr) device_event_(shard.handle(), state_, &device, news);
  }

 private:
  const vanity_program* program_;
  decltype(vanity_program::device_event) const device_event_;
  const uint32_t buffers_;
  const uint32_t buffer_bytes_;
  void* state_ = nullptr;
};

}  // namespace

std::unique_ptr<Program> load_module(const std::string& path,
                                     const std::map<std::string, std::string>& options) {
  // Never dlclosed: a module may leave thread-locals or static objects behind.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    throw Error("VANITY_E_PROGRAM_LOAD", path + ": " + dlerror(),
                "build it as a shared object for this machine: cc -shared -fPIC -O2");
  }
  const auto entry =
      reinterpret_cast<decltype(&vanity_program_entry)>(dlsym(library, "vanity_program_entry"));
  if (entry == nullptr) {
    throw Error("VANITY_E_PROGRAM_LOAD", path + ": it does not export vanity_program_entry",
                "define it with VANITY_EXPORT, and extern \"C\" in C++");
  }
  const vanity_program* program = entry();
  if (program == nullptr) {
    throw Error("VANITY_E_PROGRAM_LOAD", path + ": vanity_program_entry returned NULL");
  }
  if (program->abi_version != VANITY_ABI_VERSION || program->struct_bytes < kStructBytesMin) {
    throw Error("VANITY_E_PROGRAM_ABI",
                path + ": built for ABI " + std::to_string(program->abi_version) + " (struct of " +
                    std::to_string(program->struct_bytes) + " bytes), this runtime speaks ABI " +
                    std::to_string(VANITY_ABI_VERSION) + " (struct of " +
                    std::to_string(kStructBytesMin) + " bytes or more)",
                "compile it again with this version's include/vanity/program.h");
  }
  if (program->name == nullptr || program->poll == nullptr) {
    throw Error("VANITY_E_PROGRAM_ABI", path + ": its name or poll is NULL",
                "fill in every required field of vanity_program");
  }
  return std::make_unique<Module>(program, options);
}

}  // namespace vanity
