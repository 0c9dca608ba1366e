#include <dirent.h>
#include <sys/stat.h>

#include "capture_bytes.hpp"
#include "check.hpp"
#include "platform/error.hpp"
#include "port/capture/reader.hpp"

using vanity::CaptureReader;
using vanity::CaptureRecord;
using Next = vanity::CaptureReader::Next;

namespace {

CaptureReader reader_of(const Bytes& file) {
  return CaptureReader(file.bytes, "test");
}

std::string code_of(const std::vector<uint8_t>& bytes) {
  try {
    CaptureReader reader(bytes, "test");
  } catch (const vanity::Error& error) {
    return error.code();
  }
  return "accepted";
}

}  // namespace

TEST(pcap_in_both_orders_and_both_resolutions) {
  for (const bool big : {false, true}) {
    for (const bool nano : {false, true}) {
      Bytes file{{}, big};
      file.pcap_header(nano ? 0xa1b23c4d : 0xa1b2c3d4).pcap_record(7, 5, frame_of(60, 1));
      file.pcap_record(8, 999, frame_of(61, 2), 1500);
      auto reader = reader_of(file);
      CaptureRecord record;
      CHECK(reader.next(record) == Next::record);
      CHECK_EQ(record.timestamp_ns, 7'000'000'000ull + (nano ? 5u : 5000u));
      CHECK_EQ(record.length, 60u);
      CHECK_EQ(record.wire_length, 60u);
      CHECK_EQ(record.link_type, 1u);
      CHECK_EQ(int(record.data[59]), 1);
      CHECK(reader.next(record) == Next::record);
      CHECK_EQ(record.length, 61u);
      CHECK_EQ(record.wire_length, 1500u);
      CHECK_EQ(record.offset, 24u + 16u + 60u);
      CHECK(reader.next(record) == Next::end);
      CHECK(reader.next(record) == Next::end);
      reader.rewind();
      CHECK(reader.next(record) == Next::record);
      CHECK_EQ(record.length, 60u);
    }
  }
}

TEST(pcap_that_ends_in_the_middle_gives_what_is_before_and_then_its_offset) {
  Bytes file;
  file.pcap_header().pcap_record(1, 0, frame_of(60, 1)).pcap_record(2, 0, frame_of(60, 2));
  const uint64_t second = 24 + 76;
  for (uint64_t cut = second + 1; cut < file.bytes.size(); ++cut) {
    std::vector<uint8_t> part(file.bytes.begin(), file.bytes.begin() + long(cut));
    CaptureReader reader(part, "cut.pcap");
    CaptureRecord record;
    CHECK(reader.next(record) == Next::record);
    CHECK(reader.next(record) == Next::error);
    CHECK_EQ(reader.error_offset(), second);
    CHECK(reader.next(record) == Next::error);
    CHECK(reader.error_text().find("cut.pcap: offset 100: the file ends inside") == 0);
  }
}

TEST(pcapng_ends_in_the_middle_the_same_way) {
  Bytes file;
  file.section().interface().enhanced(0, 1, frame_of(60)).enhanced(0, 2, frame_of(60));
  const uint64_t second = file.bytes.size() - 92;
  for (uint64_t cut = second + 1; cut < file.bytes.size(); ++cut) {
    CaptureReader reader({file.bytes.begin(), file.bytes.begin() + long(cut)}, "cut");
    CaptureRecord record;
    CHECK(reader.next(record) == Next::record);
    CHECK(reader.next(record) == Next::error);
    CHECK_EQ(reader.error_offset(), second);
  }
}

TEST(pcap_with_a_giant_record_is_an_error_and_no_allocation) {
  Bytes file;
  file.pcap_header().pcap_record(1, 0, frame_of(20));
  file.u32(1).u32(0).u32(0xffffffff).u32(0xffffffff).raw(frame_of(60));
  auto reader = reader_of(file);
  CaptureRecord record;
  CHECK(reader.next(record) == Next::record);
  CHECK(reader.next(record) == Next::error);
  CHECK_EQ(reader.error_offset(), 60u);
}

TEST(pcap_wire_length_is_never_below_what_is_held) {
  Bytes file;
  file.pcap_header().pcap_record(1, 0, frame_of(60), 4);
  auto reader = reader_of(file);
  CaptureRecord record;
  CHECK(reader.next(record) == Next::record);
  CHECK_EQ(record.wire_length, 60u);
}

TEST(pcapng_blocks_of_every_kind_in_both_orders) {
  for (const bool big : {false, true}) {
    Bytes file{{}, big};
    file.section().interface(1, 40).block(0xbad, frame_of(33)).block(4, frame_of(8));
    file.enhanced(0, 3'000'001, frame_of(61, 1), 99);
    file.block(3, file.part().u32(60).raw(frame_of(40, 2)).bytes);
    file.block(2,
               file.part().u16(0).u16(3).u32(0).u32(7).u32(14).u32(14).raw(frame_of(14, 3)).bytes);
    auto reader = reader_of(file);
    CaptureRecord record;
    CHECK(reader.next(record) == Next::record);
    CHECK_EQ(record.timestamp_ns, 3'000'001'000ull);
    CHECK_EQ(record.length, 61u);
    CHECK_EQ(record.wire_length, 99u);
    CHECK_EQ(int(record.data[60]), 1);
    CHECK(reader.next(record) == Next::record);
    CHECK_EQ(record.length, 40u);
    CHECK_EQ(record.wire_length, 60u);
    CHECK_EQ(record.timestamp_ns, 0u);
    CHECK(reader.next(record) == Next::record);
    CHECK_EQ(record.length, 14u);
    CHECK_EQ(record.timestamp_ns, 7000u);
    CHECK(reader.next(record) == Next::end);
  }
}

TEST(pcapng_sections_may_change_the_byte_order) {
  Bytes little, big{{}, true};
  little.section().interface().enhanced(0, 1, frame_of(60, 1));
  big.section().interface(1).interface(101).enhanced(1, 2, frame_of(60, 2));
  Bytes file;
  file.raw(little.bytes).raw(big.bytes).raw(little.bytes);
  auto reader = reader_of(file);
  for (int round = 0; round < 2; ++round) {
    CaptureRecord record;
    CHECK(reader.next(record) == Next::record);
    CHECK(reader.next(record) == Next::record);
    CHECK_EQ(record.link_type, 101u);
    CHECK(reader.next(record) == Next::record);
    CHECK_EQ(record.link_type, 1u);
    CHECK(reader.next(record) == Next::end);
    reader.rewind();
  }
}

TEST(pcapng_time_resolutions) {
  struct {
    uint8_t resolution;
    uint64_t units, ns;
  } const cases[] = {
      {0, 5, 5'000'000'000ull},
      {3, 5, 5'000'000},
      {6, 5, 5000},
      {9, 5, 5},
      {12, 5000, 5},
      {20, ~0ull, 184467440},
      {127, ~0ull, 0},
      {0x80, 5, 5'000'000'000ull},
      {0x80 | 10, 1024, 1'000'000'000ull},
      {0x80 | 32, 1ull << 31, 500'000'000ull},
      {0x80 | 127, ~0ull, 0},
  };
  for (const auto& c : cases) {
    for (const bool big : {false, true}) {
      Bytes file{{}, big};
      file.section().interface(1, 0,
                               file.part()
                                   .u16(2)
                                   .u16(3)
                                   .u8('e')
                                   .u8('t')
                                   .u8('h')
                                   .u8(0)
                                   .u16(9)
                                   .u16(1)
                                   .u8(c.resolution)
                                   .u8(0)
                                   .u8(0)
                                   .u8(0)
                                   .u16(14)
                                   .u16(8)
                                   .u64(2)
                                   .u16(0)
                                   .u16(0)
                                   .bytes);
      file.enhanced(0, c.units, frame_of(60));
      auto reader = reader_of(file);
      CaptureRecord record;
      CHECK(reader.next(record) == Next::record);
      CHECK_EQ(record.timestamp_ns, c.ns + 2'000'000'000ull);
    }
  }
}

TEST(pcapng_damage_is_an_error_at_the_block) {
  const auto damaged = [](auto build) {
    Bytes file;
    file.section().interface().enhanced(0, 1, frame_of(60));
    const uint64_t at = file.bytes.size();
    build(file);
    file.raw(frame_of(64));
    auto reader = reader_of(file);
    CaptureRecord record;
    CHECK(reader.next(record) == Next::record);
    CHECK(reader.next(record) == Next::error);
    CHECK_EQ(reader.error_offset(), at);
  };
  damaged([](Bytes& f) { f.u32(6).u32(0).u32(0); });                   // length 0: no endless loop
  damaged([](Bytes& f) { f.u32(6).u32(8).u32(8); });                   // shorter than its header
  damaged([](Bytes& f) { f.u32(6).u32(13).raw(frame_of(9)); });        // not a multiple of 4
  damaged([](Bytes& f) { f.u32(6).u32(0xfffffffc).u32(0); });          // beyond the file
  damaged([](Bytes& f) { f.u32(5).u32(16).u32(0).u32(20); });          // two lengths
  damaged([](Bytes& f) { f.enhanced(1, 0, frame_of(60)); });           // no such interface
  damaged([](Bytes& f) { f.enhanced(0xffffffff, 0, frame_of(60)); });  // no such interface
  damaged([](Bytes& f) { f.block(6, frame_of(16)); });                 // packet too short
  damaged([](Bytes& f) { f.block(1, frame_of(4)); });                  // interface too short
  damaged([](Bytes& f) { f.interface(1, 0, f.part().u16(9).u16(60).u32(0).bytes); });
  damaged([](Bytes& f) { f.interface(1, 0, f.part().u16(9).u16(2).u32(0).bytes); });
  damaged([](Bytes& f) { f.block(0x0a0d0d0a, f.part().u32(0x11223344).u32(0).u64(0).bytes); });
  damaged(
      [](Bytes& f) { f.block(0x0a0d0d0a, f.part().u32(0x1a2b3c4d).u16(9).u16(0).u64(0).bytes); });
  damaged([](Bytes& f) { f.block(3, f.part().u32(61).raw(frame_of(60)).bytes); });
  damaged([](Bytes& f) {
    f.block(6, f.part().u32(0).u32(0).u32(0).u32(61).u32(61).raw(frame_of(60)).bytes);
  });
}

TEST(pcapng_interfaces_have_a_limit) {
  Bytes file;
  file.section();
  for (uint32_t i = 0; i < vanity::kCaptureInterfacesMax; ++i) file.interface();
  CaptureRecord record;
  auto at_limit = reader_of(file);
  CHECK(at_limit.next(record) == Next::end);
  file.interface();
  auto past = reader_of(file);
  CHECK(past.next(record) == Next::error);
}

TEST(what_is_no_capture_is_refused) {
  CHECK_EQ(code_of({}), "VANITY_E_CAPTURE_FORMAT");
  CHECK_EQ(code_of({0xd4, 0xc3, 0xb2}), "VANITY_E_CAPTURE_FORMAT");
  CHECK_EQ(code_of(frame_of(100)), "VANITY_E_CAPTURE_FORMAT");
  CHECK_EQ(code_of(Bytes{}.u32(0xa1b2c3d4).u16(2).bytes), "VANITY_E_CAPTURE_FORMAT");
  CHECK_EQ(code_of(Bytes{}.pcap_header(0xa1b2cd34).bytes), "VANITY_E_CAPTURE_FORMAT");
  CHECK_EQ(code_of(Bytes{}.u32(0x0a0d0d0a).u32(28).u32(0x1a2b3c4d).bytes),
           "VANITY_E_CAPTURE_FORMAT");
  CHECK_EQ(code_of(Bytes{}.u32(0x0a0d0d0a).u32(28).raw(frame_of(40)).bytes),
           "VANITY_E_CAPTURE_FORMAT");
  CHECK_EQ(code_of(Bytes{}.pcap_header().bytes), "accepted");
}

TEST(files_that_cannot_be_opened) {
  const auto code = [](const std::string& path) -> std::string {
    try {
      (void)CaptureReader::open(path);
    } catch (const vanity::Error& error) {
      return error.code();
    }
    return "accepted";
  };
  CHECK_EQ(code("/nowhere/in.pcap"), "VANITY_E_CAPTURE_OPEN");
  CHECK_EQ(code("/tmp"), "VANITY_E_CAPTURE_OPEN");
  CHECK_EQ(code("/dev/zero"), "VANITY_E_CAPTURE_OPEN");
  TemporaryFile fifo(".fifo");
  ::unlink(fifo.path.c_str());
  CHECK_EQ(::mkfifo(fifo.path.c_str(), 0600), 0);
  CHECK_EQ(code(fifo.path), "VANITY_E_CAPTURE_OPEN");
  TemporaryFile huge(".pcap");
  CHECK_EQ(::truncate(huge.path.c_str(), (1ll << 30) + 1), 0);
  CHECK_EQ(code(huge.path), "VANITY_E_CAPTURE_SIZE");
}

TEST(a_file_truncated_after_open_stays_whole) {
  Bytes content;
  content.pcap_header();
  for (uint8_t i = 0; i < 200; ++i) content.pcap_record(i, 0, frame_of(1000, i));
  TemporaryFile file(".pcap", content.bytes);
  auto reader = CaptureReader::open(file.path);
  CHECK_EQ(::truncate(file.path.c_str(), 0), 0);
  CaptureRecord record;
  int records = 0;
  while (reader.next(record) == Next::record) CHECK_EQ(int(record.data[999]), records++);
  CHECK_EQ(records, 200);
}
