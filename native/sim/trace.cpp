#include "sim/trace.hpp"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sstream>

namespace vanity::sim {
namespace {

constexpr size_t kColumn = 44;

const char* order_of(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_acquire:
    case std::memory_order_consume:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    default:
      return "seq_cst";
  }
}

std::string number(uint64_t value) {
  // Indices start just below 2^32: as they are meant.
  if (value <= UINT32_MAX && value > UINT32_MAX - 16)
    return std::to_string(static_cast<int64_t>(value) - (int64_t{1} << 32));
  return std::to_string(value);
}

const char* wake_of(uint64_t wake) {
  switch (static_cast<Wake>(wake)) {
    case Wake::signalled:
      return "woken";
    case Wake::deadline:
      return "its deadline";
    case Wake::os_limit:
      return "a bound of the system";
    default:
      return "no reason";
  }
}

std::string step_text(const World& world, const Event& event) {
  const std::string name =
      event.key == Operation::kNowhere ? std::string() : world.name_of(event.key);
  const std::string origin =
      event.from_step == 0 ? std::string() : " of #" + std::to_string(event.from_step);
  switch (event.kind) {
    case Kind::start:
      return "begins";
    case Kind::load:
      return name + " is " + number(event.value) + origin +
             (event.age == 0 ? "" : ", old by " + std::to_string(event.age)) + " (" +
             order_of(event.order) + ")";
    case Kind::store:
      return name + " = " + number(event.value) + " (" + order_of(event.order) + ")" +
             (world.setup().model == Model::tso ? ", buffered" : "");
    case Kind::exchange:
      return name + " was " + number(event.value) + origin + ", changed (" + order_of(event.order) +
             ")";
    case Kind::fence:
      return "full fence";
    case Kind::heavy_fence:
      return event.value == 0 ? "membarrier" : "membarrier is taken, tries again";
    case Kind::reach:
      return std::string("membarrier reaches ") + world.scenario().threads[event.value];
    case Kind::drain:
      return "> " + name + " = " + number(event.value) + origin + " is visible to all";
    case Kind::read:
      return "reads " + name + ": " + number(event.value);
    case Kind::write:
      return "writes " + name + ": " + number(event.value);
    case Kind::monitor:
      return "monitors the line of " + name;
    case Kind::wait:
      return event.value != 0 ? "wait ends: the line was stored to" : "waits on the line";
    case Kind::futex_wait:
      return "futex wait, " + name + " is " + number(event.value);
    case Kind::futex_wake:
      return event.value == 0
                 ? "futex wake finds nobody"
                 : std::string("futex wake of ") + world.scenario().threads[event.value - 1];
    case Kind::wake:
      return std::string("wait ends: ") + wake_of(event.value);
    case Kind::resume:
      return "looks again";
    case Kind::says:
      return "* " + world.said(event.value);
    case Kind::now:
      return "clock: " + number(event.value);
    case Kind::pause:
    case Kind::finish:
      return "ends";
  }
  return "";
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

}  // namespace

std::string text_of(const World& world) {
  std::ostringstream out;
  const auto& threads = world.scenario().threads;
  out << "   #  ";
  for (const char* thread : threads) {
    out << thread << std::string(kColumn - std::min(kColumn - 1, std::strlen(thread)), ' ');
  }
  out << '\n';
  uint32_t step = 0;
  for (const Event& event : world.events()) {
    char head[16];
    std::snprintf(head, sizeof head, "%4u  ", ++step);
    out << head << std::string(kColumn * event.thread, ' ') << step_text(world, event) << '\n';
  }
  out << "      " << name_of(world.verdict());
  if (!world.what().empty()) out << ": " << world.what();
  out << '\n';
  return out.str();
}

std::string log_of(const World& world) {
  std::ostringstream out;
  for (const Event& event : world.events())
    out << event.time << ' ' << world.scenario().threads[event.thread] << ' '
        << step_text(world, event) << '\n';
  out << name_of(world.verdict()) << ' ' << world.what() << '\n';
  return out.str();
}

std::string perfetto_of(const World& world) {
  std::ostringstream out;
  out << "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  const auto& threads = world.scenario().threads;
  out << R"({"ph":"M","pid":1,"name":"process_name","args":{"name":)"
      << quoted(world.scenario().name) << "}}";
  for (size_t i = 0; i < threads.size(); ++i)
    out << ",\n"
        << R"({"ph":"M","pid":1,"tid":)" << i + 1 << R"(,"name":"thread_name","args":{"name":)"
        << quoted(threads[i]) << "}}";
  uint32_t step = 0;
  for (const Event& event : world.events()) {
    ++step;
    out << ",\n"
        << R"({"ph":"X","pid":1,"tid":)" << event.thread + 1 << ",\"ts\":" << step
        << ",\"dur\":1,\"name\":" << quoted(step_text(world, event))
        << ",\"args\":{\"step\":" << step << ",\"ticks\":" << event.time << "}}";
    // An arrow from the store to whoever found it.
    if (event.from_step == 0 || event.from_step > world.events().size()) continue;
    const Event& from = world.events()[event.from_step - 1];
    if (from.thread == event.thread) continue;
    out << ",\n"
        << R"({"ph":"s","pid":1,"cat":"store","name":"store","id":)" << step
        << ",\"tid\":" << from.thread + 1 << ",\"ts\":" << event.from_step << "},\n"
        << R"({"ph":"f","bp":"e","pid":1,"cat":"store","name":"store","id":)" << step
        << ",\"tid\":" << event.thread + 1 << ",\"ts\":" << step << '}';
  }
  out << "\n]}\n";
  return out.str();
}

const char* name_of(Model model) noexcept {
  switch (model) {
    case Model::sequential:
      return "sequential";
    case Model::tso:
      return "tso";
    default:
      return "weak";
  }
}

bool model_of(const std::string& name, Model& model) noexcept {
  for (const Model each : {Model::sequential, Model::tso, Model::weak}) {
    if (name != name_of(each)) continue;
    model = each;
    return true;
  }
  return false;
}

std::string write_repro(const Repro& repro, const std::string& comment) {
  std::ostringstream out;
  const Setup& setup = repro.setup;
  out << "vanity-repro 1\n"
      << "scenario " << repro.scenario << '\n'
      << "build " << repro.build << '\n'
      << "seed " << repro.seed << '\n'
      << "schedule " << repro.schedule << '\n'
      << "memory " << name_of(setup.model) << '\n'
      << "membarrier " << setup.membarrier << '\n'
      << "steps_max " << setup.steps_max << '\n'
      << "stale_loads " << setup.stale_loads << '\n'
      << "early_returns " << setup.early_returns << '\n'
      << "refusals " << setup.refusals << '\n'
      << "ticks_per_step " << setup.ticks_per_step << '\n'
      << "verdict " << repro.verdict << '\n';
  std::istringstream system(repro.system);
  for (std::string line; std::getline(system, line);) out << "system " << line << '\n';
  out << "decisions";
  for (const uint8_t decision : repro.decisions) out << ' ' << unsigned{decision};
  out << '\n';
  std::istringstream lines(comment);
  for (std::string line; std::getline(lines, line);) out << "# " << line << '\n';
  return out.str();
}

bool read_repro(const std::string& text, Repro& repro, std::string& error) {
  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line) || line != "vanity-repro 1") {
    error = "not a repro file: its first line is not \"vanity-repro 1\"";
    return false;
  }
  bool decided = false;
  for (uint32_t number = 2; std::getline(lines, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "scenario") {
      std::getline(words >> std::ws, repro.scenario);
      words.clear();
    } else if (key == "system") {
      std::getline(words >> std::ws, line);
      repro.system += line + '\n';
      words.clear();
    } else if (key == "build") {
      words >> repro.build;
    } else if (key == "verdict") {
      std::getline(words >> std::ws, repro.verdict);
      words.clear();
    } else if (key == "seed") {
      words >> repro.seed;
    } else if (key == "schedule") {
      words >> repro.schedule;
    } else if (key == "memory") {
      std::string model;
      words >> model;
      if (!model_of(model, repro.setup.model)) words.setstate(std::ios::failbit);
    } else if (key == "membarrier") {
      words >> repro.setup.membarrier;
    } else if (key == "steps_max") {
      words >> repro.setup.steps_max;
    } else if (key == "stale_loads") {
      words >> repro.setup.stale_loads;
    } else if (key == "early_returns") {
      words >> repro.setup.early_returns;
    } else if (key == "refusals") {
      words >> repro.setup.refusals;
    } else if (key == "ticks_per_step") {
      words >> repro.setup.ticks_per_step;
    } else if (key == "decisions") {
      decided = true;
      for (unsigned decision; words >> decision;)
        repro.decisions.push_back(static_cast<uint8_t>(decision));
      if (words.eof()) words.clear();
    } else {
      words.setstate(std::ios::failbit);
    }
    if (!words.fail()) continue;
    error = "line " + std::to_string(number) + " cannot be read: " + line;
    return false;
  }
  if (!decided || repro.scenario.empty()) {
    error = "it has no scenario or no decisions";
    return false;
  }
  return true;
}

std::string build_id() {
  std::string id;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type != PT_NOTE) continue;
          const auto* at = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
          const char* const end = at + header.p_memsz;
          while (at + sizeof(ElfW(Nhdr)) <= end) {
            const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
            const char* name = at + sizeof *note;
            const char* bytes = name + (note->n_namesz + 3u) / 4 * 4;
            if (note->n_type == NT_GNU_BUILD_ID && std::strcmp(name, "GNU") == 0) {
              for (uint32_t b = 0; b < note->n_descsz && b < 8; ++b) {
                char hex[3];
                std::snprintf(hex, sizeof hex, "%02x",
                              static_cast<unsigned>(static_cast<unsigned char>(bytes[b])));
                *static_cast<std::string*>(result) += hex;
              }
              return 1;
            }
            at = bytes + (note->n_descsz + 3u) / 4 * 4;
          }
        }
        return 1;  // the program itself comes first
      },
      &id);
  return id.empty() ? "unknown" : id;
}

}  // namespace vanity::sim
