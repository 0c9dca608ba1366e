// Where systems of a test leave what the command line would find, and the test its files: a folder
// of its own, which is gone when the test is.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

// Made at the first call.
inline const std::string& runtime_folder() {
  struct Folder {
    std::string path = "/tmp/vanity-test-XXXXXX";
    const pid_t owner = getpid();  // a forked child ends before its test does
    Folder() {
      if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp");
      setenv("VANITY_RUNTIME_DIR", path.c_str(), 1);
    }
    ~Folder() {
      std::error_code ignored;
      if (getpid() == owner) std::filesystem::remove_all(path, ignored);
    }
  };
  static const Folder folder;
  return folder.path;
}
