#include "kernel/looks.hpp"

#include <atomic>

#include "vanity/limits.hpp"

namespace vanity {
namespace {

constexpr uint64_t kEveryNs = 1'000'000'000;
// After the system's own: shards, channels, ports, queues, pools, devices and vectors.
constexpr uint32_t kLookedAt = 7;

// How many words a field has in a look.
uint32_t words_of(const Field& field) {
  switch (field.type) {
    case FieldType::counter:
    case FieldType::gauge:
    case FieldType::number:
    case FieldType::state:
      return 1;
    case FieldType::dynamic:
      return field.count;
    case FieldType::label:
    case FieldType::histogram:
    case FieldType::ring:
    case FieldType::text:
      return 0;
  }
  return 0;
}

// A word that its writer may be writing.
template <class Word>
uint64_t load(uint8_t* at) noexcept {
  return std::atomic_ref<Word>(*reinterpret_cast<Word*>(at)).load(std::memory_order_relaxed);
}

}  // namespace

uint64_t look_words(const Table* tables) {
  uint64_t words = 0;
  for (uint32_t i = 1; i <= kLookedAt; ++i) {
    for (const Field& field : *field_tables()[i].fields)
      words += uint64_t{tables[i].count} * words_of(field);
  }
  return words;
}

void Looks::turn(uint64_t now_ns) noexcept {
  if (now_ns < due_ns_) return;
  // By its own beat, so that looks are a second apart; after a pause of all it begins anew.
  due_ns_ = now_ns - due_ns_ < kEveryNs ? due_ns_ + kEveryNs : now_ns + kEveryNs;
  take(now_ns);
}

void Looks::take(uint64_t now_ns) noexcept {
  const SegmentHeader& header = segment_.header();
  LookRecord& look = segment_.look(static_cast<uint32_t>(count_ % limits::kLooks));
  // Who copies it meanwhile finds this, or another number than before its copy.
  look.number.set(0);
  // Whoever reads a word of this look finds the number above: release, with the reader's acquire.
  const auto put = [](Counter& word, uint64_t value) {
    word.value.store(value, std::memory_order_release);
  };
  put(look.at_ns, now_ns);
  put(look.uptime_ns, header.uptime_ns.get());
  look.state.store(header.state.load(std::memory_order_relaxed), std::memory_order_release);
  look.tables.store(kLookedAt, std::memory_order_release);
  look.words_at.store(sizeof(LookRecord), std::memory_order_release);
  look.shards.store(header.tables[1].count, std::memory_order_release);
  look.channels.store(header.tables[2].count, std::memory_order_release);
  look.pools.store(header.tables[5].count, std::memory_order_release);
  look.ports.store(header.tables[3].count, std::memory_order_release);
  look.queues.store(header.tables[4].count, std::memory_order_release);
  auto* word = reinterpret_cast<Counter*>(&look + 1);
  for (uint32_t i = 1; i <= kLookedAt; ++i) {
    const Table& table = header.tables[i];
    for (uint32_t r = 0; r < table.count; ++r) {
      uint8_t* const record = segment_.base() + table.records_offset + uint64_t{r} * table.stride;
      const bool used = used_(static_cast<TableKind>(table.kind), r);
      for (const Field& field : *field_tables()[i].fields) {
        if (!used) {
          for (uint64_t k = words_of(field); k != 0; --k) put(*word++, 0);
          continue;
        }
        uint8_t* at = record + field.offset;
        switch (field.type) {
          case FieldType::counter:
          case FieldType::gauge:
            put(*word++, load<uint64_t>(at));
            break;
          case FieldType::number:
          case FieldType::state:
            put(*word++, load<uint32_t>(at));
            break;
          case FieldType::dynamic:
            for (uint32_t k = 0; k < field.count; ++k, at += sizeof(DynamicCounter))
              put(*word++, load<uint64_t>(at + offsetof(DynamicCounter, value)));
            break;
          case FieldType::label:
          case FieldType::histogram:
          case FieldType::ring:
          case FieldType::text:
            break;
        }
      }
    }
  }
  put(look.number, ++count_);
}

}  // namespace vanity
