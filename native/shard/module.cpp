// Native modules: shared objects that speak the C ABI of vanity/program.h.
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <exception>
#include <string>

#include "platform/error.hpp"
#include "shard/program.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

// What a module of this ABI has at the least; later members are optional ones.
constexpr uint32_t kStructBytesMin = offsetof(vanity_program, device_event);

struct Loaded {
  const vanity_program* program;
  uintptr_t text_begin;
  uintptr_t text_end;
};
Loaded load(const std::string& path, const std::string& file);
std::string copy_of(const std::string& path);

class Module : public Program {
 public:
  Module(std::string path, const Loaded& loaded, const std::map<std::string, std::string>& options)
      : path_(std::move(path)),
        buffers_(static_cast<uint32_t>(
            option_number(options, "buffers", 0, 0, limits::kPoolBuffersMax))),
        buffer_bytes_(static_cast<uint32_t>(option_number(
            options, "buffer_bytes", 2048, limits::kBufferBytesMin, limits::kBufferBytesMax))) {
    take(loaded);
  }

  bool renewable() const override { return true; }
  // What it kept in static memory is spoilt, or not: only a copy of the file has it anew.
  void renew() override { take(load(path_, copy_of(path_))); }
  void text(uintptr_t* begin, uintptr_t* end) const override {
    *begin = loaded_.text_begin;
    *end = loaded_.text_end;
  }

  uint32_t pool_buffers() const override { return buffers_; }
  uint32_t pool_buffer_bytes() const override { return buffer_bytes_ / 64 * 64; }

  void init(Shard& shard) override {
    if (program_->init == nullptr) return;
    const int result = [&] {
      const Guard::Program in(shard.guard());
      return program_->init(shard.handle(), &state_);
    }();
    if (result != 0) {
      throw Error("VANITY_E_PROGRAM_INIT",
                  std::string(program_->name) + ": init returned " + std::to_string(result),
                  "look at the program's own messages above");
    }
  }
  uint32_t poll(Shard& shard) noexcept override {
    if (!shard.guard().armed()) return program_->poll(shard.handle(), state_);
    char what[sizeof(Evidence::what)] = {};
    try {
      const Guard::Program in(shard.guard());
      return program_->poll(shard.handle(), state_);
    } catch (const std::exception& error) {
      std::strncpy(what, error.what(), sizeof(what) - 1);
    } catch (...) {
      std::strncpy(what, "of a type that is no std::exception", sizeof(what) - 1);
    }
    shard.guard().leave(FaultKind::exception, what);
  }
  void fini(Shard& shard) override {
    if (program_->fini == nullptr) return;
    const Guard::Program in(shard.guard());
    program_->fini(shard.handle(), state_);
  }
  void watermark(Shard& shard, vanity_channel* channel, bool high) noexcept override {
    if (program_->watermark != nullptr) {
      const Guard::Program in(shard.guard());
      program_->watermark(shard.handle(), state_, channel, high ? 1 : 0);
    }
  }
  void device_event(Shard& shard, vanity_device& device,
                    vanity_device_state news) noexcept override {
    if (device_event_ == nullptr) return;
    const Guard::Program in(shard.guard());
    device_event_(shard.handle(), state_, &device, news);
  }

 private:
  void take(const Loaded& loaded) {
    loaded_ = loaded;
    program_ = loaded.program;
    device_event_ =
        program_->struct_bytes >= sizeof(vanity_program) ? program_->device_event : nullptr;
    state_ = nullptr;
  }

  const std::string path_;
  Loaded loaded_{};
  const vanity_program* program_ = nullptr;
  decltype(vanity_program::device_event) device_event_ = nullptr;
  const uint32_t buffers_;
  const uint32_t buffer_bytes_;
  void* state_ = nullptr;
};

// A file of its own, so that the loader takes it for another library. It stays: so does the
// library.
std::string copy_of(const std::string& path) {
  const int from = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const int to = from < 0 ? -1 : memfd_create(name.c_str(), MFD_CLOEXEC);
  bool copied = to >= 0 && fstat(from, &status) == 0;
  for (off_t left = status.st_size; copied && left > 0;) {
    const ssize_t sent = sendfile(to, from, nullptr, static_cast<size_t>(left));
    copied = sent > 0;
    left -= sent;
  }
  const int saved = errno;
  if (from >= 0) close(from);
  if (!copied) {
    if (to >= 0) close(to);
    throw system_error("VANITY_E_PROGRAM_LOAD", "cannot copy " + path, saved);
  }
  return "/proc/self/fd/" + std::to_string(to);
}

// The part of the library that is executed and holds `address`.
int find_text(dl_phdr_info* info, size_t, void* data) {
  auto& loaded = *static_cast<Loaded*>(data);
  for (uint32_t i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
    if (loaded.text_begin < begin || loaded.text_begin >= begin + part.p_memsz) continue;
    loaded.text_begin = begin;
    loaded.text_end = begin + part.p_memsz;
    return 1;
  }
  return 0;
}

Loaded load(const std::string& path, const std::string& file) {
  // Never dlclosed: a module may leave thread-locals or static objects behind.
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
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
  Loaded loaded{program, reinterpret_cast<uintptr_t>(program->poll), 0};
  if (dl_iterate_phdr(find_text, &loaded) == 0) loaded.text_begin = 0;
  return loaded;
}

}  // namespace

std::unique_ptr<Program> load_module(const std::string& path,
                                     const std::map<std::string, std::string>& options) {
  return std::make_unique<Module>(path, load(path, path), options);
}

}  // namespace vanity
