#include "packet/filter.hpp"

#include <dirent.h>
#include <dlfcn.h>
#include <sys/time.h>

#include <algorithm>
#include <memory>
#include <random>

#include "capture_bytes.hpp"
#include "check.hpp"
#include "platform/error.hpp"
#include "port/capture/reader.hpp"

using namespace vanity;

namespace {

constexpr uint16_t kLdw = 0x20, kLdh = 0x28, kLdb = 0x30, kLdxImm = 0x01, kLdImm = 0x00,
                   kRetK = 0x06, kRetA = 0x16, kJeqK = 0x15;

uint32_t run(const std::vector<BpfInstruction>& program, const std::vector<uint8_t>& frame) {
  CHECK(bpf_check(program.data(), uint32_t(program.size())) == nullptr);
  return bpf_run(program.data(), frame.data(), uint32_t(frame.size()), 2000);
}

bool sound(const std::vector<BpfInstruction>& program) {
  return bpf_check(program.data(), uint32_t(program.size())) == nullptr;
}

std::string code_of(const std::string& expression, const std::vector<std::string>& libraries) {
  try {
    Filter filter(expression, libraries);
  } catch (const Error& error) {
    return std::string(error.code()) + ": " + error.what();
  }
  return "accepted";
}

std::vector<std::string> captures() {
  const std::string folder = VANITY_ROOT "/test/fixtures/captures/";
  std::vector<std::string> paths;
  DIR* dir = ::opendir(folder.c_str());
  CHECK(dir != nullptr);
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name.find(".pcap") != std::string::npos) paths.push_back(folder + name);
  }
  ::closedir(dir);
  std::sort(paths.begin(), paths.end());
  return paths;
}

// libpcap's own machine, to hold ours against.
struct Header {
  timeval time;
  uint32_t captured, wire;
};
struct Program {
  unsigned int count;
  const BpfInstruction* instructions;
};
using OfflineFilter = int (*)(const Program*, const Header*, const uint8_t*);

void* libpcap() {
  static void* const library = ::dlopen("libpcap.so.0.8", RTLD_NOW);
  return library;
}

}  // namespace

TEST(loads_stop_at_the_end_of_the_frame) {
  const auto frame = std::vector<uint8_t>{1, 2, 3, 4, 5};
  CHECK_EQ(run({{kLdw, 0, 0, 1}, {kRetA, 0, 0, 0}}, frame), 0x02030405u);
  CHECK_EQ(run({{kLdw, 0, 0, 2}, {kRetK, 0, 0, 9}}, frame), 0u);
  CHECK_EQ(run({{kLdh, 0, 0, 3}, {kRetA, 0, 0, 0}}, frame), 0x0405u);
  CHECK_EQ(run({{kLdh, 0, 0, 4}, {kRetK, 0, 0, 9}}, frame), 0u);
  CHECK_EQ(run({{kLdb, 0, 0, 4}, {kRetA, 0, 0, 0}}, frame), 5u);
  CHECK_EQ(run({{kLdb, 0, 0, 5}, {kRetK, 0, 0, 9}}, frame), 0u);
  for (const uint32_t far : {0xffffffffu, 0xfffffffeu, 0xfffffffcu, 0x80000000u}) {
    CHECK_EQ(run({{kLdw, 0, 0, far}, {kRetK, 0, 0, 9}}, frame), 0u);
    CHECK_EQ(run({{kLdxImm, 0, 0, far}, {0x40, 0, 0, 0}, {kRetK, 0, 0, 9}}, frame), 0u);
    CHECK_EQ(run({{0xb1, 0, 0, far}, {kRetK, 0, 0, 9}}, frame), 0u);
  }
  CHECK_EQ(run({{0x80, 0, 0, 0}, {kRetA, 0, 0, 0}}, frame), 2000u);
}

TEST(arithmetic_never_traps) {
  const std::vector<uint8_t> frame(4);
  const auto with_x = [&](uint16_t operation, uint32_t a, uint32_t x) {
    return run({{kLdxImm, 0, 0, x},
                {kLdImm, 0, 0, a},
                {uint16_t(0x0c | operation), 0, 0, 0},
                {kRetA, 0, 0, 0}},
               frame);
  };
  CHECK_EQ(with_x(0x30, 7, 0), 0u);  // division by zero: no match
  CHECK_EQ(with_x(0x90, 7, 0), 0u);
  CHECK_EQ(with_x(0x30, 7, 2), 3u);
  CHECK_EQ(with_x(0x90, 7, 4), 3u);
  CHECK_EQ(with_x(0x60, 1, 31), 0x80000000u);
  CHECK_EQ(with_x(0x60, 1, 32), 0u);
  CHECK_EQ(with_x(0x70, 8, 3), 1u);
  CHECK_EQ(with_x(0xa0, 6, 3), 5u);
  CHECK_EQ(with_x(0x10, 1, 2), 0xffffffffu);
}

