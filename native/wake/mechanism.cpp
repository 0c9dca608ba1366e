#include "wake/mechanism.hpp"

#include "platform/backends.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"

namespace vanity::wake {
namespace {

const BackendReport& report_of(const std::vector<BackendReport>& reports, Backend backend) {
  return reports[static_cast<size_t>(backend)];
}

std::vector<Mechanism> table() {
  const std::vector<BackendReport> reports = probe_backends();
  std::vector<Mechanism> all;
  const auto backend = [&](const char* name, Backend of, const char* about) {
    const BackendReport& report = report_of(reports, of);
    all.push_back({name, Kind::backend, about, report.usable, report.reason, of == Backend::futex});
  };
  backend("spin", Backend::spin, "looks without a pause; the least that a wake can take");
  backend("spin+pause", Backend::spin, "spins as wait = \"spin\" does");
  backend("waitpkg-c01", Backend::waitpkg, "UMWAIT, in C0.1 however long it lasts");
  backend("waitpkg-c02", Backend::waitpkg, "UMWAIT, in C0.2 from the start");
  backend("monitorx", Backend::monitorx, "MWAITX, in C0 however long it lasts");
  backend("monitorx-c1", Backend::monitorx, "MWAITX, in C1 from the start");

  // One backend, two instructions: it ships with WFET where there is one.
  const BackendReport& arm = report_of(reports, Backend::wfe);
  const auto wfe_with = [&](const char* name, const char* about, bool has, const char* lacks) {
    all.push_back({name, Kind::backend, about, arm.usable && has,
                   arm.usable && !has ? lacks : arm.reason, false});
  };
  wfe_with("wfe", "WFE, ended by Linux's event stream every 100 us", wfe::has_event_stream(),
           "Linux's event stream is off, so nothing would bound it");
  wfe_with("wfet", "WFE with a deadline", wfe::has_deadline(), "the processor lacks FEAT_WFxT");

  backend("zawrs", Backend::zawrs, "WRS.STO");
  backend("futex", Backend::futex, "sleeps in Linux at once; a flag spares signals their call");
  const Backend best = choose_backend("auto");
  all.push_back({"adaptive", Kind::backend, "spins for as long as it pays, then waits as auto does",
                 true, std::string("spins, then ") + backend_name(best), false});

  const auto path = [&](const char* name, const char* about) {
    all.push_back({name, Kind::path, about, true, std::string("epoll, then ") + backend_name(best),
                   best == Backend::futex});
  };
  path("interrupt", "an eventfd raised as by a device, the kernel's core, the shard's doorbell");
  path("virtio-user", "a packet of a vhost-user back-end, received by the shard of the port");

  const auto reference = [&](const char* name, const char* about) {
    all.push_back({name, Kind::reference, about, true, "Linux", true});
  };
  reference("raw-futex", "FUTEX_WAIT in a loop, FUTEX_WAKE at every signal");
  reference("eventfd", "blocking read, a write at every signal");
  reference("pipe", "blocking read, a write of one byte at every signal");
  return all;
}

}  // namespace

const std::vector<Mechanism>& mechanisms() {
  static const std::vector<Mechanism> all = table();
  return all;
}

const Mechanism& usable_mechanism(std::string_view name) {
  std::string names;
  for (const Mechanism& mechanism : mechanisms()) {
    if (mechanism.name == name) {
      if (mechanism.usable) return mechanism;
      throw Error("VANITY_E_WAKE_MECHANISM",
                  std::string(name) + " can't be had on this host: " + mechanism.reason,
                  "npx vanity doctor lists what this host can do");
    }
    if (mechanism.usable) names += (names.empty() ? "" : ", ") + mechanism.name;
  }
  throw Error("VANITY_E_WAKE_MECHANISM", "\"" + std::string(name) + "\" is not a way to wait",
              "one of " + names);
}

}  // namespace vanity::wake
