// Shards and channels that come into a running system under load and go again: what flows notices
// nothing, and all that they had is free afterwards.
#include <dirent.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "capture_bytes.hpp"
#include "check.hpp"
#include "kernel/mailbox.hpp"
#include "kernel/system.hpp"
#include "platform/error.hpp"
#include "runtime_folder.hpp"
#include "sanitized.hpp"
#include "soon.hpp"

using namespace vanity;

namespace {

constexpr uint32_t kRounds = kSanitized ? 5 : 20;

using Options = std::map<std::string, std::string>;
using Names = std::vector<std::string>;

std::string file(const std::string& name) {
  return std::string(VANITY_MODULES) + "/" + name + ".so";
}

ShardPlan module(const std::string& name, const std::string& program, Options options = {}) {
  ShardPlan plan;
  plan.name = name;
  plan.kind = ProgramKind::native;
  plan.program = file(program);
  plan.options = std::move(options);
  plan.arena_bytes = 4096;
  return plan;
}

ShardPlan stage(const std::string& name, const std::string& program, Options options = {}) {
  ShardPlan plan = module(name, program, std::move(options));
  plan.kind = ProgramKind::builtin;
  plan.program = program;
  return plan;
}

ChannelPlan channel(const std::string& name, uint32_t from = kNone, uint32_t to = kNone) {
  ChannelPlan plan;
  plan.name = name;
  plan.from = from;
  plan.to = to;
  plan.overflow = Overflow::block;
  return plan;
}

Plan plan_of(const std::string& name, std::vector<ShardPlan> shards) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  plan.shards = std::move(shards);
  for (uint32_t s = 1; s < plan.shards.size(); ++s) {
    plan.channels.push_back(channel("to-" + plan.shards[s].name, s - 1, s));
  }
  return plan;
}

const Options kNumbers{{"buffers", "2048"}, {"flows", "4"}, {"rate", "100000"}};

uint64_t user(System& system, uint32_t shard, const std::string& name) {
  for (const DynamicCounter& counter : system.segment().shard(shard).user) {
    if (name == counter.name) return counter.value.get();
  }
  return 0;
}

const ReloadRecord& ask(System& system, const ReloadRequest& request) {
  system.segment().reload().state.fetch_add(0, std::memory_order_acq_rel);  // see reload_test.cpp
  const uint64_t number = ask_reload(system.segment().path(), request);
  const ReloadRecord& record = system.segment().reload();
  CHECK(soon([&] {
    return record.answered.get() == number &&
           record.state.load(std::memory_order_acquire) == static_cast<uint32_t>(MailState::idle);
  }));
  return record;
}

void expect(const ReloadRecord& record, ReloadOutcome outcome, const std::string& text = "") {
  const std::string said = std::string(record.code) + " " + record.message;
  if (record.outcome.load() == static_cast<uint32_t>(outcome) &&
      said.find(text) != std::string::npos) {
    return;
  }
  check::fail(
      __FILE__, __LINE__,
      "outcome " + std::to_string(record.outcome.load()) + ", " + said + "; expected " + text);
}
void kept(const ReloadRecord& record) {
  expect(record, ReloadOutcome::kept);
}

const ReloadRecord& grow(System& system, std::vector<NewShard> shards,
                         std::vector<NewChannel> channels, std::vector<NewPort> ports = {}) {
  ReloadRequest request;
  request.job = Job::grow;
  request.parts.ports = std::move(ports);
  request.parts.shards = std::move(shards);
  request.parts.channels = std::move(channels);
  return ask(system, request);
}

const ReloadRecord& goes(System& system, Job job, Names shards, Names channels = {}) {
  ReloadRequest request;
  request.job = job;
  request.parts.shard_names = std::move(shards);
  request.parts.channel_names = std::move(channels);
  return ask(system, request);
}

