// A segment of some process, mapped to be written. Found by what it says about itself, so it may be
// another build's; everything in it is checked before it is used.
#pragma once

#include <cstdint>
#include <string>

#include "vanity/segment.hpp"

namespace vanity {

class MappedSegment {
 public:
  // Throws VANITY_E_SEGMENT.
  explicit MappedSegment(const std::string& path);
  ~MappedSegment();
  MappedSegment(const MappedSegment&) = delete;
  MappedSegment& operator=(const MappedSegment&) = delete;

  const Table& table(TableKind kind) const;
  // A word of a record by its name. Throws VANITY_E_COMMAND when there is none.
  template <class Word>
  Word& word(const Table& table, uint32_t index, const char* name) {
    return *reinterpret_cast<Word*>(find(table, index, name, sizeof(Word), sizeof(Word)));
  }
  // A text, and how many bytes it has room for.
  char* text(const Table& table, uint32_t index, const char* name, uint32_t* bytes);
  // The same of a field of type `text`.
  char* long_text(const Table& table, uint32_t index, const char* name, uint64_t* bytes);

 private:
  bool within(uint64_t offset, uint64_t count, uint64_t stride) const;
  [[noreturn]] void refuse(const char* why) const;
  const Field& field(const Table& table, const char* name) const;
  uint8_t* find(const Table& table, uint32_t index, const char* name, uint64_t bytes,
                uint64_t align);

  const std::string path_;
  uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace vanity
