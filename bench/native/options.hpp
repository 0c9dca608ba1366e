// What the command gives each native benchmark: --json, --quick, --rounds N.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

struct BenchOptions {
  bool json = false;
  bool quick = false;
  uint32_t rounds = 0;

  // `usual` rounds where nothing is said, `few` of them with --quick.
  BenchOptions(int argc, char** argv, uint32_t usual, uint32_t few) {
    for (int i = 1; i < argc; ++i) {
      if (std::strcmp(argv[i], "--json") == 0) json = true;
      if (std::strcmp(argv[i], "--quick") == 0) quick = true;
      if (std::strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
        rounds = static_cast<uint32_t>(std::strtoul(argv[++i], nullptr, 10));
    }
    if (rounds == 0) rounds = quick ? few : usual;
  }
};
