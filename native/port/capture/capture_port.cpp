#include "port/capture/capture_port.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "packet/checksum.hpp"
#include "platform/error.hpp"
#include "port/capture/reader.hpp"
#include "port/capture/writer.hpp"
#include "vanity/platform.hpp"

namespace vanity {
namespace {

constexpr uint32_t kEthernetHeader = 14;
constexpr uint32_t kLine = 64;
constexpr uint32_t kBurst = limits::kBurstMax;

uint64_t now_ns(clockid_t clock) noexcept {
  timespec t;
  ::clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000ull + static_cast<uint64_t>(t.tv_nsec);
}

uint16_t frame_flags(const CaptureRecord& record) noexcept {
  return record.wire_length > record.length ? VANITY_PACKET_TRUNCATED : 0;
}

// Every frame as it will lie in a buffer: meta, then bytes, from a cache line's start and padded to
// whole lines, so that a replay is a copy of lines without a remainder.
class FrameStore {
 public:
  FrameStore(CaptureReader& reader, uint32_t frame_bytes_max) {
    CaptureRecord record;
    uint64_t lines = 2;  // the copy always takes two
    uint64_t frames = 0;
    while (reader.next(record) == CaptureReader::Next::record) {
      if (!usable(record, frame_bytes_max)) continue;
      lines += lines_of(record.length);
      ++frames;
    }
    bytes_ = lines * kLine;
    void* memory =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      throw system_error("VANITY_E_CAPTURE_OPEN",
                         "no memory to lay out " + std::to_string(bytes_) + " bytes of frames",
                         errno, "replay = \"as-fast\" needs no second copy of the file");
    }
    ::madvise(memory, bytes_, MADV_HUGEPAGE);
    base_ = static_cast<uint8_t*>(memory);
    frames_.reserve(frames);
    reader.rewind();
    uint8_t* at = base_;
    while (reader.next(record) == CaptureReader::Next::record) {
      if (!usable(record, frame_bytes_max)) {
        (record.length < kEthernetHeader ? invalid_ : oversize_) += 1;
        continue;
      }
      const vanity_packet_meta meta{record.timestamp_ns, record.wire_length, 0};
      std::memcpy(at, &meta, sizeof meta);
      std::memcpy(at + sizeof meta, record.data, record.length);
      frames_.push_back({static_cast<uint16_t>(record.length), frame_flags(record)});
      at += lines_of(record.length) * kLine;
    }
  }
  ~FrameStore() { ::munmap(base_, bytes_); }
  FrameStore(const FrameStore&) = delete;

  static bool usable(const CaptureRecord& record, uint32_t frame_bytes_max) noexcept {
    return record.length >= kEthernetHeader && record.length <= frame_bytes_max;
  }
  static uint32_t lines_of(uint32_t length) noexcept {
    return (length + static_cast<uint32_t>(sizeof(vanity_packet_meta)) + kLine - 1) / kLine;
  }

  struct Frame {
    uint16_t length;
    uint16_t flags;
  };
  const std::vector<Frame>& frames() const noexcept { return frames_; }
  const uint8_t* base() const noexcept { return base_; }
  uint64_t oversize() const noexcept { return oversize_; }
  uint64_t invalid() const noexcept { return invalid_; }

 private:
  std::vector<Frame> frames_;
  uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t oversize_ = 0;
  uint64_t invalid_ = 0;
};

// Constant sizes, so that the compiler makes vector moves of them.
inline void copy_lines(uint8_t* to, const uint8_t* from, uint32_t lines) noexcept {
  to = static_cast<uint8_t*>(__builtin_assume_aligned(to, kLine));
  from = static_cast<const uint8_t*>(__builtin_assume_aligned(from, kLine));
  // Two lines hold most frames; without a branch on the length nothing is mispredicted.
  std::memcpy(to, from, 2 * kLine);
  for (uint32_t i = 2; i < lines; ++i) std::memcpy(to + i * kLine, from + i * kLine, kLine);
}

// What the replaying shard tells the control path.
struct End {
  std::atomic<bool> failed{false};
};

class ReplayQueue : public RxQueue {
 public:
  ReplayQueue(QueueRecord* record, PortRecord* port, End& end)
      : RxQueue(record), port_(port), end_(end) {}

