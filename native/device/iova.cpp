#include "device/iova.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "platform/error.hpp"

namespace vanity {
namespace {

constexpr uint64_t kPage = 4096;
using Ranges = std::map<uint64_t, uint64_t>;

// Adds a range and joins it with those that it touches.
void insert(Ranges& ranges, uint64_t first, uint64_t last) {
  auto next = ranges.upper_bound(first);
  if (next != ranges.begin()) {
    const auto before = std::prev(next);
    if (before->second >= first || before->second + 1 == first) {
      first = before->first;
      last = std::max(last, before->second);
      ranges.erase(before);
    }
  }
  while (next != ranges.end() && (next->first <= last || next->first == last + 1)) {
    last = std::max(last, next->second);
    next = ranges.erase(next);
  }
  ranges[first] = last;
}

void remove(Ranges& ranges, uint64_t first, uint64_t last) {
  auto at = ranges.upper_bound(first);
  if (at != ranges.begin()) --at;
  while (at != ranges.end() && at->first <= last) {
    const auto [from, to] = *at;
    if (to < first) {
      ++at;
      continue;
    }
    at = ranges.erase(at);
    if (from < first) ranges[from] = first - 1;
    if (to > last) ranges[last + 1] = to;
  }
}

// Whole pages only, and nothing below the floor.
Ranges normal(const std::vector<IovaRange>& windows) {
  Ranges ranges;
  for (IovaRange window : windows) {
    if (window.last < IovaSpace::kFloor || window.first > window.last) continue;
    window.first = std::max(window.first, IovaSpace::kFloor);
    if (window.first > std::numeric_limits<uint64_t>::max() - (kPage - 1)) continue;
    const uint64_t first = (window.first + kPage - 1) & ~(kPage - 1);
    const bool whole = (window.last & (kPage - 1)) == kPage - 1;
    const uint64_t last = whole ? window.last : (window.last & ~(kPage - 1)) - 1;
    if (first <= last) insert(ranges, first, last);
  }
  return ranges;
}

// The highest place in a range for `bytes` that ends at `limit` or before.
std::optional<uint64_t> place(uint64_t first, uint64_t last, uint64_t limit, uint64_t bytes,
                              uint64_t align) {
  last = std::min(last, limit);
  if (last < first || last - first < bytes - 1) return {};
  const uint64_t at = (last - (bytes - 1)) & ~(align - 1);
  if (at < first) return {};
  return at;
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

IovaSpace::IovaSpace(const std::vector<IovaRange>& windows)
    : windows_(normal(windows)), free_(windows_) {}

void IovaSpace::take(uint64_t first, uint64_t last) {
  remove(free_, first, last);
}

// Only what still lies in a window comes back.
void IovaSpace::give(uint64_t first, uint64_t last) {
  auto at = windows_.upper_bound(first);
  if (at != windows_.begin()) --at;
  for (; at != windows_.end() && at->first <= last; ++at) {
    const uint64_t from = std::max(first, at->first);
    const uint64_t to = std::min(last, at->second);
    if (from <= to) insert(free_, from, to);
  }
}

void IovaSpace::restrict_to(const std::vector<IovaRange>& windows) {
  uint64_t next = 0;  // everything between the new windows goes
  for (const auto& [first, last] : normal(windows)) {
    if (first > next) reserve({next, first - 1});
    next = last + 1;
    if (next == 0) return;
  }
  reserve({next, std::numeric_limits<uint64_t>::max()});
}

void IovaSpace::reserve(IovaRange range) {
  range.first &= ~(kPage - 1);
  range.last |= kPage - 1;
  remove(windows_, range.first, range.last);
  remove(free_, range.first, range.last);
}

uint64_t IovaSpace::allocate(uint64_t bytes, uint64_t align, unsigned bits) {
  const bool sane = bytes > 0 && bytes <= uint64_t{1} << 63 && align >= kPage &&
                    (align & (align - 1)) == 0 && bits > 0 && bits <= 64;
  if (!sane) {
    throw Error("VANITY_E_INTERNAL", "IOVA of " + hex(bytes) + " bytes, align " + hex(align) +
                                         ", " + std::to_string(bits) + " bits");
  }
  bytes = (bytes + kPage - 1) & ~(kPage - 1);
  const uint64_t limit =
      bits == 64 ? std::numeric_limits<uint64_t>::max() : (uint64_t{1} << bits) - 1;
  uint64_t largest = 0;
  for (auto range = free_.rbegin(); range != free_.rend(); ++range) {
    const auto [first, last] = *range;
    if (first > limit) continue;
    if (const auto at = place(first, last, limit, bytes, align)) {
      take(*at, *at + (bytes - 1));
      used_[*at] = *at + (bytes - 1);
      return *at;
    }
    largest = std::max(largest, std::min(last, limit) - first + 1);
  }
  throw Error("VANITY_E_VFIO_IOVA",
              "no " + std::to_string(bytes >> 10) + " KiB of DMA addresses, aligned to " +
                  std::to_string(align >> 10) + " KiB, below 2^" + std::to_string(bits) +
                  "; the largest gap there has " + std::to_string(largest >> 10) + " KiB",
              "Use fewer or smaller dma regions for this device, or more bits if it has them.");
}

void IovaSpace::free(uint64_t first) {
  const auto at = used_.find(first);
  if (at == used_.end())
    throw Error("VANITY_E_INTERNAL", "IOVA " + hex(first) + " was not given out");
  const uint64_t last = at->second;
  used_.erase(at);
  give(first, last);
}

std::vector<IovaRange> IovaSpace::free_ranges() const {
  std::vector<IovaRange> ranges;
  for (const auto& [first, last] : free_) ranges.push_back({first, last});
  return ranges;
}

}  // namespace vanity
