#include "packet/filter.hpp"

#include <dlfcn.h>

#include <mutex>
#include <type_traits>

#include "platform/error.hpp"

namespace vanity {
namespace {

// As in pcap/pcap.h and pcap/bpf.h, whose layouts are frozen by libpcap's soname.
struct pcap;
struct bpf_program {
  unsigned int count;
  BpfInstruction* instructions;
};
constexpr int kEthernet = 1;
constexpr int kSnapLength = 262144;
constexpr unsigned int kNetmaskUnknown = 0xffffffff;

struct Libpcap {
  pcap* (*open_dead)(int, int);
  void (*close)(pcap*);
  int (*compile)(pcap*, bpf_program*, const char*, int, unsigned int);
  void (*freecode)(bpf_program*);
  char* (*geterr)(pcap*);
};

// The library stays loaded: an unload would buy nothing.
Libpcap load(const std::vector<std::string>& names) {
  void* library = nullptr;
  std::string tried;
  for (const std::string& name : names) {
    library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
    tried += (tried.empty() ? "" : ", ") + name;
  }
  const char* hint = "install it: apt-get install libpcap0.8";
  if (library == nullptr)
    throw Error("VANITY_E_NO_LIBPCAP", "a filter needs libpcap to compile it; not found: " + tried,
                hint);
  Libpcap all{};
  const auto find = [&](auto& function, const char* name) {
    function =
        reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
    if (function == nullptr)
      throw Error("VANITY_E_NO_LIBPCAP", std::string("this libpcap has no ") + name, hint);
  };
  find(all.open_dead, "pcap_open_dead");
  find(all.close, "pcap_close");
  find(all.compile, "pcap_compile");
  find(all.freecode, "pcap_freecode");
  find(all.geterr, "pcap_geterr");
  return all;
}

}  // namespace

Filter::Filter(const std::string& expression)
    : Filter(expression, {"libpcap.so.0.8", "libpcap.so.1", "libpcap.so"}) {}

Filter::Filter(const std::string& expression, const std::vector<std::string>& libraries) {
  static std::mutex one_at_a_time;  // pcap_compile was not reentrant before libpcap 1.8
  const std::lock_guard lock(one_at_a_time);
  const Libpcap libpcap = load(libraries);
  pcap* handle = libpcap.open_dead(kEthernet, kSnapLength);
  if (handle == nullptr) throw Error("VANITY_E_NO_LIBPCAP", "pcap_open_dead failed");
  bpf_program compiled{};
  std::string wrong;
  if (libpcap.compile(handle, &compiled, expression.c_str(), 1, kNetmaskUnknown) != 0) {
    wrong = libpcap.geterr(handle);
  } else {
    program_.assign(compiled.instructions, compiled.instructions + compiled.count);
    libpcap.freecode(&compiled);
    if (const char* unsound = bpf_check(program_.data(), static_cast<uint32_t>(program_.size())))
      wrong = std::string("libpcap compiled a program that cannot be run: ") + unsound;
  }
  libpcap.close(handle);
  if (!wrong.empty())
    throw Error("VANITY_E_FILTER_SYNTAX", "filter \"" + expression + "\": " + wrong,
                "the language is that of tcpdump: man pcap-filter");
}

}  // namespace vanity