// Other channels for a shard; with a program, when it is a module.
const ReloadRecord& rewire(System& system, uint32_t shard, Names channels,
                           const std::string& program = "", bool dry_run = false) {
  ReloadRequest request;
  request.shard = shard;
  if (!program.empty()) request.path = file(program);
  request.dry_run = dry_run;
  request.trial_bursts = 16;
  request.ends = std::move(channels);
  return ask(system, request);
}

void flows(System& system, uint32_t shard, uint64_t more = 1000) {
  const auto received = [&] { return system.segment().shard(shard).received.get(); };
  const uint64_t before = received();
  if (!soon([&] { return received() > before + more; })) {
    check::fail(__FILE__, __LINE__, "nothing flows through " + std::to_string(shard));
  }
}

void start(System& system) {
  system.start();
  flows(system, system.shard_count() - 1);
}

void untouched(System& system, const std::vector<uint32_t>& shards) {
  for (const uint32_t s : shards) {
    const ShardRecord& record = system.segment().shard(s);
    CHECK_EQ(record.generation.get(), 1u);
    CHECK_EQ(record.reloads.get() + record.restarts.get() + record.faults.get(), 0u);
    CHECK_EQ(record.dropped.get(), 0u);
  }
}

void stop(System& system) {
  system.stop(false);
  CHECK(soon([&] {
    return system.state() == SystemState::stopped || system.state() == SystemState::failed;
  }));
  for (const Failure& failure : system.failures()) check::fail(__FILE__, __LINE__, failure.message);
  for (const auto& pool : system.pools()) CHECK_EQ(pool == nullptr ? 0 : pool->missing(), 0u);
}

size_t entries(const char* folder) {
  size_t all = 0;
  DIR* const dir = opendir(folder);
  while (readdir(dir) != nullptr) ++all;
  closedir(dir);
  return all;
}

