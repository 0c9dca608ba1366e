#include "port/e1000e/queues.hpp"

#include <algorithm>

#include "packet/checksum.hpp"
#include "platform/clock.hpp"
#include "port/e1000e/registers.hpp"

namespace vanity::e1000e {
namespace {

constexpr uint32_t kFrameHeader = 14;
constexpr uint32_t kRefill = 32;         // buffers given to the device at once, and at most a burst
constexpr uint32_t kReportEvery = 32;    // descriptors
constexpr uint64_t kStarvedNs = 50'000;  // buffers that come home ring nobody
constexpr uint64_t kUnarmedNs = 50'000;  // a queue without a vector
constexpr uint64_t kDownNs = 10'000'000;

}  // namespace

RxInterrupt::RxInterrupt(const MmioView& registers, uint32_t causes)
    : clear_(registers.at<uint32_t>(kIcr)),
      set_(registers.at<uint32_t>(kIms)),
      mask_(registers.at<uint32_t>(kImc)),
      causes_(causes) {}

Rx::Rx(QueueRecord* record, const RxSetup& setup)
    : RxQueue(record),
      ring_(setup.ring),
      ids_(setup.size),
      mask_(setup.size - 1),
      device_bytes_(setup.device_bytes),
      buffers_(setup.buffers),
      poll_ticks_(ns_to_ticks(setup.poll_ns_max)),
      port_(setup.port),
      interrupts_(setup.interrupts),
      level_(setup.level),
      interrupt_(setup.interrupt),
      tail_register_(setup.tail) {}

uint32_t Rx::receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept {
  if (!tenure.live()) [[unlikely]] {
    if (tenure.released()) give_back(pool);
    return 0;
  }
  if (line_ != nullptr && line_->take() != 0) [[unlikely]]
    interrupted();
  uint32_t got = 0;
  uint64_t bytes = 0;
  while (got < n && head_ != tail_) {
    const RxDone done(load(ring_[head_ & mask_].high));
    if (!done.done()) break;
    const uint32_t id = ids_[head_++ & mask_];
    const uint32_t length = done.length();
    const bool first = !cutting_;
    cutting_ = !done.end_of_packet();
    if (cutting_ || !first) [[unlikely]] {
      record_->oversize.add(first ? 1 : 0);
      pool.give(&id, 1);
      continue;
    }
    if (done.damaged() || length < kFrameHeader || length > device_bytes_) [[unlikely]] {
      record_->invalid.add(1);
      pool.give(&id, 1);
      if (length <= device_bytes_) continue;
      tenure.give_up();
      break;
    }
    auto& meta = *reinterpret_cast<vanity_packet_meta*>(pool.buffer(id) + VANITY_HEADROOM_BYTES);
    meta = {0, length, 0};
    const uint16_t flags = done.checksum_right() ? VANITY_PACKET_CHECKSUM_VALID : 0;
    packets[got++] = {id, 0, VANITY_FRAME_OFFSET, static_cast<uint16_t>(length), port_, flags};
    bytes += length;
  }
  order_after_dma_read();  // before the frames; and who had the free buffers has read them
  if (tenure.live()) refill(pool);
  if (got == 0) return 0;
  busy_ = true;
  if (armed_) {
    interrupt_.disarm();
    armed_ = false;
  }
  record_->packets.add(got);
  record_->bytes.add(bytes);
  record_->bursts.add(1);
  return got;
}

void Rx::refill(Pool& pool) noexcept {
  uint32_t room = mask_ - posted();
  if (room < std::min(kRefill, mask_ / 2)) return;
  // A pool with smaller buffers than the device was told of would be written past its end.
  if (pool.frame_bytes_max() < device_bytes_) [[unlikely]]
    return;
  const uint32_t before = tail_;
  uint32_t ids[kRefill];
  while (room != 0) {
    const uint32_t want = std::min(room, kRefill);
    const uint32_t got = pool.take(ids, want);
    if (got != 0 && !buffers_->reaches(ids[0])) [[unlikely]] {
      pool.give(ids, got);
      break;
    }
    for (uint32_t i = 0; i < got; ++i) {
      Descriptor& descriptor = ring_[tail_ & mask_];
      ids_[tail_++ & mask_] = ids[i];
      store(descriptor.low, buffers_->address(ids[i], VANITY_FRAME_OFFSET));
      store(descriptor.high, 0);
    }
    room -= got;
    if (got < want) break;
  }
  if (tail_ != before) {
    tail_register_.write(tail_ & mask_);
  } else if (posted() == 0) {
    record_->no_buffer.add(1);
  }
}

void Rx::interrupted() noexcept {
  armed_ = false;  // the message masked its cause
  if (!level_) return;
  interrupt_.acknowledge();
  line_->done();
}

uint64_t Rx::sleep_ns_max() noexcept {
  if (!tenure.live()) return kDownNs;
  if (!interrupts_) return 0;
  if (line_ == nullptr) return kUnarmedNs;
  if (busy_) {
    busy_ = false;
    quiet_since_ = now_ticks();
  }
  if (!armed_) {
    if (now_ticks() - quiet_since_ < poll_ticks_) return 0;
    interrupt_.arm();
    armed_ = true;
  }
  if (ready()) return 0;
  return posted() <= mask_ / 2 ? kStarvedNs : kSleepForever;
}

void Rx::give_back(Pool& pool) noexcept {
  for (; head_ != tail_; ++head_) pool.give(&ids_[head_ & mask_], 1);
  head_ = tail_ = 0;
  busy_ = true;
  armed_ = cutting_ = false;
  tenure.drain();
}

uint32_t Rx::take_back(vanity_packet* packets, uint32_t n) noexcept {
  uint32_t got = 0;
  for (; got < n && head_ != tail_; ++head_) packets[got++].buffer = ids_[head_ & mask_];
  return got;
}

Tx::Tx(QueueRecord* record, const TxSetup& setup)
    : TxQueue(record),
      ring_(setup.ring),
      size_(setup.size),
      mask_(setup.size - 1),
      kept_(setup.size),
      reports_(setup.size),
      buffers_(setup.buffers),
      tail_register_(setup.tail) {}

bool Tx::post(const vanity_packet& packet) noexcept {
  if (packet.length > kFrameBytesMax) [[unlikely]] {
    record_->oversize.add(1);
    return false;
  }
  if (packet.length < kFrameBytesMin) [[unlikely]] {
    record_->invalid.add(1);
    return false;
  }
  if (!buffers_->reaches(packet.buffer)) [[unlikely]] {
    record_->dropped.add(1);
    return false;
  }
  Descriptor& descriptor = ring_[tail_++ & mask_];
  store(descriptor.low, buffers_->address(packet.buffer, packet.offset));
  last_ = packet.length | kTxFrame;
  store(descriptor.high, last_);
  return true;
}

void Tx::ask_for_report() noexcept {
  store(ring_[(tail_ - 1) & mask_].high, last_ | kTxReport);
  reports_[reports_in_++ & mask_] = {tail_ - 1, kept_in_};
  reported_ = tail_;
}

uint32_t Tx::transmit(const PoolTable& pools, const vanity_packet* packets, uint32_t n) noexcept {
  const bool live = tenure.live();
  const uint32_t before = tail_;
  uint32_t taken = 0;
  uint64_t bytes = 0;
  while (taken < n && kept_in_ - kept_out_ < size_ && tail_ - head_ < mask_) {
    const vanity_packet& packet = packets[taken++];
    kept_[kept_in_++ & mask_] = packet;
    if (!live) [[unlikely]] {
      record_->dropped.add(1);
      continue;
    }
    if ((packet.flags & VANITY_PACKET_CHECKSUM_PARTIAL) != 0)
      finish_checksum(pools.buffer(packet.buffer), packet);
    if (!post(packet)) continue;
    bytes += packet.length;
    if (tail_ - reported_ == kReportEvery) ask_for_report();
  }
  if (tail_ == before) {
    // Packets that can never go wait for those before them.
    if (taken != 0) {
      if (reports_in_ != reports_out_) {
        reports_[(reports_in_ - 1) & mask_].kept = kept_in_;
      } else {
        kept_done_ = kept_in_;
      }
    }
    return taken;
  }
  if (tail_ != reported_) {
    ask_for_report();
  } else {
    reports_[(reports_in_ - 1) & mask_].kept = kept_in_;
  }
  tail_register_.write(tail_ & mask_);
  record_->packets.add(tail_ - before);
  record_->bytes.add(bytes);
  record_->bursts.add(1);
  return taken;
}

void Tx::reap() noexcept {
  const uint32_t before = reports_out_;
  while (reports_out_ != reports_in_) {
    const Report& report = reports_[reports_out_ & mask_];
    if ((load(ring_[report.descriptor & mask_].high) & kTxDone) == 0) break;
    head_ = report.descriptor + 1;
    kept_done_ = report.kept;
    ++reports_out_;
  }
  if (reports_out_ != before) order_after_dma_read();  // the device has read what is written next
}

uint32_t Tx::hand_back(vanity_packet* packets, uint32_t n) noexcept {
  uint32_t got = 0;
  while (got < n && kept_out_ != kept_done_) packets[got++] = kept_[kept_out_++ & mask_];
  return got;
}

void Tx::let_go() noexcept {
  kept_done_ = kept_in_;
  reports_out_ = reports_in_;
  head_ = tail_ = reported_ = 0;
  tenure.drain();
}

uint32_t Tx::completed(vanity_packet* packets, uint32_t n) noexcept {
  if (tenure.live()) {
    reap();
  } else if (tenure.released()) {
    let_go();
  }
  return hand_back(packets, n);
}

uint32_t Tx::take_back(vanity_packet* packets, uint32_t n) noexcept {
  kept_done_ = kept_in_;
  return hand_back(packets, n);
}

}  // namespace vanity::e1000e
