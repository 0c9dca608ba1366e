#include "kernel/evidence.hpp"

#include <csignal>
#include <cstdio>

#include "kernel/symbols.hpp"

namespace vanity {
namespace {

const char* signal_text(int number) {
  switch (number) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    case SIGILL:
      return "SIGILL";
    default:
      return "SIGABRT";
  }
}

}  // namespace

bool strayed(const Evidence& evidence) {
  return evidence.kind == FaultKind::signal && evidence.signal == SIGSEGV &&
         evidence.code == SEGV_PKUERR;
}

std::string evidence_text(const Evidence& evidence, const std::string& owner) {
  if (evidence.told) return evidence.what;
  std::string text;
  char address[40];
  std::snprintf(address, sizeof(address), " at address 0x%llx",
                static_cast<unsigned long long>(evidence.address));
  switch (evidence.kind) {
    case FaultKind::signal:
      if (strayed(evidence)) {
        text = "it wrote where it may not (SIGSEGV" + std::string(address) + ")";
        if (!owner.empty()) text += ", to " + owner;
        break;
      }
      text = signal_text(evidence.signal);
      if (evidence.signal == SIGSEGV || evidence.signal == SIGBUS) text += address;
      break;
    case FaultKind::overflow:
      text = std::string("its stack is full (SIGSEGV") + address + ")";
      break;
    case FaultKind::exception:
      text = std::string("it threw an exception: ") + evidence.what;
      break;
    case FaultKind::descriptor:
    case FaultKind::process:
      text = evidence.what;
      break;
    case FaultKind::init:
      return std::string("it could not be started again: ") + evidence.what;
    case FaultKind::asked:
    case FaultKind::none:
      text = "it was left when asked to";
      break;
  }
  if (evidence.frame_count != 0) {
    text += ", in " + backtrace_text(evidence.frames, evidence.frame_count);
  }
  return text;
}

}  // namespace vanity
