#include "shard/grant.hpp"

#include "shard/shard.hpp"

const vanity_device::Registers* vanity_device::find(uint32_t bar, uint64_t offset,
                                                    uint64_t bytes) noexcept {
  for (const Registers& each : registers_) {
    const uint64_t granted = each.view.bytes();
    if (each.bar != bar || offset < each.offset || bytes == 0 || bytes > granted) continue;
    if (offset - each.offset <= granted - bytes) return &each;
  }
  refuse();
  return nullptr;
}

namespace {

// Of the bytes that are there: a wrong width or address was refused before.
template <class Call>
bool by_width(uint32_t width, Call&& call) noexcept {
  switch (width) {
    case 1:
      call(uint8_t{});
      return true;
    case 2:
      call(uint16_t{});
      return true;
    case 4:
      call(uint32_t{});
      return true;
    case 8:
      call(uint64_t{});
      return true;
    default:
      return false;
  }
}

constexpr bool is_width(uint32_t width) {
  return width == 1 || width == 2 || width == 4 || width == 8;
}

}  // namespace

bool vanity_device::read(uint32_t bar, uint64_t offset, uint32_t width, uint64_t* value) noexcept {
  if (!is_width(width) || offset % width != 0 || words_->let_go.load(std::memory_order_relaxed)) {
    return false;
  }
  const Registers* const registers = find(bar, offset, width);
  if (registers == nullptr) return false;
  const uint64_t at = offset - registers->offset;
  return by_width(width,
                  [&](auto zero) { *value = registers->view.at<decltype(zero)>(at).read(); });
}

bool vanity_device::write(uint32_t bar, uint64_t offset, uint32_t width, uint64_t value) noexcept {
  if (!is_width(width) || offset % width != 0 || words_->let_go.load(std::memory_order_relaxed)) {
    return false;
  }
  const Registers* const registers = find(bar, offset, width);
  if (registers == nullptr) return false;
  const uint64_t at = offset - registers->offset;
  return by_width(width, [&](auto zero) {
    using T = decltype(zero);
    registers->view.at<T>(at).write(static_cast<T>(value));
  });
}

volatile void* vanity_device::range(uint32_t bar, uint64_t offset, uint64_t bytes) noexcept {
  const Registers* const registers = find(bar, offset, bytes);
  return registers == nullptr ? nullptr : registers->view.data() + (offset - registers->offset);
}

const vanity_dma* vanity_device::memory(const std::string& name) const noexcept {
  for (const Memory& each : memory_) {
    if (each.name == name) return &each.where;
  }
  return nullptr;
}

uint64_t vanity_device::take(uint32_t vector) noexcept {
  for (const Vector& each : vectors_) {
    if (each.number == vector) return each.line->take();
  }
  return 0;
}

void vanity_device::done(uint32_t vector) noexcept {
  for (const Vector& each : vectors_) {
    if (each.number == vector) each.line->done();
  }
}

namespace vanity {

vanity_device& Shard::add_device(const std::string& name, DeviceRecord* record, GrantWords* words) {
  if (vanity_device* const known = find_device(name)) return *known;
  return *devices_.emplace_back(std::make_unique<vanity_device>(name, record, words));
}

vanity_device* Shard::find_device(const std::string& name) noexcept {
  for (const auto& device : devices_) {
    if (device->name() == name) return device.get();
  }
  return nullptr;
}

void Shard::hear_of_devices() noexcept {
  for (const auto& device : devices_) {
    device->look_for_it();
    const vanity_device_state news = device->news();
    if (news == device->state()) continue;
    if (program_ != nullptr && !down_) program_->device_event(*this, *device, news);
    device->follow(news);
  }
}

}  // namespace vanity
