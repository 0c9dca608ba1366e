// A network device as VIRTIO 1.2 §5.1 describes it, over the rings of virtio_model.hpp, for drivers
// that reach it by virtio::Transport. Addresses are pointers of this process. It does what it is
// told when run() is called, and can be told to misbehave.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <variant>
#include <vector>

#include "virtio/transport.hpp"
#include "virtio_model.hpp"

namespace model {

using Bytes = std::vector<uint8_t>;

// Outlives the driver, which owns a NicTransport.
struct Nic {
  // ---- what it is
  uint64_t offered = 0;
  uint8_t config[12] = {};
  uint16_t queue_size = 256;
  uint32_t vectors = 9;
  bool translates = true;
  // ---- what it does not do
  bool finishes_reset = true, agrees = true, works = true, answers = true, obeys = true;
  bool listens = true;  // says from which place on it wants to be told of frames
  // ---- what the driver did
  uint64_t accepted = 0;
  uint8_t status = 0;
  bool loose = false;
  uint32_t resets = 0, queue_resets = 0, notifications = 0;
  std::map<uint16_t, uint16_t> vector_of;
  std::vector<Bytes> commands;  // kind, what, data
  std::vector<std::pair<uint8_t*, uint32_t>> memory;

  struct Queue {
    std::unique_ptr<std::variant<SplitDevice, PackedDevice>> device;
    Areas areas{};
    bool enabled = false;
  };
  std::map<uint16_t, Queue> queues;
  std::vector<Bytes> sent[16];  // by pair
  std::vector<Bytes> headers[16];

  ~Nic() {
    for (auto& [at, bytes] : memory) std::free(at);
  }

  bool has(unsigned feature) const { return (accepted >> feature & 1) != 0; }
  bool packed() const { return has(34); }
  bool mergeable() const { return has(15); }
  uint16_t control_queue() const {
    return has(22) ? static_cast<uint16_t>(2 * (config[8] | config[9] << 8)) : 2;
  }

  bool pop(uint16_t queue, Chain& chain) {
    return std::visit([&](auto& device) { return device.pop(chain); }, *queues.at(queue).device);
  }
  void push(uint16_t queue, const Chain& chain, uint32_t written) {
    std::visit([&](auto& device) { device.push(chain, written); }, *queues.at(queue).device);
  }
  bool show(uint16_t queue) {
    return std::visit([&](auto& device) { return device.show(); }, *queues.at(queue).device);
  }
  void listen(uint16_t queue, bool on) {
    std::visit([&](auto& device) { device.listen(on); }, *queues.at(queue).device);
  }
  bool up(uint16_t queue) {
    return loose && (status & 4) != 0 && queues.count(queue) != 0 && queues[queue].enabled;
  }

  // What there is to do: frames out, commands.
  void run() {
    Chain chain;
    for (uint16_t pair = 0; pair < 16; ++pair) {
      const uint16_t queue = 2 * pair + 1;
      if (!up(queue)) continue;
      while (pop(queue, chain)) {
        Bytes all;
        for (const Part& part : chain.parts)
          all.insert(all.end(), part.data(), part.data() + part.bytes);
        headers[pair].emplace_back(all.begin(), all.begin() + 12);
        sent[pair].emplace_back(all.begin() + 12, all.end());
        push(queue, chain, 0);
      }
      show(queue);
      if (listens) listen(queue, true);
    }
    const uint16_t control = control_queue();
    if (!up(control) || !has(17) || !answers) return;
    while (pop(control, chain)) {
      Bytes command;
      for (const Part& part : chain.parts)
        if (!part.writes) command.insert(command.end(), part.data(), part.data() + part.bytes);
      commands.push_back(command);
      *chain.parts.back().data() = obeys ? 0 : 1;
      push(control, chain, 1);
    }
    show(control);
    listen(control, true);
  }

