// A test is a function registered by TEST; CHECK throws with file and line. One executable a file:
// it runs every test (or those whose name holds argv[1], or all but these when it is "-NAME"),
// prints a line for each, exits 1 on failure.
#pragma once

#include <cstdio>
#include <cstring>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace check {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  std::ostringstream text;
  text << file << ':' << line << ": " << what;
  throw std::runtime_error(text.str());
}

template <class A, class B>
void equal(const A& actual, const B& expected, const char* text, const char* file, int line) {
  if (actual == expected) return;
  std::ostringstream what;
  what << text << ": got " << actual << ", expected " << expected;
  fail(file, line, what.str());
}

}  // namespace check

#define TEST(name)                                           \
  static void name();                                        \
  static const check::Register register_##name{#name, name}; \
  static void name()
#define CHECK(condition)                                           \
  do {                                                             \
    if (!(condition)) check::fail(__FILE__, __LINE__, #condition); \
  } while (0)
#define CHECK_EQ(actual, expected) \
  check::equal((actual), (expected), #actual " == " #expected, __FILE__, __LINE__)
#define CHECK_THROWS(expression, Type)                                                \
  do {                                                                                \
    bool threw = false;                                                               \
    try {                                                                             \
      (void)(expression);                                                             \
    } catch (const Type&) {                                                           \
      threw = true;                                                                   \
    }                                                                                 \
    if (!threw) check::fail(__FILE__, __LINE__, #expression " did not throw " #Type); \
  } while (0)

int main(int argc, char** argv) {
  int failed = 0;
  int passed = 0;
  const bool without = argc > 1 && argv[1][0] == '-';
  const char* const name = argc > 1 ? argv[1] + without : nullptr;
  for (const auto& test : check::cases()) {
    if (argc > 1 && (std::strstr(test.name, name) != nullptr) == without) continue;
    try {
      test.run();
      ++passed;
      std::printf("ok - %s\n", test.name);
    } catch (const std::exception& error) {
      ++failed;
      std::printf("not ok - %s\n  %s\n", test.name, error.what());
    }
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