TEST(unsound_programs_are_refused) {
  CHECK(!sound({}));
  CHECK(!sound({{kLdImm, 0, 0, 0}}));                           // does not return
  CHECK(!sound({{0xffff, 0, 0, 0}, {kRetK, 0, 0, 0}}));         // unknown
  CHECK(!sound({{0x0e, 0, 0, 0}}));                             // return X
  CHECK(!sound({{0x60, 0, 0, 16}, {kRetK, 0, 0, 0}}));          // memory
  CHECK(!sound({{0x02, 0, 0, 16}, {kRetK, 0, 0, 0}}));          // memory
  CHECK(!sound({{0x34, 0, 0, 0}, {kRetK, 0, 0, 0}}));           // / 0
  CHECK(!sound({{0x05, 0, 0, 1}, {kRetK, 0, 0, 0}}));           // jump
  CHECK(!sound({{0x05, 0, 0, 0xffffffff}, {kRetK, 0, 0, 0}}));  // jump back
  CHECK(!sound({{kJeqK, 0, 1, 0}, {kRetK, 0, 0, 0}}));          // jump
  CHECK(!sound({{kJeqK, 1, 0, 0}, {kRetK, 0, 0, 0}}));          // jump
  CHECK(sound({{kJeqK, 0, 0, 0}, {kRetK, 0, 0, 0}}));
  CHECK(sound(std::vector<BpfInstruction>(kBpfInstructionsMax, {kRetK, 0, 0, 0})));
  CHECK(!sound(std::vector<BpfInstruction>(kBpfInstructionsMax + 1, {kRetK, 0, 0, 0})));
}

TEST(whatever_is_found_sound_ends_and_stays_inside) {
  std::mt19937 random(7);
  const uint16_t codes[] = {0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x00, 0x60, 0x01, 0x61,
                            0x81, 0xb1, 0x02, 0x03, 0x04, 0x0c, 0x34, 0x3c, 0x9c, 0x6c, 0x84,
                            0x05, 0x15, 0x25, 0x35, 0x45, 0x1d, 0x07, 0x87, 0x16, 0x06};
  int ran = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::vector<BpfInstruction> program(1 + random() % 12);
    for (auto& in : program) {
      const uint16_t code = random() % 50 == 0 ? uint16_t(random()) : codes[random() % 32];
      in = {code, uint8_t(random() % 4), uint8_t(random() % 4),
            random() % 8 == 0 ? uint32_t(random()) : uint32_t(random() % 70)};
    }
    program.back() = {kRetA, 0, 0, 0};
    if (!sound(program)) continue;
    const std::vector<uint8_t> frame(random() % 64, 0xee);
    (void)bpf_run(program.data(), frame.data(), uint32_t(frame.size()), 64);
    ++ran;
  }
  CHECK(ran > 10'000);
}

TEST(without_libpcap_the_error_says_what_to_install) {
  const std::string text = code_of("tcp", {"libnowhere.so.0", "libnowhere.so"});
  CHECK(text.find("VANITY_E_NO_LIBPCAP") == 0);
  CHECK(text.find("libnowhere.so.0, libnowhere.so") != std::string::npos);
  CHECK(code_of("tcp", {"libc.so.6"}).find("VANITY_E_NO_LIBPCAP: this libpcap has no") == 0);
}

TEST(a_bad_expression_is_told_in_libpcaps_words) {
  if (libpcap() == nullptr) return (void)std::printf("ok - bad expressions # skip no libpcap\n");
  const std::string text = code_of("tcp prot 80", {"libpcap.so.0.8"});
  CHECK(text.find("VANITY_E_FILTER_SYNTAX: filter \"tcp prot 80\": ") == 0);
  CHECK(text.find("syntax error") != std::string::npos);
}

TEST(our_machine_agrees_with_libpcaps_on_every_capture) {
  if (libpcap() == nullptr) return (void)std::printf("ok - agreement # skip no libpcap\n");
  const auto offline = reinterpret_cast<OfflineFilter>(::dlsym(libpcap(), "pcap_offline_filter"));
  CHECK(offline != nullptr);
  const char* const expressions[] = {"",
                                     "tcp",
                                     "udp",
                                     "ip6",
                                     "arp",
                                     "vlan",
                                     "vlan and ip",
                                     "port 53",
                                     "tcp port 80 or udp port 53",
                                     "host 10.0.0.1",
                                     "net 192.168.0.0/16",
                                     "ip6 proto 17",
                                     "less 100",
                                     "greater 500",
                                     "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
                                     "ip[2:2] - ((ip[0] & 0xf) << 2) > 100",
                                     "ether[0] & 1 = 1",
                                     "not ip",
                                     "portrange 1-1023",
                                     "icmp[icmptype] = icmp-echo",
                                     "len % 7 = 3",
                                     "ip[8] * 3 > 100 and len / 2 < 200",
                                     "mpls",
                                     "pppoes",
                                     "ether broadcast or ip multicast",
                                     "ip6 and ip6[40] != 0",
                                     "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
                                     "ip protochain 6",
                                     "ether proto 0x88cc",
                                     "vlan 100 and vlan 200",
                                     "udp[8:4] ^ 0xffffffff > 5"};
  uint64_t frames = 0, matched = 0;
  for (const auto& path : captures()) {
    std::vector<CaptureRecord> records;
    std::unique_ptr<CaptureReader> reader;
    try {
      reader = std::make_unique<CaptureReader>(CaptureReader::open(path));
    } catch (const Error&) {
      continue;  // not a capture: the fixtures have some
    }
    CaptureRecord record;
    while (reader->next(record) == CaptureReader::Next::record) records.push_back(record);
    for (const char* expression : expressions) {
      // protochain loops backwards, which the checked machine refuses: it says so.
      if (std::strstr(expression, "protochain") != nullptr) {
        CHECK(code_of(expression, {"libpcap.so.0.8"}).find("VANITY_E_FILTER_SYNTAX") == 0);
        continue;
      }
      const Filter filter(expression);
      const Program program{unsigned(filter.program().size()), filter.program().data()};
      for (const auto& r : records) {
        const Header header{{}, r.length, r.wire_length};
        const bool theirs = offline(&program, &header, r.data) != 0;
        CHECK_EQ(filter.matches(r.data, r.length, r.wire_length), theirs);
        ++frames;
        matched += theirs;
      }
    }
  }
  CHECK(frames > 1000);
  CHECK(matched > 200);
}
