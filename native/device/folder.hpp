// The entries of a folder of /proc or /sys, which may vanish while they are looked at.
#pragma once

#include <filesystem>

namespace vanity {

// visit(path) for each, as far as they can be read.
template <class Visit>
void each_entry(const std::filesystem::path& folder, Visit visit) {
  std::error_code error;
  std::filesystem::directory_iterator at(folder, error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error))
    visit(at->path());
}

}  // namespace vanity
