#include "sim/system/nic.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "platform/clock.hpp"
#include "platform/event_set.hpp"
#include "port/user_host.hpp"
#include "port/virtio_net/net_header.hpp"
#include "port/virtio_net/virtio_net_port.hpp"
#include "sim/system/events.hpp"
#include "sim/system/port.hpp"
#include "sim/system/region.hpp"
#include "vanity/limits.hpp"
#include "vanity/platform.hpp"
#include "vhost/shared.hpp"
#include "virtio/queue.hpp"
#include "virtio/transport.hpp"

namespace vanity::sim {
namespace {

using virtio::bit;

constexpr uint32_t kNicsOneIn = 4;  // executions of systems with ports that can be one
constexpr uint32_t kPolledOneIn = 4;
constexpr uint32_t kSlowOneIn = 4;  // so that shards sleep between two packets
constexpr uint64_t kSlowGapNs = 40'000;
constexpr uint64_t kFastGapNs = 500;
constexpr uint32_t kTroubleOneIn = 3;       // devices
constexpr uint32_t kTroubleAfterMost = 16;  // looks at a ring that bring something
constexpr uint32_t kGaps = 16;
constexpr uint32_t kSpuriousOneIn = 16;
constexpr uint64_t kPollNs[] = {0, 1'000, 20'000};
// Between what a device does and what it says of it; and a reset.
constexpr uint64_t kLateNs[] = {0, 0, 200, 3'000, 40'000};
constexpr uint64_t kResetNs[] = {0, 100, 30'000, 4'000'000};
constexpr uint64_t kLookNs = 50'000;
// A driver that looks ten times a second has found it by then.
constexpr uint64_t kPatienceNs = 1'500'000'000;

constexpr uint32_t kShortest = sizeof(virtio_net::NetHeader) + virtio_net::kEthernetHeader;

// What a device may do that none should.
enum class Trouble : uint8_t {
  none,
  beyond,     // an id that no descriptor has
  not_lent,   // one that is not with it
  too_long,   // a frame longer than its buffer
  too_short,  // or than its header
  ahead,      // more used elements than it was given buffers
  wants_reset,
};
constexpr const char* kTroubles[] = {"",
                                     "gave back an id that no descriptor has",
                                     "gave back a buffer that it does not have",
                                     "said of a frame that it is longer than its buffer",
                                     "said of a frame that it is shorter than its header",
                                     "said that it was done with more than it was given",
                                     "asked for a reset"};

uint32_t draw(uint32_t options) {
  return World::current().draw(options);
}
template <size_t kCount>
uint64_t draw_from(const uint64_t (&all)[kCount]) {
  return all[draw(kCount)];
}
uint64_t now() {
  return World::current().now();
}
[[noreturn]] void wrong(const std::string& what) {
  World::current().fail(Verdict::order, what.c_str());
}

// What devices reach: their rings, which lie in the region, and packets.
class Reach {
 public:
  void clear() { pools_.clear(); }
  void add(uint64_t address, std::byte* memory, uint64_t bytes) {
    pools_[address] = {memory, bytes};
  }
  static uint64_t of_ring(const std::byte* at) {
    return vhost::kRingsAddress + static_cast<uint64_t>(at - Region::base());
  }
  // Ends the execution where it is nowhere.
  std::byte* find(uint64_t address, uint64_t bytes, const std::string& who) const {
    const auto after = pools_.upper_bound(address);
    if (after != pools_.begin()) {
      const auto& [begin, memory] = *std::prev(after);
      if (address - begin < memory.bytes && bytes <= memory.bytes - (address - begin))
        return memory.base + (address - begin);
    }
    const uint64_t in_region = address - vhost::kRingsAddress;
    if (address >= vhost::kRingsAddress && in_region < Region::kBytes &&
        bytes <= Region::kBytes - in_region)
      return Region::base() + in_region;
    wrong(who + " is given an address at which it has no memory");
  }

 private:
  struct Memory {
    std::byte* base;
    uint64_t bytes;
  };
  std::map<uint64_t, Memory> pools_;
};
Reach reach;

struct Lent {
  uint16_t id;
  uint64_t due_ns;  // for the device to be done with it
};

// One queue as its device sees it (VIRTIO 1.2 §2.7), and how it goes about it.
class Queue {
 public:
  Queue(std::string who, bool receives, bool event_index)
      : who_(std::move(who)), receives_(receives), event_index_(event_index) {}

  void set_up(const virtio::QueuePlace& place, uint16_t vector) {
    size_ = place.size;
    vector_ = vector;
    descriptors_ = at<virtio::SplitDescriptor>(place.descriptors, size_ * 16u);
    available_ = at<virtio::AvailableRing>(place.driver, 6u + 2u * size_);
    used_ = at<virtio::UsedRing>(place.device, 6u + 8u * size_);
    driver_event_ = &available_->ring[size_];
    device_event_ =
        reinterpret_cast<uint16_t*>(reinterpret_cast<std::byte*>(used_) + 4 + 8 * size_);
    lent_.clear();
    taken_index_ = used_index_ = shown_ = 0;
    armed_ = false;
    enabled_ = false;
  }
  void enable() { enabled_ = true; }
  void reset() {
    enabled_ = false;
    lent_.clear();
  }

  bool enabled() const { return enabled_; }
  bool receives() const { return receives_; }
  uint16_t vector() const { return vector_; }
  std::vector<Lent>& lent() { return lent_; }
  const std::string& who() const { return who_; }

  // How much the driver gave since the last look.
  uint32_t take() {
    const uint16_t index = Bus::look(available_->index);
    const auto ready = static_cast<uint16_t>(index - taken_index_);
    if (ready == 0) return 0;
    if (ready > size_ - lent_.size()) wrong(who_ + " is given more than its ring has room for");
    order_.after_observe();
    if (event_index_) armed_ = false;  // what it asked for has come
    for (uint16_t i = 0; i < ready; ++i) {
      const uint16_t id = Bus::look(available_->ring[taken_index_++ & (size_ - 1)]);
      if (id >= size_) wrong(who_ + " is given a descriptor that is not there");
      if (has(id)) wrong(who_ + " is given a buffer that it has");
      lent_.push_back({id, now() + draw_from(kLateNs)});
    }
    return ready;
  }
  // May it sleep until it is told? False: something came meanwhile.
  bool arm() {
    if (!armed_) {
      if (event_index_) {
        Bus::put(*device_event_, taken_index_);
      } else {
        Bus::put(used_->flags, uint16_t{0});
      }
      order_.between_store_and_look();
      armed_ = true;
    }
    return Bus::look(available_->index) == taken_index_;
  }
  void suppress() {
    if (!armed_) return;
    armed_ = false;
    if (event_index_) {
      Bus::put(*device_event_, static_cast<uint16_t>(taken_index_ - 1));
    } else {
      Bus::put(used_->flags, virtio::UsedRing::kNoNotify);
    }
  }
  bool missed() const {
    return enabled_ && armed_ && available_->index != taken_index_;  // from outside
  }

  void give(uint32_t id, uint32_t bytes) {
    virtio::UsedElement& element = used_->ring[used_index_++ & (size_ - 1)];
    Bus::put(element.id, id);
    Bus::put(element.bytes, bytes);
  }
  void skip(uint16_t elements) { used_index_ = static_cast<uint16_t>(used_index_ + elements); }
  // True: the driver wants an interrupt.
  bool publish() {
    order_.before_publish();
    Bus::put(used_->index, used_index_);
    const uint16_t before = std::exchange(shown_, used_index_);
    order_.between_store_and_look();
    if (event_index_) return virtio::passed(Bus::look(*driver_event_), used_index_, before);
    return (Bus::look(available_->flags) & virtio::AvailableRing::kNoInterrupt) == 0;
  }
  bool has(uint32_t id) const {
    return std::any_of(lent_.begin(), lent_.end(),
                       [id](const Lent& lent) { return lent.id == id; });
  }
  uint16_t size() const { return size_; }
  const virtio::SplitDescriptor& descriptor(uint16_t id) const { return descriptors_[id]; }

 private:
  template <class T>
  T* at(uint64_t address, uint64_t bytes) const {
    return reinterpret_cast<T*>(reach.find(address, bytes, who_));
  }

  const std::string who_;
  const bool receives_;
  const bool event_index_;
  Bus::Order order_{false};
  bool enabled_ = false;
  bool armed_ = false;  // asked to be told
  uint16_t size_ = 0;
  uint16_t vector_ = virtio::kNoVector;
  virtio::SplitDescriptor* descriptors_ = nullptr;
  virtio::AvailableRing* available_ = nullptr;
  virtio::UsedRing* used_ = nullptr;
  uint16_t* driver_event_ = nullptr;
  uint16_t* device_event_ = nullptr;
  std::vector<Lent> lent_;
  uint16_t taken_index_ = 0;
  uint16_t used_index_ = 0;
  uint16_t shown_ = 0;
};

// Does each program send a packet once, in the order of its flow?
bool follows_marks = false;

// Rung by whoever has something for a device: a queue's thread, or the kernel's.
Atomic<uint32_t> doorbell{0};
void ring_doorbell() {
  doorbell.fetch_add(1, std::memory_order_acq_rel);
  if (World::running()) Policy::futex_wake(doorbell);
}

class Nic {
 public:
  Nic(const PortOptions& options, const PortRecords& records)
      : name_(options.name),
        port_(options.index),
        pairs_(std::max({options.rx_queues, options.tx_queues, 1u})),
        records_(records),
        event_index_(draw(2) == 0),
        ring_(static_cast<uint16_t>(4u << draw(2))),
        // Who polls goes through too many steps where time passes, or until the kernel looks after
        // a device.
        gap_ns_(!options.interrupts     ? kFastGapNs
                : draw(kSlowOneIn) == 0 ? kSlowGapNs
                                        : arrivals_gap_ns) {
    if (options.interrupts && draw(kTroubleOneIn) == 0) {
      trouble_ = static_cast<Trouble>(1 + draw(std::size(kTroubles) - 1));
      trouble_after_ = 1 + draw(kTroubleAfterMost);
    }
    queues_.reserve(2 * pairs_);
    for (uint32_t i = 0; i < 2 * pairs_; ++i) {
      const bool receives = i % 2 == 0;
      queues_.emplace_back(name_ + (receives ? ".rx" : ".tx") + std::to_string(i / 2), receives,
                           event_index_);
    }
    for (uint32_t i = 0; i < options.rx_queues; ++i) {
      arrivals_.push_back({arrivals_of_a_queue, 0, 0, 0, 0, 0});
      if (options.interrupts) vectors_.push_back({make_vector(), 0});
    }
    sent_.resize(options.tx_queues);
  }

  // ---- what the driver sees of it, on the kernel's thread
  uint64_t offered() const {
    return bit(virtio::feature::kVersion1) | bit(virtio_net::feature::kMultiQueue) |
           (event_index_ ? bit(virtio::feature::kEventIndex) : 0);
  }
  uint8_t status() const { return status_; }
  void set_status(uint8_t status) {
    if (status != 0) {
      status_ = status;
      if ((status & virtio::status::kDriverOk) != 0) {
        ring_doorbell();
        begin_life();
      }
    } else if (status_ != 0) {
      resets_ = true;
      reset_due_ns_ = now() + draw_from(kResetNs);
      // Nobody else is there to do it.
      if (!World::running()) end_life();
    }
    ring_doorbell();
  }
  uint32_t pairs() const { return pairs_; }
  uint16_t ring() const { return ring_; }
  Queue& queue(uint16_t number) { return queues_.at(number); }
  uint32_t vectors() const { return static_cast<uint32_t>(vectors_.size()); }
  int vector_fd(uint32_t vector) const {
    return vector < vectors_.size() ? vectors_[vector].fd : -1;
  }
  void let_loose(bool on) {
    loose_ = on;
    closed_ = !on;
    ring_doorbell();
  }
  bool closed() const { return closed_; }

  // ---- its own thread
  // True: it did something. Else `next_ns` is no later than when it has something to do.
  bool turn(uint64_t& next_ns) {
    const auto by = [&next_ns](uint64_t due) { next_ns = std::min(next_ns, due); };
    if (resets_) {
      if (now() < reset_due_ns_) return by(reset_due_ns_), false;
      World::current().fence();
      end_life();
      return true;
    }
    bool busy = interrupt(next_ns);
    if (!works()) return busy;
    // With the register it has seen what was written before.
    if (std::exchange(fresh_, false)) (void)doorbell.fetch_add(0, std::memory_order_acq_rel);
    for (Queue& queue : queues_) {
      if (!queue.enabled()) continue;
      if (queue.take() != 0) {
        if (draw(2) == 0) queue.suppress();
        busy = true;
      }
      busy |= queue.receives() ? receive(queue, next_ns) : transmit(queue, next_ns);
      if (!works()) return true;
    }
    return busy;
  }
  // Every queue will be told of. False: one has something already.
  bool arm() {
    if (!works()) return true;
    return std::all_of(queues_.begin(), queues_.end(),
                       [](Queue& queue) { return !queue.enabled() || queue.arm(); });
  }

  // ---- from outside
  const std::string& name() const { return name_; }
  bool missed_doorbell() const {
    return works() && std::any_of(queues_.begin(), queues_.end(),
                                  [](const Queue& queue) { return queue.missed(); });
  }
  // The shard has not seen all that came by one of its queues, and no interrupt is on its way.
  bool missed_packets(uint32_t shard) const {
    if (!lives_ || said_since_ns_ != 0) return false;
    for (uint32_t i = 0; i < vectors_.size(); ++i) {
      const Vector& vector = vectors_[i];
      if (records_.rx[i]->shard == shard && waiting(i) != 0 && vector.due_ns == 0 &&
          !is_raised(vector.fd))
        return true;
    }
    return false;
  }
  uint64_t waiting(uint32_t rx) const {
    return arrivals_[rx].shown - (collected(rx) - arrivals_[rx].collected_before);
  }
  // All that is to come has come, and been seen.
  bool done() const { return !arrivals_.empty() && works() && !awaits_packets(); }
  // A port that has no more to come has finished, as any source; nobody tells the device of the
  // last packet, so it looks.
  void finish(uint64_t& next_ns) {
    if (done()) {
      records_.port->state.store(static_cast<uint32_t>(PortState::finished),
                                 std::memory_order_relaxed);
    } else if (std::all_of(arrivals_.begin(), arrivals_.end(),
                           [](const Arrivals& arrivals) { return arrivals.left == 0; }) &&
               works()) {
      next_ns = std::min(next_ns, now() + kLookNs);
    }
  }
  // Ends the execution where the driver lets it wait.
  void hold() {
    if (said_since_ns_ == 0 && !resets_ && !awaits_packets()) return;
    uint64_t progress = lives_count_;
    for (uint32_t i = 0; i < arrivals_.size(); ++i) progress += collected(i) + arrivals_[i].left;
    if (progress != progress_ || progress_ns_ == 0) {
      progress_ = progress;
      progress_ns_ = now();
    }
    if (now() - progress_ns_ < kPatienceNs) return;
    if (said_since_ns_ != 0) {
      wrong("device " + name_ + ' ' + kTroubles[static_cast<size_t>(trouble_)] +
            ", and nobody resets it");
    }
    wrong("device " + name_ + " has packets, and nobody gives it buffers or takes them");
  }
  bool misbehaved() const { return misbehaved_; }
  std::string wrong_at_end() const {
    for (uint32_t i = 0; i < arrivals_.size(); ++i) {
      const QueueRecord& record = *records_.rx[i];
      const std::string who = "device " + name_ + ", receive queue " + std::to_string(i) + ": ";
      if (record.packets.get() > arrivals_[i].brought) {
        return who + std::to_string(record.packets.get()) + " packets were received, and " +
               std::to_string(arrivals_[i].brought) + " came";
      }
      if (!misbehaved() && record.invalid.get() != 0)
        return who + "something was said to be invalid, and all was right";
    }
    if (!misbehaved() && records_.port->errors.get() != 0)
      return "device " + name_ + " was said to be wrong, and was not";
    for (uint32_t i = 0; i < sent_.size(); ++i) {
      const QueueRecord& record = *records_.tx[i];
      const std::string who = "device " + name_ + ", transmit queue " + std::to_string(i) + ": ";
      if (sent_[i].taken > record.packets.get())
        return who + "it was given more packets than were sent";
      if (!misbehaved() && sent_[i].done + record.dropped.get() < record.packets.get()) {
        return who + std::to_string(record.packets.get()) + " packets were sent, " +
               std::to_string(record.dropped.get()) + " dropped, and " +
               std::to_string(sent_[i].done) + " arrived";
      }
    }
    return {};
  }

 private:
  struct Arrivals {
    uint32_t left;
    uint32_t next;  // number of the next
    uint64_t due_ns;
    uint64_t brought;  // frames, in all lives
    uint64_t shown;    // used elements, in this life
    uint64_t collected_before;
  };
  struct Vector {
    int fd;
    uint64_t due_ns;  // 0: none is under way
  };
  struct Sent {
    uint64_t taken = 0;
    uint64_t done = 0;
    std::map<uint64_t, uint32_t> next;  // of each flow of each queue that frames came in by
  };

  bool awaits_packets() const {
    for (uint32_t i = 0; i < arrivals_.size(); ++i)
      if (arrivals_[i].left != 0 || waiting(i) != 0) return true;
    return false;
  }
  bool works() const { return lives_ && loose_ && said_since_ns_ == 0 && !resets_; }
  uint64_t collected(uint32_t rx) const {
    const QueueRecord& record = *records_.rx[rx];
    return record.packets.get() + record.invalid.get() + record.oversize.get();
  }
  uint32_t index_of(const Queue& queue) const {
    return static_cast<uint32_t>(&queue - queues_.data()) / 2;
  }
  Arrivals& arrivals_of(const Queue& queue) { return arrivals_.at(index_of(queue)); }
  void begin_life() {
    lives_ = fresh_ = true;
    ++lives_count_;
    for (uint32_t i = 0; i < arrivals_.size(); ++i) {
      arrivals_[i].shown = 0;
      arrivals_[i].collected_before = collected(i);
    }
  }
  void end_life() {
    for (Queue& queue : queues_) queue.reset();
    for (Vector& vector : vectors_) vector.due_ns = 0;
    lives_ = resets_ = false;
    if (said_since_ns_ != 0) trouble_ = Trouble::none;
    said_since_ns_ = 0;
    status_ = 0;
  }

  // An interrupt that the driver wants; one that is under way says it too.
  void send(const Queue& queue) {
    if (queue.vector() == virtio::kNoVector) return;
    Vector& vector = vectors_.at(queue.vector());
    if (vector.due_ns == 0) vector.due_ns = now() + 1 + draw_from(kLateNs);
  }
  bool interrupt(uint64_t& next_ns) {
    bool busy = false;
    for (Vector& vector : vectors_) {
      if (vector.due_ns == 0) continue;
      if (now() < vector.due_ns) {
        next_ns = std::min(next_ns, vector.due_ns);
        continue;
      }
      vector.due_ns = 0;
      raise_event(vector.fd);
      busy = true;
    }
    return busy;
  }
  void show(Queue& queue) {
    const bool wanted = queue.publish();
    if (wanted || draw(kSpuriousOneIn) == 0) send(queue);
  }

  // The next of those that it has: mostly the one that it has had longest.
  std::vector<Lent>::iterator pick(std::vector<Lent>& lent) {
    return lent.begin() + (draw(4) == 0 ? draw(static_cast<uint32_t>(lent.size())) : 0);
  }

  bool receive(Queue& queue, uint64_t& next_ns) {
    const uint32_t index = index_of(queue);
    if (index >= arrivals_.size()) return false;
    Arrivals& arrivals = arrivals_[index];
    if (arrivals.left == 0 || queue.lent().empty()) return false;
    if (now() < arrivals.due_ns) {
      next_ns = std::min(next_ns, arrivals.due_ns);
      return false;
    }
    const uint32_t most = std::min(arrivals.left, static_cast<uint32_t>(queue.lent().size()));
    for (uint32_t n = 1 + draw(most); n != 0; --n) {
      const auto lent = pick(queue.lent());
      const uint16_t id = lent->id;
      queue.lent().erase(lent);
      bring(queue, id, arrivals, index);
    }
    arrivals.due_ns = now() + draw(kGaps) * gap_ns_;
    if (!make_trouble(queue)) show(queue);
    return true;
  }
  void bring(Queue& queue, uint16_t id, Arrivals& arrivals, uint32_t index) {
    const virtio::SplitDescriptor& descriptor = queue.descriptor(id);
    constexpr uint32_t kBytes = sizeof(virtio_net::NetHeader) + kFrameBytes;
    if (descriptor.flags != virtio::SplitDescriptor::kDeviceWrites || descriptor.bytes < kBytes)
      wrong(queue.who() + " is given a buffer that takes no frame");
    std::byte* const at = reach.find(descriptor.address, descriptor.bytes, queue.who());
    std::memset(at, 0, sizeof(virtio_net::NetHeader));
    write_frame(reinterpret_cast<uint8_t*>(at) + sizeof(virtio_net::NetHeader),
                mark_for(arrivals.next++, port_, index));
    --arrivals.left;
    ++arrivals.brought;
    ++arrivals.shown;
    queue.give(id, kBytes);
  }

  bool transmit(Queue& queue, uint64_t& next_ns) {
    const uint32_t index = index_of(queue);
    std::vector<Lent>& lent = queue.lent();
    uint32_t done = 0;
    // In the order they came: what is drawn is when.
    while (!lent.empty() && now() >= lent.front().due_ns) {
      const uint16_t id = lent.front().id;
      lent.erase(lent.begin());
      if (index < sent_.size()) send_frame(queue, id, sent_[index]);
      queue.give(id, 0);
      ++done;
      if (draw(4) == 0) break;
    }
    if (!lent.empty()) next_ns = std::min(next_ns, std::max(lent.front().due_ns, now() + 1));
    if (done == 0) return false;
    if (!make_trouble(queue)) show(queue);
    return true;
  }
  // Header and frame, in one part or in two.
  void send_frame(Queue& queue, uint16_t id, Sent& sent) {
    ++sent.taken;
    ++sent.done;
    const virtio::SplitDescriptor* part = &queue.descriptor(id);
    uint64_t skip = sizeof(virtio_net::NetHeader);
    if ((part->flags & virtio::SplitDescriptor::kNext) != 0) {
      if (part->bytes != skip || part->next >= queue.size())
        wrong(queue.who() + " is given a chain that is none");
      part = &queue.descriptor(part->next);
      skip = 0;
    }
    if (part->flags != 0 || part->bytes < skip + kFrameBytes) return;  // not one that came in
    const std::byte* const at = reach.find(part->address, part->bytes, queue.who());
    const FrameMark mark = mark_of(reinterpret_cast<const uint8_t*>(at) + skip);
    if (mark.magic != FrameMark::kMagic || !follows_marks) return;
    uint32_t& next = sent.next[uint64_t{mark.queue} << 32 | mark.flow];
    if (mark.number < next) {
      wrong(queue.who() + " is given packet " + std::to_string(mark.number) + " of flow " +
            std::to_string(mark.flow) + " after a later one, or twice");
    }
    next = mark.number + 1;
  }

  // Does it what was drawn now, in place of what it should? Then it does nothing else until it is
  // reset.
  bool make_trouble(Queue& queue) {
    if (trouble_ == Trouble::none || trouble_after_ == 0 || --trouble_after_ != 0) return false;
    if (!queue.receives() && (trouble_ == Trouble::too_long || trouble_ == Trouble::too_short))
      trouble_ = Trouble::beyond;  // what it says of a frame that was sent is not looked at
    switch (trouble_) {
      case Trouble::none:
        break;
      case Trouble::wants_reset:
        status_ |= virtio::status::kNeedsReset;
        break;
      case Trouble::beyond:
        queue.give(queue.size() + draw(2) * 0x10000, kFrameBytes);
        break;
      case Trouble::not_lent: {
        if (queue.lent().empty()) {
          queue.give(queue.size(), kFrameBytes);
          break;
        }
        // Twice. A driver that has lent it again in between cannot tell, and has two frames more,
        // too short for a mark.
        const uint16_t id = queue.lent().front().id;
        queue.lent().erase(queue.lent().begin());
        for (uint32_t twice = 0; twice < 2; ++twice) queue.give(id, kShortest);
        if (queue.receives()) arrivals_of(queue).brought += 2;
        status_ |= virtio::status::kNeedsReset;
        break;
      }
      case Trouble::too_long:
      case Trouble::too_short: {
        if (queue.lent().empty()) {
          queue.give(queue.size(), kFrameBytes);
          break;
        }
        const uint16_t id = queue.lent().front().id;
        queue.lent().erase(queue.lent().begin());
        queue.give(id, trouble_ == Trouble::too_long
                           ? queue.descriptor(id).bytes + 1 + draw(2) * 0x10000
                           : draw(sizeof(virtio_net::NetHeader)));
        break;
      }
      case Trouble::ahead:
        queue.skip(static_cast<uint16_t>(queue.size() + 1));
        break;
    }
    World::current().say("device " + name_ + ' ' + kTroubles[static_cast<size_t>(trouble_)]);
    if (queue.publish()) send(queue);
    said_since_ns_ = now() + 1;
    misbehaved_ = true;
    return true;
  }

  const std::string name_;
  const uint16_t port_;
  const uint32_t pairs_;
  const PortRecords records_;
  const bool event_index_;
  const uint16_t ring_;  // descriptors of each
  const uint64_t gap_ns_;
  std::vector<Queue> queues_;
  std::vector<Arrivals> arrivals_;
  std::vector<Vector> vectors_;
  std::vector<Sent> sent_;
  Trouble trouble_ = Trouble::none;
  uint32_t trouble_after_ = 0;
  uint64_t said_since_ns_ = 0;  // it made trouble; 0: not in this life
  bool misbehaved_ = false;
  uint8_t status_ = 0;
  bool loose_ = false;
  bool closed_ = false;
  bool lives_ = false;  // from DRIVER_OK to the end of its reset
  bool fresh_ = false;  // and has not been looked at by its thread
  uint32_t lives_count_ = 0;
  bool resets_ = false;
  uint64_t reset_due_ns_ = 0;
  uint64_t progress_ = 0;
  uint64_t progress_ns_ = 0;
};

std::vector<Nic*> nics;
bool drawn = false;

// The way to it, in the place of PCI's or a socket's.
class Way final : public virtio::Transport {
 public:
  explicit Way(Nic& nic) : nic_(nic) {}

  uint64_t offered() override { return nic_.offered(); }
  void accept(uint64_t) override {}
  uint8_t status() override { return nic_.status(); }
  void set_status(uint8_t status) override { nic_.set_status(status); }
  uint32_t config(uint32_t offset, uint32_t bytes) override {
    if (offset == virtio_net::config::kPairsMax) return nic_.pairs();
    return bytes == 4 ? ~0u : (1u << 8 * bytes) - 1;
  }
  uint16_t queue_size_max(uint16_t) override { return nic_.ring(); }
  bool set_up(uint16_t queue, const virtio::QueuePlace& place, uint16_t vector) override {
    nic_.queue(queue).set_up(place, vector);
    return true;
  }
  void enable(uint16_t queue) override { nic_.queue(queue).enable(); }
  bool enables_pairs() const override { return true; }
  bool set_config_vector(uint16_t) override { return true; }
  void reset_queue(uint16_t) override {}
  bool reset_done(uint16_t) override { return true; }
  virtio::Notifier notifier(uint16_t) override {
    return {[](void*, uint32_t) noexcept { ring_doorbell(); }, nullptr};
  }
  uint32_t vectors() override { return nic_.vectors(); }
  int vector_fd(uint32_t vector) const override { return nic_.vector_fd(vector); }
  bool has_level() override { return false; }
  virtio::LevelState level_state() override { return {}; }
  virtio::SharedMemory memory(uint32_t bytes) override {
    std::byte* const at = Region::take(bytes);
    return {at, Reach::of_ring(at)};
  }
  bool translates() override { return false; }
  void let_loose(bool on) override { nic_.let_loose(on); }

 private:
  Nic& nic_;
};

// The shipping port; it has finished when nothing is to come any more, as any source.
class NicPort final : public Port {
 public:
  NicPort(const PortOptions& options, const PortRecords& records)
      : Port(records.port),
        nic_(options, records),
        port_(create_virtio_net_port(std::make_unique<Way>(nic_), options.user->buffers, options,
                                     records)) {
    nics.push_back(&nic_);
  }
  ~NicPort() override { nics.erase(std::find(nics.begin(), nics.end(), &nic_)); }
  NicPort(const NicPort&) = delete;
  NicPort& operator=(const NicPort&) = delete;

  RxQueue& rx(uint32_t queue) override { return port_->rx(queue); }
  TxQueue& tx(uint32_t queue) override { return port_->tx(queue); }
  PortIrqs irqs() const override { return port_->irqs(); }
  void start() override { port_->start(); }
  void service() noexcept override {
    port_->service();
    nic_.hold();
    if (nic_.done()) set_state(PortState::finished);
  }
  void close() noexcept override { port_->close(); }
  std::string error() const override { return port_->error(); }

 private:
  Nic nic_;
  std::unique_ptr<Port> port_;
};

}  // namespace

void draw_nics(Plan& plan) {
  forget_events();
  doorbell.store(0, std::memory_order_relaxed);
  nics.clear();
  reach.clear();
  drawn = false;
  follows_marks = std::none_of(plan.shards.begin(), plan.shards.end(), [](const ShardPlan& shard) {
    return shard.kind != ProgramKind::builtin || shard.program == "mirror";
  });
  // Transparent pages cannot be shared, as those of such a port are.
  const bool fits = plan.pages != PageChoice::transparent;
  const auto can_be = [](const PortPlan& port) {
    return port.rx.empty() || port.tx.size() <= port.rx.size();
  };
  if (!fits || std::none_of(plan.ports.begin(), plan.ports.end(), can_be)) return;
  if (draw(kNicsOneIn) != 0) return;
  const bool interrupts = draw(kPolledOneIn) != 0;
  for (PortPlan& port : plan.ports) {
    if (!can_be(port)) continue;
    drawn = true;
    port.driver = "virtio-user";
    port.socket = port.name;
    port.ring = limits::kRingMin;  // as much of it as the device has
    port.poll_ns_max = draw_from(kPollNs);
    port.interrupts = interrupts;
    port.packed = PackedRings::no;
  }
}

bool has_nics() {
  return drawn;
}
bool nics_misbehaved() {
  return std::any_of(nics.begin(), nics.end(), [](const Nic* nic) { return nic->misbehaved(); });
}

std::unique_ptr<Port> create_nic_port(const PortOptions& options, const PortRecords& records) {
  return std::make_unique<NicPort>(options, records);
}

void map_nics(System& system) {
  for (const auto& pool : system.pools()) {
    reach.add(vhost::pool_address(pool->index()), reinterpret_cast<std::byte*>(pool->base()),
              uint64_t{pool->buffers()} * pool->stride());
  }
}

void run_nics() {
  const auto closed = [](const Nic* nic) { return nic->closed(); };
  for (;;) {
    const uint32_t seen = doorbell.load(std::memory_order_acquire);
    if (std::all_of(nics.begin(), nics.end(), closed)) return;
    uint64_t next_ns = UINT64_MAX;
    bool busy = false;
    for (Nic* const nic : nics) {
      busy |= nic->turn(next_ns);
      nic->finish(next_ns);
    }
    if (busy) continue;
    if (!std::all_of(nics.begin(), nics.end(), [](Nic* nic) { return nic->arm(); })) continue;
    Policy::futex_wait(doorbell, seen, next_ns);
  }
}

const char* missed_packets(uint32_t shard) {
  const auto missed = [shard](const Nic* nic) { return nic->missed_packets(shard); };
  return std::any_of(nics.begin(), nics.end(), missed) ? "has packets at a device" : nullptr;
}
const char* missed_doorbell() {
  const auto missed = [](const Nic* nic) { return nic->missed_doorbell(); };
  return std::any_of(nics.begin(), nics.end(), missed) ? "was given buffers" : nullptr;
}

std::string wrong_nics() {
  for (const Nic* const nic : nics) {
    std::string what = nic->wrong_at_end();
    if (!what.empty()) return what;
  }
  return {};
}

}  // namespace vanity::sim
