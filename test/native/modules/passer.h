/* Passes packets on and counts them in a state that it hands on. PASSER_VERSION decides what the
 * state looks like; VANITY_TEST_PASSER what a new one does that it should not:
 *   init-number, init-fault, init-loop, rehearsal-fault     before the switch
 *   init-fault-again                                        for who is started anew with it
 *   restore-number, restore-fault                           in it
 *   fault, late-fault, unhealthy, loop, calls, nothing, sleep      on trial
 * and an old one: save-number, save-fault, keep (a packet, from one turn to the next). It is looked
 * at in init, so it is of whoever is loaded while it is set; the option `how` comes before it. The
 * option `after` says how many busy turns `late-fault` takes; 10. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vanity/program.h>

#if PASSER_VERSION == 1
typedef struct known {
  uint64_t packets;
  uint64_t bursts;
  uint32_t largest;
  uint32_t reserved;
  uint64_t lengths[8];
} known;
#else
typedef struct known {
  uint64_t packets;
  uint64_t bytes;
  uint64_t bursts;
  uint32_t lengths[8];
} known;
#endif

typedef struct state {
  known known;
  char how[24];
  uint32_t turns; /* busy ones, on trial or not */
  uint32_t after;
  uint32_t kept;
  uint32_t on_stage; /* something was handed on, so it is no rehearsal */
  vanity_packet packet;
  vanity_counter* total;
} state;

static volatile int* volatile nowhere;
static volatile int forever = 1;
static int misbehaves(const state* s, const char* how) {
  return strcmp(s->how, how) == 0;
}
static void fault_if(const state* s, const char* how) {
  if (misbehaves(s, how)) *nowhere = 1;
}

static int init(vanity_shard* shard, void** result) {
  const vanity_api* api = vanity_api_of(shard);
  state* s = api->arena_allocate(shard, sizeof(state), 64);
  if (s == NULL || s->known.packets != 0) return 9; /* not as new */
  const char* how = api->option(shard, "how");
  if (how == NULL) how = getenv("VANITY_TEST_PASSER");
  const char* after = api->option(shard, "after");
  s->after = after == NULL ? 10 : (uint32_t)atoi(after);
  strncpy(s->how, how == NULL ? "" : how, sizeof(s->how) - 1);
  s->total = api->counter(shard, "total");
  *result = s;
  fault_if(s, "init-fault");
  if (getenv("VANITY_TEST_AGAIN") != NULL) fault_if(s, "init-fault-again");
  if (misbehaves(s, "init-fault-again")) setenv("VANITY_TEST_AGAIN", "", 1);
  while (misbehaves(s, "init-loop") && forever) {
  }
  return misbehaves(s, "init-number") ? 3 : 0;
}

static uint32_t poll_once(vanity_shard* shard, void* opaque) {
  state* s = opaque;
  if (s->on_stage && misbehaves(s, "nothing")) return 0;
  vanity_packet packets[32];
  uint32_t got = vanity_receive(shard, packets, 32);
  if (got == 0) return 0;
  fault_if(s, "rehearsal-fault");
  ++s->turns;
  if (s->on_stage) {
    fault_if(s, "fault");
    while (misbehaves(s, "loop") && forever) {
    }
    if (misbehaves(s, "busy")) {
      for (volatile int i = 0; i < 20000; ++i) {
      }
    }
    /* Once, for longer than anybody should; a signal ends one nap. */
    if (misbehaves(s, "sleep") && s->turns == 6) {
      for (int i = 0; i < 300; ++i) usleep(1000);
    }
    while (misbehaves(s, "calls") && forever) vanity_receive(shard, packets, 0);
    if (misbehaves(s, "late-fault") && s->turns > s->after) {
      vanity_send(shard, 0, packets, got / 2); /* the others it still holds */
      fault_if(s, "late-fault");
    }
  }
  const uint32_t all = got;
  s->known.packets += got;
  ++s->known.bursts;
  s->known.lengths[0] += got;
#if PASSER_VERSION == 1
  if (got > s->known.largest) s->known.largest = got;
#else
  for (uint32_t i = 0; i < got; ++i) s->known.bytes += packets[i].length;
#endif
  if (misbehaves(s, "keep")) {
    if (s->kept) vanity_send(shard, 0, &s->packet, 1);
    s->packet = packets[--got];
    s->kept = 1;
  }
  if (got != 0) vanity_send(shard, 0, packets, got);
  return all;
}

static void fini(vanity_shard* shard, void* opaque) {
  state* s = opaque;
  if (s->kept) vanity_send(shard, 0, &s->packet, 1);
  vanity_api_of(shard)->count(s->total, s->known.packets);
}

static int save(vanity_shard* shard, void* opaque, void* into) {
  state* s = opaque;
  (void)shard;
  fault_if(s, "save-fault");
  memcpy(into, &s->known, sizeof(known));
  return misbehaves(s, "save-number") ? 4 : 0;
}

static int restore(vanity_shard* shard, void* opaque, const void* from) {
  state* s = opaque;
  (void)shard;
  fault_if(s, "restore-fault");
  memcpy(&s->known, from, sizeof(known));
  s->on_stage = 1;
  s->turns = 0;
  return misbehaves(s, "restore-number") ? 5 : 0;
}

static int healthy(vanity_shard* shard, void* opaque) {
  state* s = opaque;
  (void)shard;
  return misbehaves(s, "unhealthy") && s->on_stage && s->turns >= 8 ? 6 : 0;
}

static const vanity_field fields[] = {
    VANITY_STATE_FIELD(known, packets, VANITY_TYPE_U64),
    VANITY_STATE_FIELD(known, bursts, VANITY_TYPE_U64),
#if PASSER_VERSION == 1
    VANITY_STATE_FIELD(known, largest, VANITY_TYPE_U32),
    {"lengths", VANITY_TYPE_U64, offsetof(known, lengths), 8, 0},
#else
    VANITY_STATE_FIELD(known, bytes, VANITY_TYPE_U64),
    {"lengths", VANITY_TYPE_U32, offsetof(known, lengths), 8, 0},
#endif
};
static const vanity_state description = {"passer", PASSER_VERSION,
                                         sizeof(fields) / sizeof(fields[0]), fields, sizeof(known)};

#ifdef PASSER_MIGRATES
/* Only the first version is known here. */
static int migrate(vanity_shard* shard, void* opaque, const vanity_state* was, const void* from) {
  state* s = opaque;
  (void)shard;
  if (was->version != 1 || was->bytes != 88) return 8;
  s->on_stage = 1;
  s->turns = 0;
  memcpy(&s->known.packets, from, 8);
  memcpy(&s->known.bursts, (const char*)from + 8, 8);
  return misbehaves(s, "restore-number") ? 7 : 0;
}
#endif

static const vanity_reload reload = {.struct_bytes = sizeof(vanity_reload),
                                     .state = &description,
                                     .save = save,
                                     .restore = restore,
#ifdef PASSER_MIGRATES
                                     .migrate = migrate,
#endif
                                     .healthy = healthy};
static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                       .struct_bytes = sizeof(vanity_program),
                                       .name = "passer",
                                       .version = PASSER_NAME,
                                       .init = init,
                                       .poll = poll_once,
                                       .fini = fini,
                                       .reload = &reload};
const vanity_program* vanity_program_entry(void) {
  return &program;
}