  bool finished() const noexcept override { return finished_; }
  uint64_t sleep_ns_max() noexcept override { return finished_ ? kSleepForever : 0; }

 protected:
  void finish(bool failed) noexcept {
    finished_ = true;
    if (failed) {
      port_->errors.add_shared(1);
      end_.failed.store(true, std::memory_order_release);  // pairs with CapturePort::error()
    }
    const auto state = static_cast<uint32_t>(failed ? PortState::failed : PortState::finished);
    // The writing queue of the same port may have failed before: that stays.
    uint32_t was = port_->state.load(std::memory_order_relaxed);
    while (was != static_cast<uint32_t>(PortState::failed) &&
           !port_->state.compare_exchange_weak(was, state, std::memory_order_relaxed)) {
    }
  }
  void count(uint32_t packets, uint64_t bytes) noexcept {
    record_->packets.add(packets);
    record_->bytes.add(bytes);
    record_->bursts.add(1);
  }

  PortRecord* port_;
  End& end_;
  bool finished_ = false;
};

class LoopQueue final : public ReplayQueue {
 public:
  LoopQueue(QueueRecord* record, PortRecord* port, End& end, CaptureReader& reader,
            uint16_t port_index, uint32_t buffer_bytes)
      : ReplayQueue(record, port, end),
        store_(reader, buffer_bytes - VANITY_FRAME_OFFSET),
        buffer_bytes_(buffer_bytes),
        port_index_(port_index),
        damaged_(reader.error_reason() != nullptr),
        at_(store_.base()) {
    if (store_.frames().empty()) end_of_pass();
  }

  // Nothing here crosses between cores but the lines of a buffer that another shard has used.
  uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept override {
    if (finished_) return 0;
    assert(pool.buffer_bytes() >= buffer_bytes_);
    if (n > kBurst) n = kBurst;
    const auto frames_left = static_cast<uint32_t>(store_.frames().size()) - next_;
    if (n > frames_left) n = frames_left;
    const uint32_t got = pool.take(packets, n);
    if (got == 0) return 0;

    constexpr uint32_t kAhead = 16;
    for (uint32_t i = 0; i < got && i < kAhead; ++i) prefetch(pool, packets[i].buffer);
    const FrameStore::Frame* frames = store_.frames().data() + next_;
    const uint8_t* from = at_;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < got; ++i) {
      if (i + kAhead < got) prefetch(pool, packets[i + kAhead].buffer);
      const uint32_t id = packets[i].buffer;
      const uint32_t length = frames[i].length;
      const uint32_t lines = FrameStore::lines_of(length);
      copy_lines(pool.buffer(id) + VANITY_HEADROOM_BYTES, from, lines);
      from += lines * kLine;
      bytes += length;
      packets[i] = {
          id, 0, VANITY_FRAME_OFFSET, static_cast<uint16_t>(length), port_index_, frames[i].flags};
    }
    at_ = from;
    next_ += got;
    count(got, bytes);
    if (next_ == store_.frames().size()) end_of_pass();
    return got;
  }

 private:
  static void prefetch(Pool& pool, uint32_t id) noexcept {
    uint8_t* line = pool.buffer(id) + VANITY_HEADROOM_BYTES;
    prefetch_write(line);
    prefetch_write(line + kLine);
  }
  void end_of_pass() noexcept {
    at_ = store_.base();
    next_ = 0;
    record_->oversize.add(store_.oversize());
    record_->invalid.add(store_.invalid());
    if (damaged_ || store_.frames().empty()) finish(damaged_);
  }

  FrameStore store_;
  uint32_t buffer_bytes_;
  uint16_t port_index_;
  bool damaged_;
  const uint8_t* at_;
  uint32_t next_ = 0;
};

class OnceQueue final : public ReplayQueue {
 public:
  OnceQueue(QueueRecord* record, PortRecord* port, End& end, CaptureReader& reader,
            uint16_t port_index, uint32_t buffer_bytes, bool timed)
      : ReplayQueue(record, port, end),
        reader_(reader),
        frame_bytes_max_(std::min(buffer_bytes - VANITY_FRAME_OFFSET, 65535u)),
        port_index_(port_index),
        timed_(timed) {}

  uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept override {
    if (finished_) return 0;
    const uint64_t now = timed_ ? now_ns(CLOCK_MONOTONIC) : 0;
    uint64_t bytes = 0;
    uint32_t got = 0;
    while (got < n && look(now) && pool.take(packets + got, 1) == 1) {
      vanity_packet& packet = packets[got++];
      uint8_t* buffer = pool.buffer(packet.buffer);
      const vanity_packet_meta meta{record_now_.timestamp_ns, record_now_.wire_length, 0};
      std::memcpy(buffer + VANITY_HEADROOM_BYTES, &meta, sizeof meta);
      std::memcpy(buffer + VANITY_FRAME_OFFSET, record_now_.data, record_now_.length);
      packet = {packet.buffer,       0,
                VANITY_FRAME_OFFSET, static_cast<uint16_t>(record_now_.length),
                port_index_,         frame_flags(record_now_)};
      bytes += record_now_.length;
      held_ = false;
    }
    if (got != 0) count(got, bytes);
    return got;
  }

  uint64_t sleep_ns_max() noexcept override {
    if (finished_) return kSleepForever;
    if (!timed_ || !held_) return 0;
    const uint64_t now = now_ns(CLOCK_MONOTONIC);
    return due_ns_ > now ? due_ns_ - now : 0;
  }

 private:
  // Holds the next usable record, and says whether its time has come.
  bool look(uint64_t now) noexcept {
    while (!held_) {
      const CaptureReader::Next next = reader_.next(record_now_);
      if (next != CaptureReader::Next::record) {
        finish(next == CaptureReader::Next::error);
        return false;
      }
      if (record_now_.length < kEthernetHeader) {
        record_->invalid.add(1);
      } else if (record_now_.length > frame_bytes_max_) {
        record_->oversize.add(1);
      } else {
        held_ = true;
        if (timed_) set_due(now);
      }
    }
    return !timed_ || now >= due_ns_;
  }
  // A capture whose time jumps back goes on at once.
  void set_due(uint64_t now) noexcept {
    const uint64_t time = record_now_.timestamp_ns;
    if (!started_) {
      started_ = true;
      due_ns_ = now;
    } else if (time > last_time_ns_) {
      due_ns_ += time - last_time_ns_;
    }
    last_time_ns_ = time;
  }

  CaptureReader& reader_;
  CaptureRecord record_now_{};
  uint32_t frame_bytes_max_;
  uint16_t port_index_;
  bool timed_;
  bool held_ = false;
  bool started_ = false;
  uint64_t due_ns_ = 0;
  uint64_t last_time_ns_ = 0;
};

class WriteQueue final : public TxQueue {
 public:
  WriteQueue(QueueRecord* record, PortRecord* port) : TxQueue(record), port_(port) {}

  // Before the first packet; creates the file. Throws.
  void open(const std::string& path) { writer_ = std::make_unique<CaptureWriter>(path); }

  uint32_t transmit(const PoolTable& pools, const vanity_packet* packets,
                    uint32_t n) noexcept override {
    if (!writer_) return 0;  // from a program's init, or its fini in a system that never ran
    uint64_t bytes = 0, now = 0;
    uint32_t written = 0;
    for (uint32_t i = 0; i < n; ++i) {
      const vanity_packet& packet = packets[i];
      const vanity_packet_meta& meta = pools.meta(packet);
      if ((packet.flags & VANITY_PACKET_CHECKSUM_PARTIAL) != 0)
        finish_checksum(pools.buffer(packet.buffer), packet);
      if (meta.timestamp_ns == 0 && now == 0) now = now_ns(CLOCK_REALTIME);
      const bool truncated = (packet.flags & VANITY_PACKET_TRUNCATED) != 0;
      if (writer_->add(pools.data(packet), packet.length,
                       truncated ? meta.wire_length : packet.length,
                       meta.timestamp_ns != 0 ? meta.timestamp_ns : now)) {
        ++written;
        bytes += packet.length;
      }
    }
    record_->packets.add(written);
    record_->bytes.add(bytes);
    record_->bursts.add(1);
    report();
    return n;
  }

  void flush() noexcept override {
    if (!writer_) return;
    writer_->flush();
    report();
  }

