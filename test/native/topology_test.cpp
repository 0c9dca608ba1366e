#include "platform/topology.hpp"

#include <sched.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>

#include "check.hpp"
#include "platform/error.hpp"

using namespace vanity;

namespace {
const std::string kTree = std::string(VANITY_ROOT) + "/test/fixtures/sys/two-nodes";
}

TEST(cpu_lists_are_read_and_junk_is_refused) {
  CHECK(parse_cpu_list("").empty());
  CHECK(parse_cpu_list("3") == std::vector<uint32_t>{3});
  CHECK((parse_cpu_list("8,0-2,1") == std::vector<uint32_t>{0, 1, 2, 8}));
  for (const char* junk :
       {"a", "1-", "3-1", "1,", ",1", "1 2", "-1", "99999999999", "0-4000000000"}) {
    CHECK_THROWS(parse_cpu_list(junk), std::invalid_argument);
  }
}

TEST(a_tree_of_two_nodes_is_understood) {
  const Topology topology = read_topology(kTree);
  CHECK_EQ(topology.cpus.size(), 7u);  // cpu 5 is offline
  CHECK_EQ(topology.nodes, 2u);
  CHECK(topology.find(5) == nullptr);
  const Cpu& first = *topology.find(0);
  CHECK((first.siblings == std::vector<uint32_t>{0, 4}));
  CHECK(!first.isolated && !first.nohz_full);
  const Cpu& far = *topology.find(6);
  CHECK_EQ(far.node, 1u);
  CHECK_EQ(far.package, 1u);
  CHECK_EQ(far.l3, 2u);
  CHECK(far.isolated && far.nohz_full);
  CHECK_EQ(topology.find(2)->l3, far.l3);
  CHECK(topology.find(0)->l3 != far.l3);
}

TEST(an_empty_tree_has_no_processors) {
  const Topology topology = read_topology("/nonexistent");
  CHECK(topology.cpus.empty());
  CHECK_EQ(topology.nodes, 1u);
}

TEST(this_machine_has_the_core_we_run_on) {
  const Topology topology = read_topology();
  const Cpu* here = topology.find(static_cast<uint32_t>(sched_getcpu()));
  CHECK(here != nullptr && here->usable);
}

TEST(pinning_moves_the_thread_and_names_it) {
  std::thread([] {
    const Topology topology = read_topology();
    for (const Cpu& cpu : topology.cpus) {
      if (!cpu.usable) continue;
      pin_thread(cpu.id);
      CHECK_EQ(static_cast<uint32_t>(sched_getcpu()), cpu.id);
    }
    set_thread_name("a name longer than fifteen bytes");
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof name);
    CHECK_EQ(std::string(name), "a name longer t");
  }).join();
}

TEST(a_core_that_is_not_there_is_refused) {
  for (const uint32_t cpu : {1000u, 5000u}) {
    bool refused = false;
    try {
      pin_thread(cpu);
    } catch (const Error& error) {
      refused = error.code() == std::string("VANITY_E_CORE_PIN") && !error.hint().empty();
    }
    CHECK(refused);
  }
}

TEST(fifo_is_granted_or_refused_with_a_reason) {
  std::thread([] {
    try {
      set_fifo(1);
      CHECK_EQ(sched_getscheduler(0), SCHED_FIFO);
    } catch (const Error& error) {
      CHECK_EQ(std::string(error.code()), "VANITY_E_FIFO");
    }
  }).join();
  CHECK_THROWS(set_fifo(100), Error);
}

TEST(a_sleep_is_a_voluntary_switch) {
  const uint64_t before = thread_switches().voluntary;
  usleep(1000);
  CHECK(thread_switches().voluntary > before);
}
