// Mutates captures and takes every record through the flow parser, the segmenter and the filter
// machine. Anything but a clean return is a defect: a crash, a sanitizer's word, an endless loop.
//   capture_fuzz CORPUS-FOLDER [mutations] [seed]
#include <dirent.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "packet/bpf.hpp"
#include "packet/checksum.hpp"
#include "packet/flow.hpp"
#include "platform/error.hpp"
#include "port/af_packet/offload.hpp"
#include "port/capture/reader.hpp"

using namespace vanity;

namespace {

using Bytes = std::vector<uint8_t>;

struct Totals {
  uint64_t files = 0, refused = 0, damaged = 0, records = 0, programs = 0;
};

[[noreturn]] void defect(const char* what) {
  std::fprintf(stderr, "defect: %s\n", what);
  std::abort();
}

void run_record(const CaptureRecord& record, Totals& totals) {
  // A copy of exactly the record's size: the sanitizer then sees the first byte beyond it.
  const Bytes frame(record.data, record.data + record.length);
  const uint8_t* data = frame.data();
  FlowKey key;
  const uint32_t hash = flow_hash(data, record.length);
  if (parse_flow(data, record.length, key)) {
    if (hash == 0 || hash != flow_hash(key)) defect("the fast hash differs from the parser's");
    if (key.l3_offset > record.length || key.l4_offset > record.length)
      defect("a header offset lies outside the frame");
  } else if (hash != 0) {
    defect("a hash without a flow");
  }
  Segmenter segmenter;
  OffloadHeader offload{1, 1, 0, 700, 0, 0};
  if (record.length <= 65535 && segmenter.begin(data, record.length, offload)) {
    Bytes out;
    while (segmenter.more()) {
      out.resize(segmenter.next_length());
      segmenter.take(out.data());
    }
  }
  if (record.length >= 18) {
    Bytes copy = frame;
    complete_checksum(copy.data(), record.length, data[0] * 8u, data[1]);
  }
  // The record's own bytes as a filter program; run when found sound.
  std::vector<BpfInstruction> program(record.length / sizeof(BpfInstruction));
  if (program.empty()) return;
  std::memcpy(program.data(), data, program.size() * sizeof(BpfInstruction));
  constexpr uint16_t kCodes[] = {0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x00, 0x60, 0x01,
                                 0x61, 0xb1, 0x02, 0x03, 0x0c, 0x3c, 0x15, 0x45, 0x87, 0x06};
  for (auto& in : program) {
    in.code = kCodes[in.code % 20];
    in.k %= (in.code == 0x60 || in.code == 0x61 || in.code == 2 || in.code == 3) ? 16 : 4096;
    in.jump_true %= 3;
    in.jump_false %= 3;
  }
  program.back() = {0x16, 0, 0, 0};
  const auto count = static_cast<uint32_t>(program.size());
  if (bpf_check(program.data(), count) != nullptr) return;
  ++totals.programs;
  (void)bpf_run(program.data(), data, record.length, record.wire_length);
}

void run_file(const Bytes& bytes, Totals& totals) {
  ++totals.files;
  try {
    CaptureReader reader(bytes, "fuzz");
    CaptureRecord record;
    uint64_t records = 0;
    CaptureReader::Next next;
    while ((next = reader.next(record)) == CaptureReader::Next::record) {
      if (++records > bytes.size()) defect("more records than bytes");
      run_record(record, totals);
    }
    totals.records += records;
    if (next == CaptureReader::Next::error) {
      ++totals.damaged;
      if (reader.error_offset() > bytes.size()) defect("an error offset beyond the file");
    }
  } catch (const Error&) {
    ++totals.refused;
  }
}

Bytes mutate(const std::vector<Bytes>& corpus, std::mt19937& random) {
  // Only a window of a large file, so that many small ones get their turn.
  Bytes bytes = corpus[random() % corpus.size()];
  if (bytes.size() > 4096) bytes.resize(4096);
  for (uint32_t i = 1 + random() % 8; i > 0 && !bytes.empty(); --i) {
    // Headers are where the structure is.
    const size_t range = random() % 2 == 0 ? std::min<size_t>(bytes.size(), 128) : bytes.size();
    const size_t at = random() % range;
    switch (random() % 7) {
      case 0:
        bytes[at] = static_cast<uint8_t>(random());
        break;
      case 1:
        bytes[at] ^= static_cast<uint8_t>(1u << random() % 8);
        break;
      case 2: {
        constexpr uint32_t kOdd[] = {0,  1,          4,          8,          11,
                                     12, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};
        const uint32_t value = kOdd[random() % 10];
        std::memcpy(bytes.data() + at, &value, std::min<size_t>(4, bytes.size() - at));
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.erase(bytes.begin() + static_cast<long>(at),
                    bytes.begin() + static_cast<long>(std::min(bytes.size(), at + random() % 16)));
        break;
      case 5:
        bytes.insert(bytes.begin() + static_cast<long>(at), random() % 16,
                     static_cast<uint8_t>(random()));
        break;
      default: {
        const Bytes& other = corpus[random() % corpus.size()];
        const size_t from = other.empty() ? 0 : random() % other.size();
        const size_t n = std::min({other.size() - from, bytes.size() - at, size_t{64}});
        std::copy_n(other.begin() + static_cast<long>(from), n,
                    bytes.begin() + static_cast<long>(at));
      }
    }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: capture_fuzz CORPUS-FOLDER [mutations] [seed]\n");
    return 2;
  }
  const long mutations = argc > 2 ? std::atol(argv[2]) : 200'000;
  const auto seed = static_cast<uint32_t>(argc > 3 ? std::atol(argv[3]) : 1);
  std::vector<std::string> names;
  if (DIR* folder = ::opendir(argv[1])) {
    while (const dirent* entry = ::readdir(folder)) {
      if (std::strstr(entry->d_name, ".pcap") != nullptr) names.push_back(entry->d_name);
    }
    ::closedir(folder);
  }
  std::sort(names.begin(), names.end());  // the same order everywhere, for the seed's sake
  std::vector<Bytes> corpus;
  for (const auto& name : names) {
    Bytes bytes(1u << 20);
    std::FILE* file = std::fopen((std::string(argv[1]) + "/" + name).c_str(), "rb");
    if (file == nullptr) continue;
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
    std::fclose(file);
    corpus.push_back(std::move(bytes));
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "no captures in %s\n", argv[1]);
    return 1;
  }
  Totals totals;
  for (const auto& bytes : corpus) run_file(bytes, totals);
  std::mt19937 random(seed);
  for (long i = 0; i < mutations; ++i) run_file(mutate(corpus, random), totals);
  std::printf("%llu files: %llu refused, %llu damaged; %llu records, %llu filter programs\n",
              static_cast<unsigned long long>(totals.files),
              static_cast<unsigned long long>(totals.refused),
              static_cast<unsigned long long>(totals.damaged),
              static_cast<unsigned long long>(totals.records),
              static_cast<unsigned long long>(totals.programs));
  return 0;
}
