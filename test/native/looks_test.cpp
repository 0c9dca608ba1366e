// What the segment keeps of the last minute of its own counters.
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "check.hpp"
#include "kernel/looks.hpp"
#include "runtime_folder.hpp"
#include "vanity/limits.hpp"

using namespace vanity;

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

bool all(TableKind, uint32_t) {
  return true;
}

SegmentShape shape() {
  return {.shards = 2, .channels = 3, .ports = 1, .queues = 2, .pools = 1, .vectors = 1};
}
const uint64_t* words_of(const LookRecord& look) {
  return reinterpret_cast<const uint64_t*>(&look + 1);
}
// Where a field of a record stands among the words of a look, by what segment.hpp says of them.
uint64_t place_of(Segment& segment, uint32_t table, uint32_t record, const std::string& name) {
  uint64_t at = 0;
  for (uint32_t t = 1; t <= table; ++t) {
    const uint32_t records = t == table ? record + 1 : segment.header().tables[t].count;
    for (uint32_t r = 0; r < records; ++r) {
      for (const Field& field : *field_tables()[t].fields) {
        if (t == table && r == record && name == field.name) return at;
        if (field.type == FieldType::dynamic) at += field.count;
        if (field.type <= FieldType::state) ++at;
      }
    }
  }
  CHECK(false);
  return 0;
}

}  // namespace

TEST(a_look_has_every_word_of_every_table) {
  runtime_folder();
  Segment segment("looks", shape());
  Looks looks(segment, all);
  segment.shard(1).consumed.set(77);
  segment.shard(1).user[2].value.set(5);
  segment.shard(1).state.store(static_cast<uint32_t>(ShardState::held));
  segment.channel(2).sent.set(UINT64_MAX);
  segment.vector(0).raised.set(9);
  segment.header().uptime_ns.set(123);
  looks.turn(kSecondNs);
  // What comes later is not in it.
  segment.shard(1).consumed.set(78);
  const LookRecord& look = segment.look(0);
  CHECK_EQ(look.number.get(), 1u);
  CHECK_EQ(look.at_ns.get(), kSecondNs);
  CHECK_EQ(look.uptime_ns.get(), 123u);
  CHECK_EQ(look.tables.load(), 7u);
  const uint64_t* const words = words_of(look);
  CHECK_EQ(words[place_of(segment, 1, 1, "consumed")], 77u);
  CHECK_EQ(words[place_of(segment, 1, 1, "user") + 2], 5u);
  CHECK_EQ(words[place_of(segment, 1, 1, "state")], static_cast<uint64_t>(ShardState::held));
  CHECK_EQ(words[place_of(segment, 2, 2, "sent")], UINT64_MAX);
  CHECK_EQ(words[place_of(segment, 7, 0, "raised")], 9u);
  // The last word is within the record, and there is no more of it than was asked for.
  const Table* const tables = segment.header().tables;
  CHECK(sizeof(LookRecord) + 8 * look_words(tables) <= tables[10].stride);
  CHECK(tables[10].stride < sizeof(LookRecord) + 8 * look_words(tables) + 128);
}

TEST(a_row_that_is_not_used_is_not_read) {
  runtime_folder();
  Segment segment("unused", shape());
  Looks looks(segment,
              [](TableKind table, uint32_t row) { return table != TableKind::shard || row != 0; });
  segment.shard(0).consumed.set(76);
  segment.shard(1).consumed.set(77);
  segment.channel(0).sent.set(78);
  looks.turn(kSecondNs);
  const uint64_t* const words = words_of(segment.look(0));
  CHECK_EQ(words[place_of(segment, 1, 0, "consumed")], 0u);
  CHECK_EQ(words[place_of(segment, 1, 1, "consumed")], 77u);
  CHECK_EQ(words[place_of(segment, 2, 0, "sent")], 78u);
}

TEST(they_are_a_second_apart_and_the_oldest_makes_room) {
  runtime_folder();
  Segment segment("looks", shape());
  Looks looks(segment, all);
  const uint64_t begin = 5 * kSecondNs;
  for (uint64_t ms = 0; ms < 70'000; ms += 7) {
    segment.shard(0).consumed.set(ms);
    looks.turn(begin + ms * 1'000'000);
  }
  std::vector<uint64_t> numbers;
  for (uint32_t i = 0; i < limits::kLooks; ++i) {
    const LookRecord& look = segment.look(i);
    const uint64_t number = look.number.get();
    numbers.push_back(number);
    const uint64_t due = begin + (number - 1) * kSecondNs;
    CHECK(look.at_ns.get() >= due && look.at_ns.get() < due + 7'000'000);
    CHECK_EQ(words_of(look)[place_of(segment, 1, 0, "consumed")],
             (look.at_ns.get() - begin) / 1'000'000);
  }
  std::sort(numbers.begin(), numbers.end());
  CHECK_EQ(numbers.front(), 11u);
  CHECK_EQ(numbers.back(), 70u);
  CHECK_EQ(std::unique(numbers.begin(), numbers.end()) - numbers.begin(), int{limits::kLooks});
}

TEST(after_a_pause_of_everything_there_is_one_not_many) {
  runtime_folder();
  Segment segment("looks", shape());
  Looks looks(segment, all);
  for (const uint64_t s : {10, 100, 100, 101})
    for (int turn = 0; turn < 5; ++turn) looks.turn(s * kSecondNs);
  CHECK_EQ(segment.look(2).number.get(), 3u);
  CHECK_EQ(segment.look(3).number.get(), 0u);
}

// All counters of a shard hold the same in each look, so one that is half of another is seen.
TEST(who_copies_one_while_it_is_written_can_tell) {
  runtime_folder();
  Segment segment("looks", shape());
  Looks looks(segment, all);
  std::atomic<bool> over{false};
  std::thread kernel([&] {
    for (uint64_t turn = 1; !over.load(); ++turn) {
      segment.shard(0).consumed.set(turn);
      segment.vector(0).raised.set(turn);
      looks.turn(turn * kSecondNs);
    }
  });
  const uint64_t first = place_of(segment, 1, 0, "consumed");
  const uint64_t last = place_of(segment, 7, 0, "raised");
  const LookRecord& look = segment.look(0);
  auto* const words = reinterpret_cast<const Counter*>(&look + 1);
  uint32_t whole = 0;
  for (uint32_t tries = 0; whole < 100 && tries < 50'000'000; ++tries) {
    // As a reader does: the number, the words, the number. Each load pairs with the kernel's store.
    const uint64_t number = look.number.value.load(std::memory_order_acquire);
    const uint64_t a = words[first].value.load(std::memory_order_acquire);
    const uint64_t b = words[last].value.load(std::memory_order_acquire);
    if (number == 0 || look.number.value.load(std::memory_order_acquire) != number) continue;
    CHECK_EQ(a, number);
    CHECK_EQ(b, number);
    ++whole;
  }
  over.store(true);
  kernel.join();
  CHECK_EQ(whole, 100u);
}
