// memory/pages.hpp: parts of the region, and files that are numbers. Pages are smaller than
// Linux's, for each of them is cleared in each execution.
#include "memory/pages.hpp"

#include <cerrno>
#include <map>

#include "sim/system/region.hpp"
#include "sim/system/scarcity.hpp"
#include "sim/world.hpp"

namespace vanity {
namespace {

constexpr uint32_t kScarceOneIn = 8;  // executions
constexpr uint32_t kFailsOneIn = 4;   // answers about pages that are scarce
constexpr uint32_t kFailsSmallOneIn = 64;
constexpr uint32_t kChoices = 5;

bool scarce = false;
// For the execution: kinds that were refused, a bit each.
uint32_t refused = 0;
std::map<int, PageKind> files;
std::map<std::byte*, size_t> reserved;
std::map<std::byte*, PageKind> mapped;
int next_file = 0;

bool fails(PageKind kind) {
  if (!scarce) return false;
  const bool small = kind == PageKind::small;
  if (sim::World::current().draw(small ? kFailsSmallOneIn : kFailsOneIn) != 0) return false;
  refused |= 1u << static_cast<uint32_t>(kind);
  errno = ENOMEM;
  return true;
}

bool was_refused(PageKind kind) {
  return (refused >> static_cast<uint32_t>(kind) & 1) != 0;
}

PageKind kind_of(int file) {
  return file < 0 ? PageKind::transparent : files.at(file);
}

}  // namespace

size_t pages::bytes_of(PageKind kind) {
  constexpr size_t kBytes[] = {65536, 16384, 16384, 4096};
  return kBytes[static_cast<size_t>(kind)];
}
bool pages::transparent_is_off() {
  return fails(PageKind::transparent);
}
int pages::make_file(PageKind kind, Sharing) {
  if (fails(kind)) return -1;
  files[next_file] = kind;
  return next_file++;
}
bool pages::size_file(int file, size_t) {
  return !fails(kind_of(file));
}
bool pages::seal_file(int file) {
  return !fails(kind_of(file));
}
void pages::close_file(int file) noexcept {
  files.erase(file);
}
std::byte* pages::reserve(size_t bytes) {
  std::byte* const at = sim::Region::take(bytes);
  reserved[at] = bytes;
  return at;
}
void pages::give_back(std::byte* at, size_t bytes) noexcept {
  reserved.erase(at);
  mapped.erase(mapped.lower_bound(at), mapped.lower_bound(at + bytes));
}
bool pages::map(std::byte* at, size_t, int file) {
  if (fails(kind_of(file))) return false;
  mapped[at] = kind_of(file);
  return true;
}
bool pages::make_transparent(std::byte*, size_t) {
  return !fails(PageKind::transparent);
}
bool pages::bind_to_node(std::byte*, size_t, uint32_t) {
  return true;
}
bool pages::fill(std::byte*, size_t, int file) {
  return !fails(kind_of(file));
}
bool pages::lock(std::byte*, size_t) {
  return true;
}
void pages::keep_to_itself(std::byte*, size_t) {}

void sim::draw_pages(Plan& plan) {
  scarce = World::current().draw(kScarceOneIn) == 0;
  refused = 0;
  next_file = 0;
  files.clear();
  reserved.clear();
  mapped.clear();
  if (scarce) plan.pages = static_cast<PageChoice>(World::current().draw(kChoices));
}

void sim::end_scarcity() {
  scarce = false;
}

std::string sim::wrong_refusal(const Plan& plan, const std::string& code) {
  const std::string left = left_behind();
  if (!left.empty()) return "a start that was refused (" + code + ") leaves " + left + " behind";
  if (code == "VANITY_E_MEMORY" && was_refused(PageKind::small)) return {};
  if (code == "VANITY_E_HUGE_PAGES" && plan.pages != PageChoice::automatic &&
      was_refused(static_cast<PageKind>(static_cast<int>(plan.pages) - 1))) {
    return {};
  }
  return "a start is refused (" + code + "), though other pages could be had";
}

std::string sim::wrong_pages(System& system) {
  for (uint32_t s = 0; s < system.shard_count(); ++s) {
    const Arena& arena = system.shard(s).arena();
    const auto found = mapped.find(arena.base());
    if (found == mapped.end()) return "an arena lies where nothing is mapped";
    if (found->second != arena.kind()) return "an arena has other pages than it says";
  }
  return {};
}

std::string sim::left_behind() {
  if (files.empty() && reserved.empty()) return {};
  return std::to_string(files.size()) + " files and " + std::to_string(reserved.size()) +
         " reservations";
}

}  // namespace vanity