  // A frame comes in, over several buffers if it must and may. `cut`: bytes of each buffer but the
  // last, to make more than there must be. False: no room, the frame is lost.
  bool deliver(const Bytes& frame, uint16_t pair = 0, uint8_t flags = 0, uint16_t start = 0,
               uint16_t offset = 0, uint32_t cut = 1u << 20, uint8_t gso_type = 0) {
    const uint16_t queue = 2 * pair;
    if (!up(queue)) return false;
    Bytes all(12 + frame.size());
    all[0] = flags;
    all[1] = gso_type;
    std::memcpy(all.data() + 6, &start, 2);
    std::memcpy(all.data() + 8, &offset, 2);
    if (!frame.empty()) std::memcpy(all.data() + 12, frame.data(), frame.size());
    std::vector<std::pair<Chain, uint32_t>> used;
    uint8_t* first = nullptr;
    size_t done = 0;
    while (done < all.size()) {
      Chain chain;
      if ((!used.empty() && !mergeable()) || !pop(queue, chain)) return false;  // those are lost
      const Part& part = chain.parts.at(0);
      const uint32_t bytes = static_cast<uint32_t>(
          std::min<size_t>({all.size() - done, part.bytes, mergeable() ? cut : 1u << 20}));
      std::memcpy(part.data(), all.data() + done, bytes);
      if (first == nullptr) first = part.data();
      used.push_back({chain, bytes});
      done += bytes;
    }
    const uint16_t buffers = static_cast<uint16_t>(used.size());
    std::memcpy(first + 10, &buffers, 2);
    for (auto& [chain, bytes] : used) push(queue, chain, bytes);
    return true;
  }
};

class NicTransport final : public vanity::virtio::Transport {
 public:
  explicit NicTransport(Nic& nic) : nic_(nic) {}

  uint64_t offered() override { return nic_.offered; }
  void accept(uint64_t features) override { nic_.accepted = features; }
  uint8_t status() override { return nic_.status; }
  void set_status(uint8_t status) override {
    if (status == 0) {
      ++nic_.resets;
      if (!nic_.finishes_reset) {
        nic_.status |= 64;
        return;
      }
      nic_.queues.clear();
    }
    if (!nic_.agrees) status &= static_cast<uint8_t>(~8);
    if (!nic_.works) status &= static_cast<uint8_t>(~4);
    nic_.status = status;
  }
  uint32_t config(uint32_t offset, uint32_t bytes) override {
    uint32_t value = 0;
    if (offset + bytes > sizeof nic_.config) return ~0u;
    std::memcpy(&value, nic_.config + offset, bytes);
    return value;
  }
  uint16_t queue_size_max(uint16_t) override { return nic_.queue_size; }
  bool set_up(uint16_t queue, const vanity::virtio::QueuePlace& place, uint16_t vector) override {
    nic_.vector_of[queue] = vector;
    const auto at = [](uint64_t address) { return reinterpret_cast<uint8_t*>(address); };
    Nic::Queue& made = nic_.queues[queue];
    made.areas = {at(place.descriptors), at(place.driver), at(place.device), place.size,
                  nic_.has(29)};
    made.enabled = false;
    return true;
  }
  void enable(uint16_t queue) override {
    Nic::Queue& made = nic_.queues[queue];
    using Any = std::variant<SplitDevice, PackedDevice>;
    made.device = nic_.packed() ? std::make_unique<Any>(PackedDevice(made.areas))
                                : std::make_unique<Any>(SplitDevice(made.areas));
    made.enabled = true;
  }
  bool set_config_vector(uint16_t vector) override {
    nic_.vector_of[0xffff] = vector;
    return true;
  }
  void reset_queue(uint16_t queue) override {
    ++nic_.queue_resets;
    if (nic_.finishes_reset) nic_.queues[queue].enabled = false;
  }
  bool reset_done(uint16_t queue) override { return !nic_.queues[queue].enabled; }
  vanity::virtio::Notifier notifier(uint16_t) override {
    return {[](void* nic, uint32_t) noexcept {
              ++static_cast<Nic*>(nic)->notifications;
              static_cast<Nic*>(nic)->run();
            },
            &nic_};
  }
  uint32_t vectors() override { return nic_.vectors; }
  bool has_level() override { return true; }
  vanity::virtio::LevelState level_state() override {
    return {[](void*) noexcept { return uint8_t{1}; }, nullptr};
  }
  vanity::virtio::SharedMemory memory(uint32_t bytes) override {
    bytes = (bytes + 127) / 128 * 128;
    auto* const at = static_cast<uint8_t*>(std::aligned_alloc(128, bytes));
    std::memset(at, 0, bytes);
    nic_.memory.push_back({at, bytes});
    return {reinterpret_cast<std::byte*>(at), reinterpret_cast<uint64_t>(at)};
  }
  bool translates() override { return nic_.translates; }
  void let_loose(bool on) override { nic_.loose = on; }

 private:
  Nic& nic_;
};

}  // namespace model
