/* The C ABI of a native program: a shared object that a shard loads and polls.
 *
 * A module exports `vanity_program_entry`, which returns a description. `init` runs once on the
 * shard's own core before traffic; `poll` runs for ever: take a burst, do the work, return how many
 * elements were handled (0 = idle, and the shard may sleep). Nothing in `poll` may block or
 * allocate.
 *
 * Every function below is called on the shard's own thread with the shard it was given; calling it
 * from another thread is undefined. A descriptor handed to `vanity_send` or `vanity_free` is gone.
 */
#ifndef VANITY_PROGRAM_H
#define VANITY_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "packet.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VANITY_ABI_VERSION 1u
#define VANITY_EXPORT __attribute__((visibility("default")))

typedef struct vanity_shard vanity_shard;
typedef struct vanity_channel vanity_channel;
typedef struct vanity_counter vanity_counter;

typedef enum vanity_log_level {
  VANITY_LOG_DEBUG = 0,
  VANITY_LOG_INFO = 1,
  VANITY_LOG_WARN = 2,
  VANITY_LOG_ERROR = 3
} vanity_log_level;

typedef struct vanity_program {
  uint32_t abi_version;  /* VANITY_ABI_VERSION of the header it was compiled with */
  uint32_t struct_bytes; /* sizeof(vanity_program) */
  const char* name;
  const char* version;
  /* 0, or a positive number that the error message shows. Optional. */
  int (*init)(vanity_shard* shard, void** state);
  /* Elements handled. Required. */
  uint32_t (*poll)(vanity_shard* shard, void* state);
  /* Called once after the last poll. Optional. */
  void (*fini)(vanity_shard* shard, void* state);
  /* A channel's depth crossed a watermark of the manifest: high = 1 on the way up. Optional. */
  void (*watermark)(vanity_shard* shard, void* state, vanity_channel* channel, int high);
} vanity_program;

/* The functions the runtime offers. Grows only at the end; struct_bytes tells how far it goes. */
typedef struct vanity_api {
  uint32_t abi_version;
  uint32_t struct_bytes;

  /* -- packets: from every input of the shard, to one output ---------------------------------- */
  /* Up to n descriptors from channels and ports that have some; the caller owns them. */
  uint32_t (*receive)(vanity_shard*, vanity_packet* packets, uint32_t n);
  /* Hands n packets to output `index` (channels first, then ports, in manifest order). Takes all of
   * them: what the output's overflow policy refuses is freed and counted. Returns how many went;
   * with overflow = "program" the refused ones stay the caller's, the last n - result. */
  uint32_t (*send)(vanity_shard*, uint32_t index, const vanity_packet* packets, uint32_t n);
  void (*free_packets)(vanity_shard*, const vanity_packet* packets, uint32_t n);
  /* As free, but counted as discarded by decision. */
  void (*discard)(vanity_shard*, const vanity_packet* packets, uint32_t n);
  /* Fresh buffers of the shard's own pool (a [ports] pool, or options.buffers). */
  uint32_t (*allocate)(vanity_shard*, vanity_packet* packets, uint32_t n);
  uint8_t* (*data)(vanity_shard*, const vanity_packet* packet);
  uint32_t (*room)(vanity_shard*, const vanity_packet* packet); /* bytes from data to buffer end */

  /* -- messages: fixed-size elements of one channel -------------------------------------------- */
  uint32_t (*input_count)(const vanity_shard*);
  uint32_t (*output_count)(const vanity_shard*);
  vanity_channel* (*input)(vanity_shard*, uint32_t index);
  vanity_channel* (*output)(vanity_shard*, uint32_t index);
  vanity_channel* (*channel)(vanity_shard*, const char* name); /* NULL when not this shard's */
  const char* (*channel_name)(const vanity_channel*);
  uint32_t (*element_bytes)(const vanity_channel*);
  /* Up to n contiguous slots to write; the granted count in *got. Nothing is visible until commit.
   */
  void* (*claim)(vanity_channel*, uint32_t n, uint32_t* got);
  void (*commit)(vanity_channel*, uint32_t n);
  /* Up to n contiguous elements to read; they stay until release. */
  const void* (*peek)(vanity_channel*, uint32_t n, uint32_t* got);
  void (*release)(vanity_channel*, uint32_t n);
  uint32_t (*send_copy)(vanity_channel*, const void* elements, uint32_t n);
  uint32_t (*receive_copy)(vanity_channel*, void* elements, uint32_t n);

  /* -- the rest ----------------------------------------------------------------------------------
   */
  const char* (*option)(const vanity_shard*, const char* key); /* NULL when the manifest has none */
  void* (*arena_allocate)(vanity_shard*, size_t bytes, size_t align); /* in init only */
  vanity_counter* (*counter)(vanity_shard*, const char* name);        /* in init only */
  void (*count)(vanity_counter*, uint64_t n);
  void (*log)(vanity_shard*, vanity_log_level, const char* text); /* in init and fini only */
  uint64_t (*now_ns)(void);
  const char* (*shard_name)(const vanity_shard*);
} vanity_api;

/* The first word of a shard is the table, so that a module links against nothing. */
struct vanity_shard_head {
  const vanity_api* api;
};
static inline const vanity_api* vanity_api_of(const vanity_shard* shard) {
  return ((const struct vanity_shard_head*)shard)->api;
}

static inline uint32_t vanity_receive(vanity_shard* s, vanity_packet* p, uint32_t n) {
  return vanity_api_of(s)->receive(s, p, n);
}
static inline uint32_t vanity_send(vanity_shard* s, uint32_t output, const vanity_packet* p,
                                   uint32_t n) {
  return vanity_api_of(s)->send(s, output, p, n);
}
static inline void vanity_free(vanity_shard* s, const vanity_packet* p, uint32_t n) {
  vanity_api_of(s)->free_packets(s, p, n);
}
static inline void vanity_discard(vanity_shard* s, const vanity_packet* p, uint32_t n) {
  vanity_api_of(s)->discard(s, p, n);
}
static inline uint8_t* vanity_data(vanity_shard* s, const vanity_packet* p) {
  return vanity_api_of(s)->data(s, p);
}

/* What the module exports. */
VANITY_EXPORT const vanity_program* vanity_program_entry(void);

#ifdef __cplusplus
}
#endif
#endif