 private:
  void report() noexcept {
    if (writer_->lost() != reported_lost_) {
      record_->dropped.add(writer_->lost() - reported_lost_);
      reported_lost_ = writer_->lost();
    }
    if (writer_->error_number() == 0 || failed_.load(std::memory_order_relaxed) != 0) return;
    port_->errors.add_shared(1);
    port_->state.store(static_cast<uint32_t>(PortState::failed), std::memory_order_relaxed);
    // The errno is the whole message: nothing is published behind it.
    failed_.store(writer_->error_number(), std::memory_order_relaxed);
  }

  PortRecord* port_;
  std::unique_ptr<CaptureWriter> writer_;  // from open() on
  uint64_t reported_lost_ = 0;

 public:
  std::atomic<int> failed_{0};
};

class CapturePort final : public Port {
 public:
  CapturePort(const PortOptions& options, const PortRecords& records)
      : Port(records.port), options_(options), records_(records) {
    if (!options.file.empty()) open_input();
    if (!options.write.empty()) {
      check_output();
      // Shards get hold of it long before start().
      tx_ = std::make_unique<WriteQueue>(records_.tx.at(0), record_);
    }
  }

  RxQueue& rx(uint32_t) override { return *rx_; }
  TxQueue& tx(uint32_t) override { return *tx_; }

  void start() override {
    if (tx_) tx_->open(options_.write);
    if (!rx_ || !rx_->finished()) set_state(PortState::up);
  }

  void close() noexcept override {
    if (tx_) tx_->flush();
  }

  std::string error() const override {
    if (end_.failed.load(std::memory_order_acquire))  // pairs with ReplayQueue::finish()
      return reader_->error_text();
    if (tx_) {
      if (const int number = tx_->failed_.load(std::memory_order_relaxed); number != 0)
        return options_.write + ": " + std::strerror(number);
    }
    return {};
  }

 private:
  void open_input() {
    reader_ = std::make_unique<CaptureReader>(CaptureReader::open(options_.file));
    CaptureRecord record;
    while (reader_->next(record) == CaptureReader::Next::record) {
      if (record.link_type == kLinkTypeEthernet) continue;
      throw Error("VANITY_E_CAPTURE_LINKTYPE",
                  options_.file + ": offset " + std::to_string(record.offset) + ": link type is " +
                      std::to_string(record.link_type) + " (" + link_type_name(record.link_type) +
                      "), expected 1 (Ethernet)",
                  "capture on an Ethernet interface, not on \"any\"");
    }
    reader_->rewind();
    QueueRecord* queue = records_.rx.at(0);
    if (options_.replay == ReplayMode::loop) {
      rx_ = std::make_unique<LoopQueue>(queue, record_, end_, *reader_, options_.index,
                                        options_.buffer_bytes);
    } else {
      rx_ =
          std::make_unique<OnceQueue>(queue, record_, end_, *reader_, options_.index,
                                      options_.buffer_bytes, options_.replay == ReplayMode::timed);
    }
  }

  // The file itself is touched in start(), when every other port is known to work.
  void check_output() {
    struct stat input {
    }, output{};
    if (!options_.file.empty() && ::stat(options_.file.c_str(), &input) == 0 &&
        ::stat(options_.write.c_str(), &output) == 0 && input.st_dev == output.st_dev &&
        input.st_ino == output.st_ino) {
      throw Error("VANITY_E_CAPTURE_WRITE", options_.write + " is also the file that is replayed",
                  "write to another file");
    }
    const size_t slash = options_.write.rfind('/');
    const std::string folder =
        slash == std::string::npos ? "." : options_.write.substr(0, slash + 1);
    if (::access(folder.c_str(), W_OK | X_OK) != 0 && ::access(options_.write.c_str(), W_OK) != 0) {
      throw system_error("VANITY_E_CAPTURE_WRITE", "cannot write into " + folder, errno,
                         "create the folder, or correct [ports.NAME] write");
    }
  }

  PortOptions options_;
  PortRecords records_;
  End end_;
  std::unique_ptr<CaptureReader> reader_;
  std::unique_ptr<ReplayQueue> rx_;
  std::unique_ptr<WriteQueue> tx_;
};

}  // namespace

std::unique_ptr<Port> create_capture_port(const PortOptions& options, const PortRecords& records) {
  return std::make_unique<CapturePort>(options, records);
}

}  // namespace vanity