// Who owns a system with shards of JavaScript, but its workers are threads of this process. The
// names of their programs say how they behave.
class Owner {
 public:
  BootOptions options() {
    BootOptions options;
    options.on_change = [this] { told_.store(true); };
    return options;
  }
  void watch(System& system) {
    thread_ = std::thread([this, &system] {
      while (!over_.load()) {
        if (told_.exchange(false)) {
          for (const Workers::Wanted& wanted : system.workers().wanted()) begin(system, wanted);
        }
        for (const uint32_t shard : system.workers().overdue()) overdue_[shard].store(true);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  // Before the system is taken down.
  void leave() {
    over_.store(true);
    thread_.join();
    join();
  }

 private:
  void begin(System& system, const Workers::Wanted& wanted) {
    Workers& workers = system.workers();
    if (wanted.program == "throws") {
      workers.fail(wanted.shard, "VANITY_E_PROGRAM_LOAD", "it throws", "");
      return;
    }
    Shard* const shard = workers.take(wanted.shard);
    CHECK(shard != nullptr && workers.take(wanted.shard) == nullptr);
    join();  // the one before it has gone
    overdue_[wanted.shard].store(false);
    workers_.emplace_back([this, shard, program = wanted.program] { serve(*shard, program); });
  }
  void join() {
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }
  void serve(Shard& shard, const std::string& program) {
    const auto wait = [](auto&& until) {
      while (!until()) std::this_thread::sleep_for(std::chrono::microseconds(200));
    };
    const std::atomic<bool>& overdue = overdue_[shard.index()];
    shard.adopt_thread();
    if (program == "dies") {
      shard.forsake("VANITY_E_PROGRAM_THREW", "its worker thread has ended", "");
    } else if (program == "waits") {
      wait([&] { return overdue.load(); });
      shard.forsake("VANITY_E_STUCK", "it was terminated", "");
    } else {
      shard.enter(ShardState::ready);
      wait([&] { return shard.control() != Control::wait; });
      shard.enter(ShardState::running);
      take_all(shard);
      shard.stopped();
      if (program == "lingers") wait([&] { return overdue.load(); });
    }
    shard.conceal();
  }
  // As JavaScript does: by halves of the ring of its own.
  static void take_all(Shard& shard) {
    Consumer input = shard.input(0)->ring.consumer();
    vanity_packet packets[64];
    for (;;) {
      const Control wanted = shard.control();
      if (wanted == Control::stop_now) return;
      const uint32_t got = input.receive(packets, 64);
      shard.input(0)->record->received.add(got);
      shard.record().received.add(got);
      shard.consume(packets, got);
      input.flush();
      if (got != 0) continue;
      if (wanted == Control::finish) return;
      shard.wait_for_work();
    }
  }

  std::atomic<bool> told_{false};
  std::atomic<bool> over_{false};
  std::array<std::atomic<bool>, limits::kShards> overdue_{};
  std::vector<std::thread> workers_;
  std::thread thread_;
};

ShardPlan script(const std::string& name, const std::string& program) {
  ShardPlan plan = module(name, program);
  plan.kind = ProgramKind::typescript;
  plan.program = program;
  return plan;
}

// A sanitizer maps and keeps some guards of its own.
constexpr const char* kGuard = kSanitized ? " no guards " : " ---p ";
constexpr const char* kLate = kSanitized ? "init-number" : "init-loop";

// Threads, files, mappings of arenas and huge pages that are in use.
struct Used {
  size_t threads = entries("/proc/self/task");
  size_t files = entries("/proc/self/fd");
  size_t mapped = 0;
  size_t huge = 0;

  Used() {
    std::string line;
    // What modules and the heap map is theirs: they stay.
    for (std::ifstream maps("/proc/self/maps"); std::getline(maps, line);) {
      mapped += line.find("memfd") != std::string::npos || line.find(kGuard) != std::string::npos;
    }
    for (std::ifstream memory("/proc/meminfo"); std::getline(memory, line);) {
      if (line.rfind("HugePages_Free:", 0) == 0) huge = std::stoul(line.substr(15));
    }
  }
};

}  // namespace

TEST(a_shard_comes_and_goes_under_load_and_leaves_nothing_behind) {
  System system(plan_of("tap", {module("source", "numberer", kNumbers), stage("copy", "mirror"),
                                module("end", "checker")}),
                {});
  start(system);
  const uint64_t bytes = system.segment().header().segment_bytes;
  uint64_t copies = 0;
  Used first;
  for (uint32_t round = 0; round < kRounds; ++round) {
    kept(grow(system, {{module("tap", "checker"), ""}}, {{channel("copies"), "copy", "tap"}}));
    CHECK_EQ(system.segment().header().tables[1].count, 4u);
    CHECK_EQ(std::string(system.segment().shard(3).name), "tap");
    CHECK_EQ(system.segment().shard(3).received.get(), 0u);
    kept(rewire(system, 1, {"to-copy", "to-end", "copies"}));
    flows(system, 3);
    kept(rewire(system, 1, {"to-copy", "to-end"}));
    kept(goes(system, Job::end, {"tap"}));
    CHECK(system.shard(3).state() == ShardState::stopped);
    CHECK_EQ(user(system, 3, "seq_checked"), system.segment().channel(2).sent.get());
    CHECK_EQ(user(system, 3, "seq_reordered"), 0u);
    copies += user(system, 3, "seq_checked");
    kept(goes(system, Job::free, {"tap"}, {"copies"}));
    CHECK_EQ(std::string(system.segment().shard(3).name), "");
    if (round == 0) first = Used();
  }
  flows(system, 2);
  const Used last;
  CHECK_EQ(last.threads, first.threads);
  CHECK_EQ(last.mapped, first.mapped);
  CHECK_EQ(last.huge, first.huge);
  CHECK_EQ(system.segment().header().segment_bytes, bytes);
  untouched(system, {0, 1, 2});
  stop(system);
  CHECK_EQ(user(system, 2, "seq_missing") + user(system, 2, "seq_reordered"), 0u);
  CHECK_EQ(system.segment().shard(0).sent.get(), user(system, 2, "seq_checked"));
  CHECK_EQ(system.segment().shard(1).sent.get(), user(system, 2, "seq_checked") + copies);
}

// A source of its own that sends to a module that is there: its only input was watched directly.
TEST(a_source_comes_to_a_module_and_goes_again) {
  for (const uint32_t before : {1u, 2u}) {
    Plan plan = plan_of("source-" + std::to_string(before),
                        {module("source", "numberer", kNumbers), module("middle", "passer_1"),
                         stage("end", "sink")});
    Names inputs{"to-middle"};
    if (before == 2) {
      plan.channels.push_back(channel("more", 0, 1));  // never used, but one more byte of the bell
      inputs.push_back("more");
    }
    System system(plan, {});
    start(system);
    const auto with = [&](Names more) {
      Names all = inputs;
      all.insert(all.end(), more.begin(), more.end());
      return all;
    };
    uint64_t second = 0;
    for (uint32_t round = 0; round < 3; ++round) {
      kept(grow(system, {{module("second", "numberer", kNumbers), ""}},
                {{channel("second-in"), "second", "middle"}}));
      CHECK_EQ(std::string(system.segment().pool(1).name), "second");
      // It sends from the start, into its ring; nobody takes it yet.
      const Names all = with({"second-in", "to-end"});
      expect(rewire(system, 1, all, "passer_1b", true), ReloadOutcome::rehearsed);
      kept(rewire(system, 1, all, "passer_1b"));
      flows(system, 1, 5000);
      // Not while it still sends.
      expect(rewire(system, 1, with({"to-end"}), "passer_1"), ReloadOutcome::refused,
             "channel \"second-in\" is still sent to");
      kept(goes(system, Job::end, {"second"}));
      kept(rewire(system, 1, with({"to-end"}), "passer_1"));
      second += system.segment().shard(3).sent.get();
      kept(goes(system, Job::free, {"second"}, {"second-in"}));
      flows(system, 2);
    }
    untouched(system, {0, 2});
    stop(system);
    CHECK_EQ(system.segment().shard(2).consumed.get(),
             system.segment().shard(0).sent.get() + second);
    CHECK_EQ(user(system, 1, "total"), system.segment().shard(1).received.get());
  }
}

// Its thread is its owner's: nobody waits for it but the task, and its memory stays until it is
// gone.
TEST(a_shard_of_javascript_comes_and_goes_under_load) {
  Owner owner;
  System system(plan_of("script", {module("source", "numberer", kNumbers), stage("copy", "mirror"),
                                   module("end", "checker")}),
                owner.options());
  owner.watch(system);
  start(system);
  Used first;
  uint64_t copies = 0;
  for (uint32_t round = 0; round < kRounds; ++round) {
    for (const char* const wrong : {"throws", "dies"}) {
      expect(grow(system, {{script("tap", wrong), ""}}, {{channel("copies"), "copy", "tap"}}),
             ReloadOutcome::refused, round % 2 == 0 && wrong[0] == 't' ? "it throws" : "");
      CHECK_EQ(system.segment().header().tables[1].count, round == 0 ? 3u : 4u);
    }
    kept(grow(system, {{script("tap", round % 2 == 0 ? "well" : "lingers"), ""}},
              {{channel("copies"), "copy", "tap"}}));
    kept(rewire(system, 1, {"to-copy", "to-end", "copies"}));
    flows(system, 3);
    // Buffers of a new owner may come by a program that does not see them.
    expect(grow(system, {{module("more", "numberer", kNumbers), ""}},
                {{channel("more"), "more", "copy"}}),
           ReloadOutcome::refused, "knows the buffers that it began with");
    expect(goes(system, Job::end, {"source"}), ReloadOutcome::refused, "sees their buffers");
    kept(rewire(system, 1, {"to-copy", "to-end"}));
    kept(goes(system, Job::end, {"tap"}));
    copies += system.segment().channel(2).sent.get();
    CHECK_EQ(system.segment().shard(3).received.get(), system.segment().channel(2).sent.get());
    kept(goes(system, Job::free, {"tap"}, {"copies"}));
    CHECK_EQ(std::string(system.segment().shard(3).name), "");
    if (round == 0) first = Used();
  }
  const Used last;
  CHECK_EQ(last.mapped, first.mapped);
  CHECK_EQ(last.huge, first.huge);
  untouched(system, {0, 1, 2});
  stop(system);
  owner.leave();
  CHECK_EQ(user(system, 2, "seq_missing") + user(system, 2, "seq_reordered"), 0u);
  CHECK_EQ(system.segment().shard(1).sent.get(), user(system, 2, "seq_checked") + copies);
}

TEST(a_system_stops_while_a_shard_of_javascript_begins) {
  for (const char* const program : {"waits", "well"}) {
    Owner owner;
    System system(plan_of("begins", {module("source", "numberer", kNumbers),
                                     stage("copy", "mirror"), module("end", "checker")}),
                  owner.options());
    owner.watch(system);
    start(system);
    ReloadRequest request;
    request.job = Job::grow;
    request.parts.shards = {{script("tap", program), ""}};
    request.parts.channels = {{channel("copies"), "copy", "tap"}};
    ask_reload(system.segment().path(), request);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop(system);
    CHECK_EQ(system.segment().shard(0).sent.get(), user(system, 2, "seq_checked"));
    owner.leave();
  }
}

// Two that come at once, with a channel between them, and stay until the system stops.
TEST(a_whole_line_comes_and_stops_with_the_system) {
  System system(plan_of("line", {module("source", "numberer", kNumbers), module("end", "checker")}),
                {});
  start(system);
  kept(grow(system, {{module("left", "numberer", kNumbers), ""}, {module("right", "checker"), ""}},
            {{channel("between"), "left", "right"}}));
  flows(system, 3);
  untouched(system, {0, 1, 2, 3});
  stop(system);
  for (const uint32_t end : {1u, 3u}) {
    CHECK_EQ(user(system, end, "seq_missing") + user(system, end, "seq_reordered"), 0u);
    CHECK_EQ(system.segment().shard(end - 1).sent.get(), user(system, end, "seq_checked"));
  }
}

TEST(what_cannot_come_is_refused_and_nothing_is_touched) {
  System system(plan_of("refused", {module("source", "numberer", kNumbers), stage("copy", "mirror"),
                                    module("end", "checker")}),
                {});
  start(system);
  const ShardPlan failing = module("failing", "passer_1", {{"how", "init-number"}});
  // The first thread of such a one leaves what threads share.
  grow(system, {{failing, ""}}, {});
  const Used first;
  const auto refused = [&](const ReloadRecord& record, const std::string& why) {
    expect(record, ReloadOutcome::refused, why);
    CHECK_EQ(system.segment().header().tables[1].count, 3u);
    CHECK_EQ(system.segment().header().tables[2].count, 2u);
  };
  refused(grow(system, {{script("script", "well"), ""}}, {}),
          "nobody in this process starts workers");
  refused(grow(system, {{module("end", "checker"), ""}}, {}), "there is a shard \"end\" already");
  refused(grow(system, {}, {{channel("to-end"), "copy", "end"}}), "a channel \"to-end\" already");
  refused(grow(system, {}, {{channel("more"), "copy", "nobody"}}), "no such shard");
  refused(grow(system, {{module("more", "nothing"), ""}}, {}), "nothing.so");
  std::vector<NewShard> shards;
  for (uint32_t i = 0; i <= limits::kSpareShards; ++i) {
    shards.push_back({stage("more-" + std::to_string(i), "sink"), ""});
  }
  refused(grow(system, shards, {}), "room for 4 shards more");
  std::vector<NewChannel> channels;
  for (uint32_t i = 0; i <= limits::kSpareChannels; ++i) {
    channels.push_back({channel("more-" + std::to_string(i)), "source", "end"});
  }
  refused(grow(system, {}, channels), "room for 16 channels more");
  refused(grow(system, {{failing, ""}}, {{channel("more"), "copy", "failing"}}), "init");
  refused(rewire(system, 1, {"to-copy", "to-end", "more"}), "it has no channel \"more\"");
  refused(rewire(system, 2, {}, "checker"), "still sent to");
  refused(rewire(system, 2, {}), "still sent to");
  refused(rewire(system, 0, {}), "a module finds its channels in init");
  refused(goes(system, Job::end, {"end"}), "is still sent to, by shard copy");
  refused(goes(system, Job::end, {"nobody"}), "there is no shard \"nobody\"");
  refused(goes(system, Job::free, {"end"}, {"to-end"}), "still runs");
  refused(goes(system, Job::free, {}, {"to-end"}), "is still used by shard copy");
  const Used last;
  CHECK_EQ(last.threads, first.threads);
  CHECK_EQ(last.mapped, first.mapped);
  flows(system, 2);

  // All that there is room for, and again once it is free.
  shards.pop_back();
  channels.pop_back();
  for (uint32_t round = 0; round < 2; ++round) {
    kept(grow(system, shards, channels));
    expect(grow(system, {{stage("one", "sink"), ""}}, {}), ReloadOutcome::refused, "room for 4");
    Names shard_names;
    for (const NewShard& shard : shards) shard_names.push_back(shard.plan.name);
    Names channel_names;
    for (const NewChannel& each : channels) channel_names.push_back(each.plan.name);
    kept(goes(system, Job::end, shard_names));
    kept(goes(system, Job::free, shard_names, channel_names));
  }
  // The kernel has many a turn while one begins, and fails to, in the place of one that has gone.
  const ShardPlan late = module("late", "passer_1", {{"how", kLate}});
  expect(grow(system, {{late, ""}}, {}), ReloadOutcome::refused, "init");
  untouched(system, {0, 1, 2});
  stop(system);
  CHECK_EQ(user(system, 2, "seq_missing") + user(system, 2, "seq_reordered"), 0u);
}

// A port that reads a file again and again, and one that writes another.
TEST(ports_come_and_go_with_their_shards) {
  System system(
      plan_of("ports", {module("source", "numberer", kNumbers), module("end", "checker")}), {});
  start(system);
  const TemporaryFile read(".pcap", Bytes().pcap_header().pcap_record(1, 0, frame_of(60)).bytes);
  const TemporaryFile written(".pcap");
  const auto port = [&](const std::string& name, const std::string& file,
                        const std::string& write) {
    NewPort fresh;
    fresh.plan.name = name;
    fresh.plan.driver = "capture";
    fresh.plan.file = file;
    fresh.plan.write = write;
    fresh.plan.replay = ReplayMode::loop;
    fresh.plan.buffers = 256;
    fresh.plan.overflow = Overflow::block;
    (file.empty() ? fresh.tx : fresh.rx) = {file.empty() ? "out" : "in"};
    return fresh;
  };
  const NewPort in = port("from", read.path, "");
  const std::vector<NewShard> shards{{stage("in", "forward"), ""}, {stage("out", "forward"), ""}};
  NewChannel through{channel("through"), "in", "out"};
  Used first;
  for (uint32_t round = 0; round < 3; ++round) {
    kept(grow(system, shards, {through}, {in, port("to", "", written.path)}));
    CHECK_EQ(system.segment().header().tables[3].count, 2u);
    CHECK_EQ(system.segment().header().tables[4].count, 2u);
    CHECK_EQ(std::string(system.segment().port(0).name), "from");
    CHECK_EQ(std::string(system.segment().port(1).target), written.path);
    CHECK_EQ(system.segment().queue(1).shard, 3u);
    flows(system, 3);
    expect(goes(system, Job::end, {"in"}), ReloadOutcome::kept);
    expect(goes(system, Job::end, {"out"}), ReloadOutcome::kept);
    const uint64_t packets = system.segment().queue(0).packets.get();
    CHECK_EQ(system.segment().queue(1).packets.get(), packets);
    kept(goes(system, Job::free, {"in", "out"}, {"through"}));
    // All of them are in the file, which is whole.
    CHECK_EQ(std::filesystem::file_size(written.path), 24 + packets * (16 + 60));
    CHECK_EQ(std::string(system.segment().port(0).name), "");
    for (uint32_t row = 0; row < 2; ++row) {
      CHECK_EQ(system.segment().queue(row).port, kNoPort);
      CHECK_EQ(system.segment().queue(row).packets.get(), 0u);
    }
    if (round == 0) first = Used();
  }
  // A sanitizer's own thread opens a file now and then.
  CHECK(soon([&] { return Used().files == first.files; }));
  CHECK_EQ(Used().mapped, first.mapped);

  const auto refused = [&](const ReloadRecord& record, const std::string& why) {
    expect(record, ReloadOutcome::refused, why);
    CHECK_EQ(std::string(system.segment().port(0).name), "");
    CHECK_EQ(system.segment().queue(0).port, kNoPort);
  };
  refused(grow(system, shards, {through}, {port("from", "/tmp/vanity-none.pcap", "")}),
          "none.pcap");
  refused(grow(system, {}, {}, {in}), "shard in does not come along");
  refused(grow(system, shards, {through}, {in, in}), "there is a port from already");
  const ShardPlan failing = module("in", "passer_1", {{"how", "init-number"}});
  refused(grow(system, {{failing, ""}}, {}, {in}), "init");
  NewPort socket = in;
  socket.plan.driver = "vhost-user";
  socket.plan.socket = "/tmp/vanity-none.socket";
  refused(grow(system, shards, {through}, {socket}), "begins with the system");
  NewPort wide = in;
  wide.plan.driver = "af_packet";
  wide.plan.interface = "lo";
  wide.rx.assign(limits::kSpareQueues + 1, "in");
  refused(grow(system, shards, {through}, {wide}), "16 queues more");
  std::vector<NewPort> many;
  for (uint32_t i = 0; i <= limits::kSparePorts; ++i) {
    many.push_back(port("from-" + std::to_string(i), read.path, ""));
  }
  refused(grow(system, shards, {through}, many), "4 ports and 16 queues more");
  many.pop_back();
  kept(grow(system, shards, {through}, many));
  flows(system, 3);
  untouched(system, {0, 1});
  stop(system);
  CHECK_EQ(user(system, 1, "seq_missing") + user(system, 1, "seq_reordered"), 0u);
}

// One port of two shards goes with both, and what it lost is still counted.
TEST(a_port_loses_no_queue_alone) {
  System system(
      plan_of("halves", {module("source", "numberer", kNumbers), module("end", "checker")}), {});
  start(system);
  const TemporaryFile read(
      ".pcap",
      Bytes().pcap_header().pcap_record(1, 0, frame_of(600)).pcap_record(1, 1, frame_of(60)).bytes);
  const TemporaryFile written(".pcap");
  NewPort both;
  both.plan.name = "both";
  both.plan.driver = "capture";
  both.plan.file = read.path;
  both.plan.write = written.path;
  both.plan.buffer_bytes = limits::kBufferBytesMin;  // of two, one does not fit
  both.plan.replay = ReplayMode::loop;
  both.rx = {"in"};
  both.tx = {"out"};
  kept(grow(system, {{stage("in", "forward"), ""}, {stage("out", "forward"), ""}},
            {{channel("through"), "in", "out"}}, {both}));
  CHECK(soon([&] { return system.segment().queue(0).oversize.get() > 0; }));
  expect(goes(system, Job::end, {"in"}), ReloadOutcome::refused, "shard out has others of it");
  kept(goes(system, Job::end, {"in", "out"}));
  const uint64_t lost = system.segment().queue(0).oversize.get();
  expect(goes(system, Job::free, {"in"}), ReloadOutcome::refused, "shard out has others of it");
  expect(goes(system, Job::free, {"in", "out"}), ReloadOutcome::refused, "would lose an end");
  std::this_thread::sleep_for(std::chrono::milliseconds(250));  // it is served again
  kept(goes(system, Job::free, {"in", "out"}, {"through"}));
  CHECK_EQ(system.segment().header().gone_dropped.get(), lost);
  stop(system);
}

// What is made anew: the old one makes room by its name and its core, and may have them again.
TEST(a_shard_makes_room_by_its_name) {
  System system(plan_of("names", {module("source", "numberer", kNumbers), stage("copy", "mirror"),
                                  module("end", "checker")}),
                {});
  start(system);
  const auto name = [&](uint32_t shard) { return std::string(system.segment().shard(shard).name); };
  ReloadRequest request;
  request.job = Job::grow;
  request.parts.shard_renames = {{"copy", "copy~"}};
  request.parts.channel_renames = {{"to-end", "to-end~"}};
  request.parts.shards = {{stage("copy", "forward"), ""}};
  request.parts.channels = {{channel("to-end"), "copy", "end"}};
  kept(ask(system, request));
  CHECK_EQ(name(1), "copy~");
  CHECK_EQ(name(3), "copy");
  CHECK_EQ(std::string(system.segment().channel(1).name), "to-end~");
  CHECK_EQ(std::string(system.segment().channel(2).name), "to-end");
  const auto refused = [&](Rename rename, const std::string& why) {
    ReloadRequest wrong;
    wrong.job = Job::grow;
    wrong.parts.shard_renames = {std::move(rename)};
    expect(ask(system, wrong), ReloadOutcome::refused, why);
    CHECK_EQ(name(1), "copy~");
  };
  refused({"nobody", "somebody"}, "it is not there");
  refused({"copy~", "copy"}, "another one is");
  refused({"copy~", ""}, "no name");
  refused({"copy~", std::string(limits::kNameBytes + 1, 'n')}, "no name");
  kept(goes(system, Job::end, {"copy"}));
  kept(goes(system, Job::free, {"copy"}, {"to-end"}));
  ReloadRequest back;
  back.job = Job::grow;
  back.parts.shard_renames = {{"copy~", "copy"}};
  back.parts.channel_renames = {{"to-end~", "to-end"}};
  kept(ask(system, back));
  CHECK_EQ(name(1), "copy");
  flows(system, 2);
  untouched(system, {0, 1, 2});
  stop(system);
  CHECK_EQ(system.segment().shard(0).sent.get(), user(system, 2, "seq_checked"));
}

// On trial with another channel: the old program comes back, and so do its channels.
TEST(other_channels_go_with_a_program_that_is_not_kept) {
  System system(plan_of("undone", {module("source", "numberer", kNumbers),
                                   module("middle", "passer_1"), module("end", "checker")}),
                {});
  start(system);
  kept(grow(system, {{stage("aside", "sink"), ""}}, {{channel("side"), "middle", "aside"}}));
  ReloadRequest request;
  request.shard = 1;
  request.path = file("passer_1b");
  request.options = Options{{"how", "unhealthy"}};
  request.ends = Names{"to-middle", "side", "to-end"};
  expect(ask(system, request), ReloadOutcome::undone);
  CHECK_EQ(system.shard(1).output_count(), 1u);
  CHECK_EQ(system.shard(1).output(0)->name, "to-end");
  flows(system, 2);
  kept(goes(system, Job::end, {"aside"}));
  kept(goes(system, Job::free, {"aside"}, {"side"}));
  stop(system);
  CHECK_EQ(system.segment().shard(1).dropped.get(), 0u);
}
