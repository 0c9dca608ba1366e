#include "kernel/symbols.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace vanity {
namespace {

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string demangled(const char* name) {
  int status = 0;
  char* const plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string text = status == 0 && plain != nullptr ? plain : name;
  std::free(plain);
  const std::string anonymous = "(anonymous namespace)::";
  for (size_t at; (at = text.find(anonymous)) != std::string::npos;)
    text.erase(at, anonymous.size());
  return text.substr(0, text.find('('));
}

// A copy of a module is known by its descriptor; its own name stands behind the link.
std::string base_name(const char* path) {
  char target[256] = {};
  std::string name = path;
  if (std::strncmp(path, "/proc/self/fd/", 14) == 0 &&
      readlink(path, target, sizeof(target) - 1) > 0) {
    name = target;
    name = name.substr(0, name.find(" (deleted)"));
    const size_t colon = name.find(':');
    if (colon != std::string::npos) name = name.substr(colon + 1);
  }
  const size_t slash = name.rfind('/');
  return slash == std::string::npos ? name : name.substr(slash + 1);
}

// The whole file, mapped; everything in it is checked against its size before it is used.
class Elf {
 public:
  explicit Elf(const char* path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0) {
      bytes_ = static_cast<size_t>(status.st_size);
      void* at = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
      base_ = at == MAP_FAILED ? nullptr : static_cast<const uint8_t*>(at);
    }
    if (fd >= 0) close(fd);
  }
  ~Elf() {
    if (base_ != nullptr) munmap(const_cast<uint8_t*>(base_), bytes_);
  }
  Elf(const Elf&) = delete;
  Elf& operator=(const Elf&) = delete;

  // The function that holds the address, and where it begins.
  bool find(uint64_t address, std::string* name, uint64_t* start) const {
    const auto* header = at<Elf64_Ehdr>(0, 1);
    if (header == nullptr || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64) {
      return false;
    }
    const auto* sections = at<Elf64_Shdr>(header->e_shoff, header->e_shnum);
    for (uint32_t i = 0; sections != nullptr && i < header->e_shnum; ++i) {
      const Elf64_Shdr& table = sections[i];
      if (table.sh_type != SHT_SYMTAB || table.sh_link >= header->e_shnum) continue;
      const uint64_t count = table.sh_size / sizeof(Elf64_Sym);
      const auto* symbols = at<Elf64_Sym>(table.sh_offset, count);
      const Elf64_Shdr& strings = sections[table.sh_link];
      const auto* text = at<char>(strings.sh_offset, strings.sh_size);
      if (symbols == nullptr || text == nullptr || strings.sh_size == 0 ||
          text[strings.sh_size - 1] != '\0') {
        continue;
      }
      for (uint64_t s = 0; s < count; ++s) {
        const Elf64_Sym& symbol = symbols[s];
        if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || address < symbol.st_value ||
            address >= symbol.st_value + symbol.st_size || symbol.st_name >= strings.sh_size) {
          continue;
        }
        *name = text + symbol.st_name;
        *start = symbol.st_value;
        return true;
      }
    }
    return false;
  }

 private:
  template <class T>
  const T* at(uint64_t offset, uint64_t count) const {
    if (base_ == nullptr || offset > bytes_ || offset % alignof(T) != 0 ||
        count > (bytes_ - offset) / sizeof(T)) {
      return nullptr;
    }
    return reinterpret_cast<const T*>(base_ + offset);
  }

  const uint8_t* base_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace

std::string symbol_of(uintptr_t address) {
  Dl_info info{};
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  if (dladdr(reinterpret_cast<void*>(address), &info) == 0 || info.dli_fname == nullptr) {
    return hex(address);
  }
  const uint64_t offset = address - reinterpret_cast<uintptr_t>(info.dli_fbase);
  const std::string file = " (" + base_name(info.dli_fname) + ")";
  std::string name;
  uint64_t start = 0;
  if (Elf(info.dli_fname).find(offset, &name, &start)) {
    return demangled(name.c_str()) + "+" + hex(offset - start) + file;
  }
  if (info.dli_sname != nullptr) {
    return demangled(info.dli_sname) + "+" +
           hex(address - reinterpret_cast<uintptr_t>(info.dli_saddr)) + file;
  }
  return hex(offset) + file;
}

std::string backtrace_text(const uintptr_t* frames, uint32_t count, uint32_t most) {
  std::string text;
  const uint32_t shown = std::min(count, most);
  for (uint32_t i = 0; i < shown; ++i) {
    // A call that does not return may be the last instruction of its function.
    const uintptr_t address = i == 0 ? frames[i] : frames[i] - 1;
    text += (i == 0 ? "" : " < ") + symbol_of(address);
  }
  if (count > shown) text += " < ...";
  return text;
}

}  // namespace vanity
