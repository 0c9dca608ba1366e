#include "device/mmio.hpp"

#include <cstring>
#include <limits>
#include <string>

#include "check.hpp"
#include "platform/error.hpp"

using namespace vanity;

namespace {

// The grant is the middle of this; what lies around must never change.
struct Bar {
  alignas(4096) unsigned char before[64];
  unsigned char granted[64];
  unsigned char after[64];

  Bar() { std::memset(this, 0x5a, sizeof *this); }
  MmioView view() { return {granted, sizeof granted}; }
  bool untouched() const {
    for (const unsigned char byte : before)
      if (byte != 0x5a) return false;
    for (const unsigned char byte : after)
      if (byte != 0x5a) return false;
    return true;
  }
};

template <class Run>
std::string code_of(Run run) {
  try {
    run();
  } catch (const Error& error) {
    return error.code();
  }
  return "none";
}

}  // namespace

TEST(every_width_at_both_ends) {
  Bar bar;
  const MmioView view = bar.view();
  view.write8(0, 0x11);
  view.write8(63, 0x12);
  view.write16(62, 0x1314);
  view.write32(60, 0x15161718);
  view.write64(56, 0x191a1b1c1d1e1f20);
  CHECK_EQ(view.read8(0), 0x11);
  CHECK_EQ(view.read64(56), 0x191a1b1c1d1e1f20u);
  CHECK_EQ(view.read32(60), 0x191a1b1cu);
  CHECK_EQ(view.read16(62), 0x191au);
  CHECK_EQ(view.read8(63), 0x19);
  CHECK(bar.untouched());
}

TEST(one_past_the_end_wraps_and_odd_offsets_are_refused) {
  Bar bar;
  const MmioView view = bar.view();
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  for (const uint64_t offset :
       {uint64_t{64}, uint64_t{61}, uint64_t{1}, kMax, kMax - 3, kMax - 2}) {
    CHECK_EQ(code_of([&] { view.read32(offset); }), "VANITY_E_VFIO_ACCESS");
    CHECK_EQ(code_of([&] { view.write32(offset, 1); }), "VANITY_E_VFIO_ACCESS");
  }
  CHECK_EQ(code_of([&] { view.write8(64, 1); }), "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(code_of([&] { view.write16(63, 1); }), "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(code_of([&] { view.write64(60, 1); }), "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(code_of([&] { view.at<uint64_t>(kMax - 7); }), "VANITY_E_VFIO_ACCESS");
  CHECK(bar.untouched());
}

TEST(a_grant_smaller_than_a_register_holds_none) {
  Bar bar;
  const MmioView tiny(bar.granted, 2);
  CHECK_EQ(code_of([&] { tiny.read32(0); }), "VANITY_E_VFIO_ACCESS");
  tiny.write16(0, 7);
  const MmioView nothing(bar.granted, 0);
  CHECK_EQ(code_of([&] { nothing.read8(0); }), "VANITY_E_VFIO_ACCESS");
}

TEST(alignment_is_that_of_the_device_not_of_the_grant) {
  Bar bar;
  const MmioView odd = bar.view().part(4, 16);
  CHECK_EQ(code_of([&] { odd.read64(0); }), "VANITY_E_VFIO_ACCESS");
  odd.write64(4, 1);
}

TEST(parts_lie_inside) {
  Bar bar;
  const MmioView part = bar.view().part(32, 32);
  part.write32(28, 9);
  CHECK_EQ(bar.view().read32(60), 9u);
  CHECK_EQ(code_of([&] { part.read32(32); }), "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(code_of([&] { bar.view().part(33, 32); }), "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(code_of([&] { bar.view().part(0, 65); }), "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(code_of([&] { bar.view().part(~uint64_t{0}, 2); }), "VANITY_E_VFIO_ACCESS");
}

TEST(the_message_names_the_access_and_the_grant) {
  Bar bar;
  try {
    bar.view().read32(0x80);
    CHECK(false);
  } catch (const Error& error) {
    CHECK_EQ(std::string(error.what()),
             "an access to 4 bytes at offset 0x80 is not aligned, or not inside the 0x40 bytes "
             "granted");
  }
}

TEST(a_register_is_checked_once) {
  Bar bar;
  const Register<uint32_t> doorbell = bar.view().at<uint32_t>(8);
  doorbell.write(0x01020304);
  CHECK_EQ(doorbell.read(), 0x01020304u);
  CHECK_EQ(static_cast<unsigned>(bar.granted[8]), 4u);
}
