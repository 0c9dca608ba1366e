// Native modules: shared objects that speak the C ABI of vanity/program.h.
#include "shard/module.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <exception>
#include <string>

#include "platform/error.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

// What a module of this ABI has at the least; later members are optional ones.
constexpr uint32_t kStructBytesMin = offsetof(vanity_program, device_event);

constexpr bool kPolicyBuild = (VANITY_ABI_VERSION & VANITY_ABI_SIM) != 0;

// A file of its own, so that the loader takes it for another library. It stays: so does the
// library. Where Linux allows a process no more mappings (vm.max_map_count, 65530), nothing in it
// goes on, so copies end before.
std::string copy_of(const std::string& path) {
  static std::atomic<uint32_t> copies{0};
  if (copies.fetch_add(1, std::memory_order_relaxed) >= limits::kModuleCopies) {
    throw Error("VANITY_E_PROGRAM_LOAD",
                path + ": this process has loaded " + std::to_string(limits::kModuleCopies) +
                    " copies of modules, one for each new start, and keeps them",
                "start the system anew; mend the program that faults so often");
  }
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
  auto& loaded = *static_cast<Module::Loaded*>(data);
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

// What of a library can be written to gets a key: its writable parts, but for the beginning that
// the loader took the right to write from once it had filled it in (RELRO).
struct KeyOfLibrary {
  uintptr_t text;
  ProtectionKey* key;
};
int give_key_to(dl_phdr_info* info, size_t, void* data) {
  const auto& wanted = *static_cast<KeyOfLibrary*>(data);
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  bool its = false;
  uintptr_t sealed_end = 0;
  for (uint32_t i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    its |= part.p_type == PT_LOAD && wanted.text >= begin && wanted.text - begin < part.p_memsz;
    if (part.p_type == PT_GNU_RELRO) sealed_end = (begin + part.p_memsz) / page * page;
  }
  if (!its) return 0;
  for (uint32_t i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_W) == 0) continue;
    const uintptr_t first = info->dlpi_addr + part.p_vaddr;
    const uintptr_t begin = std::max(first / page * page, sealed_end);
    const uintptr_t end = (first + part.p_memsz + page - 1) / page * page;
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    if (begin < end) wanted.key->protect_for_good(reinterpret_cast<void*>(begin), end - begin);
  }
  return 1;
}

// Members that were compiled in lie below struct_bytes. The later ones are pointers.
bool reaches(const vanity_program& program, size_t offset) {
  return program.struct_bytes >= offset + sizeof(void*);
}

Module::Loaded load(const std::string& path, Module::File which) {
  const vanity_program* const linked =
      Module::linked_in == nullptr ? nullptr : Module::linked_in(path);
  if (linked != nullptr) return {linked, 0, 0};
  const std::string file = which == Module::File::copy ? copy_of(path) : path;
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
  if ((program->abi_version ^ VANITY_ABI_VERSION) == VANITY_ABI_SIM) {
    if (kPolicyBuild) {
      throw Error("VANITY_E_SIM_MODULE", path + ": it is not compiled for the simulator",
                  "compile it once more, with -DVANITY_SIM");
    }
    throw Error("VANITY_E_PROGRAM_ABI", path + ": it is compiled for the simulator",
                "give the module that is compiled without -DVANITY_SIM");
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
  if (reaches(*program, offsetof(vanity_program, reload)) && program->reload != nullptr &&
      program->reload->struct_bytes < sizeof(vanity_reload)) {
    throw Error("VANITY_E_PROGRAM_ABI",
                path + ": its vanity_reload has " + std::to_string(program->reload->struct_bytes) +
                    " bytes, " + std::to_string(sizeof(vanity_reload)) + " are expected",
                "set its struct_bytes to sizeof(vanity_reload)");
  }
  Module::Loaded loaded{program, reinterpret_cast<uintptr_t>(program->poll), 0};
  if (dl_iterate_phdr(find_text, &loaded) == 0) loaded.text_begin = 0;
  return loaded;
}

}  // namespace

