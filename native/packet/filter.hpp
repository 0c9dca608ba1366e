// Which packets, in libpcap's filter language ("tcp port 80", "vlan and host 10.0.0.1"). libpcap
// only compiles the expression; it is looked for at run time, so the project does not depend on it.
// The program runs on our own checked machine (bpf.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "packet/bpf.hpp"

namespace vanity {

class Filter {
 public:
  // VANITY_E_NO_LIBPCAP, VANITY_E_FILTER_SYNTAX (with libpcap's own words). The empty expression
  // matches everything. Control path: an expression that names a host may ask the resolver.
  explicit Filter(const std::string& expression);
  // The same with other names for the library, tried in turn.
  Filter(const std::string& expression, const std::vector<std::string>& libraries);

  bool matches(const uint8_t* data, uint32_t length, uint32_t wire_length) const noexcept {
    return bpf_run(program_.data(), data, length, wire_length) != 0;
  }
  const std::vector<BpfInstruction>& program() const noexcept { return program_; }

 private:
  std::vector<BpfInstruction> program_;
};

}  // namespace vanity
