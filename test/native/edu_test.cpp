// The driver of QEMU's edu against a record of what it does to registers: what it must refuse
// before the device sees it. The device itself is asked in test/guest/jobs/accelerator.sh.
#include "port/edu/edu.hpp"

#include <map>
#include <vector>

#include "check.hpp"

using namespace vanity::edu;

namespace {

struct Bench {
  std::map<uint64_t, uint64_t> words = {{0x00, 0x010000ed}};
  std::vector<uint64_t> written;
};

struct Registers {
  Bench* bench;

  uint32_t read32(uint64_t at) const {
    const uint64_t value = bench->words[at];
    return static_cast<uint32_t>(at == 0x04 ? ~value : value);
  }
  void write32(uint64_t at, uint32_t value) const { write64(at, value); }
  void write64(uint64_t at, uint64_t value) const {
    bench->words[at] = value;
    bench->written.push_back(at);
  }
};

}  // namespace

TEST(who_it_is) {
  Bench bench;
  const Edu edu(Registers{&bench});
  CHECK(edu.present());
  CHECK(edu.alive(0));
  CHECK(edu.alive(0x12345678));
  bench.words[0] = 0xffffffff;  // as a device reads that went away
  CHECK(!edu.present());
}

TEST(a_factorial_is_started_by_its_operand_and_last) {
  Bench bench;
  const Edu edu(Registers{&bench});
  CHECK(edu.factorial(5, true));
  CHECK((bench.written == std::vector<uint64_t>{0x20, 0x08}));
  CHECK_EQ(bench.words[0x20], 0x80u);
  bench.words[0x20] = 0x81;
  bench.written.clear();
  CHECK(!edu.factorial(6, false));
  CHECK(!edu.settle());
  CHECK(bench.written.empty());
}

TEST(a_copy_is_described_before_it_is_started) {
  Bench bench;
  const Edu edu(Registers{&bench});
  CHECK(edu.copy_in(0x1000, 16, 64, false));
  CHECK((bench.written == std::vector<uint64_t>{0x80, 0x88, 0x90, 0x98}));
  CHECK_EQ(bench.words[0x80], 0x1000u);
  CHECK_EQ(bench.words[0x88], 0x40010u);
  CHECK_EQ(bench.words[0x90], 64u);
  CHECK_EQ(bench.words[0x98], 1u);
  CHECK(!edu.copy_out(16, 0x2000, 64, true));  // the first one is still under way
  bench.words[0x98] = 0;
  CHECK(edu.copy_out(16, 0x2000, 64, true));
  CHECK_EQ(bench.words[0x80], 0x40010u);
  CHECK_EQ(bench.words[0x88], 0x2000u);
  CHECK_EQ(bench.words[0x98], 7u);
}

TEST(what_the_device_could_not_bear_is_refused) {
  Bench bench;
  const Edu edu(Registers{&bench});
  const uint64_t end = uint64_t{1} << kAddressBits;
  CHECK(!edu.copy_in(0x1000, 0, 4096, false));  // aborts QEMU 7.2
  CHECK(!edu.copy_in(0x1000, 1, 4095, false));
  CHECK(!edu.copy_in(0x1000, 4095, 1, false));
  CHECK(!edu.copy_in(0x1000, 0xffffffff, 2, false));
  CHECK(!edu.copy_in(0x1000, 0, 0, false));
  CHECK(!edu.copy_out(0, end, 1, false));
  CHECK(!edu.copy_out(0, end - 63, 64, false));
  CHECK(!edu.copy_out(0, ~uint64_t{0}, 64, false));
  CHECK(bench.written.empty());
  CHECK(edu.copy_in(end - 64, 0, 64, false));
  bench.words[0x98] = 0;
  CHECK(edu.copy_in(0x1000, 0, 4095, false));
}