Module::Module(std::string path, const std::map<std::string, std::string>& options, File file)
    : path_(std::move(path)),
      buffers_(
          static_cast<uint32_t>(option_number(options, "buffers", 0, 0, limits::kPoolBuffersMax))),
      buffer_bytes_(static_cast<uint32_t>(option_number(
          options, "buffer_bytes", 2048, limits::kBufferBytesMin, limits::kBufferBytesMax))) {
  take(load(path_, file));
}

void Module::take(const Loaded& loaded) {
  loaded_ = loaded;
  program_ = loaded.program;
  device_event_ =
      reaches(*program_, offsetof(vanity_program, device_event)) ? program_->device_event : nullptr;
  reload_ = knows_reload() ? program_->reload : nullptr;
  state_ = nullptr;
}

bool Module::knows_reload() const noexcept {
  return reaches(*loaded_.program, offsetof(vanity_program, reload));
}

// What it kept in static memory is spoilt, or not: only a copy of the file has it anew.
void Module::renew() {
  take(load(path_, File::copy));
  if (key_ != nullptr) give_key();
}

void Module::confine(ProtectionKey& key) {
  key_ = &key;
  give_key();
}

void Module::give_key() {
  KeyOfLibrary library{reinterpret_cast<uintptr_t>(program_->poll), key_};
  dl_iterate_phdr(give_key_to, &library);
}

void Module::text(uintptr_t* begin, uintptr_t* end) const {
  *begin = loaded_.text_begin;
  *end = loaded_.text_end;
}

void Module::init(Shard& shard) {
  if (guard_ == nullptr) play(shard.handle(), &shard.guard());
  if (program_->init == nullptr) return;
  const int result = [&] {
    const Guard::Program in(*guard_, Guard::Calls::library);
    return program_->init(handle_, &state_);
  }();
  if (result != 0) {
    throw Error("VANITY_E_PROGRAM_INIT",
                std::string(program_->name) + ": init returned " + std::to_string(result),
                "look at the program's own messages above");
  }
}

// An exception is a fault like any other.
template <class Call>
auto Module::guarded(Call&& call, Guard::Calls calls) noexcept {
  if (!guard_->armed()) return call();
  char what[sizeof(Evidence::what)] = {};
  try {
    const Guard::Program in(*guard_, calls);
    return call();
  } catch (const std::exception& error) {
    std::strncpy(what, error.what(), sizeof(what) - 1);
  } catch (...) {
    std::strncpy(what, "of a type that is no std::exception", sizeof(what) - 1);
  }
  guard_->leave(FaultKind::exception, what);
}

uint32_t Module::poll(Shard&) noexcept {
  return guarded([this] { return program_->poll(handle_, state_); }, Guard::Calls::confined);
}

void Module::fini(Shard&) {
  if (program_->fini == nullptr) return;
  const Guard::Program in(*guard_, Guard::Calls::library);
  program_->fini(handle_, state_);
}

void Module::watermark(Shard&, vanity_channel* channel, bool high) noexcept {
  if (program_->watermark == nullptr) return;
  const Guard::Program in(*guard_);
  program_->watermark(handle_, state_, channel, high ? 1 : 0);
}

void Module::device_event(Shard&, vanity_device& device, vanity_device_state news) noexcept {
  if (device_event_ == nullptr) return;
  const Guard::Program in(*guard_);
  device_event_(handle_, state_, &device, news);
}

int Module::save(void* into) noexcept {
  return guarded([&] { return reload_->save(handle_, state_, into); }, Guard::Calls::library);
}

int Module::restore(const void* from) noexcept {
  if (reload_->restore == nullptr) return 0;
  return guarded([&] { return reload_->restore(handle_, state_, from); }, Guard::Calls::library);
}

int Module::migrate(const vanity_state& was, const void* from) noexcept {
  return guarded([&] { return reload_->migrate(handle_, state_, &was, from); },
                 Guard::Calls::library);
}

int Module::healthy() noexcept {
  if (reload_ == nullptr || reload_->healthy == nullptr) return 0;
  return guarded([&] { return reload_->healthy(handle_, state_); }, Guard::Calls::confined);
}

std::unique_ptr<Program> load_module(const std::string& path,
                                     const std::map<std::string, std::string>& options) {
  return std::make_unique<Module>(path, options, Module::File::itself);
}

}  // namespace vanity
