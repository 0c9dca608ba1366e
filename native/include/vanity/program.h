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

/* A module for `vanity sim` is compiled with VANITY_SIM: this bit says so, and neither runtime
 * takes the other's modules. The headers in C++ then speak to the simulator instead of the
 * processor. */
#define VANITY_ABI_SIM 0x80000000u
#ifdef VANITY_SIM
#define VANITY_ABI_VERSION (1u | VANITY_ABI_SIM)
#else
#define VANITY_ABI_VERSION 1u
#endif
#define VANITY_EXPORT __attribute__((visibility("default")))

typedef struct vanity_shard vanity_shard;
typedef struct vanity_channel vanity_channel;
typedef struct vanity_counter vanity_counter;
typedef struct vanity_device vanity_device;

typedef enum vanity_log_level {
  VANITY_LOG_DEBUG = 0,
  VANITY_LOG_INFO = 1,
  VANITY_LOG_WARN = 2,
  VANITY_LOG_ERROR = 3
} vanity_log_level;

/* What became of a device that was granted. Once it is wanted or lost, nothing reaches it from the
 * return of device_event on. */
typedef enum vanity_device_state {
  VANITY_DEVICE_GRANTED = 0,
  VANITY_DEVICE_WANTED = 1,  /* Linux asks for it: stop what is under way, let go */
  VANITY_DEVICE_LOST = 2,    /* it failed, or is gone already */
  VANITY_DEVICE_RETURNED = 3 /* stopped and closed; nothing writes to its memory any more */
} vanity_device_state;

/* Memory that a device reads and writes. Behind an IOMMU the device sees all of it in a row,
 * `pages` is one address and `page_shift` 63. Without one `pages` holds an address for each
 * 2^page_shift bytes. */
typedef struct vanity_dma {
  void* data;
  uint64_t bytes;
  uint64_t iova; /* what the device is told for `data` */
  const uint64_t* pages;
  uint32_t page_shift;
  uint32_t reserved;
} vanity_dma;

/* What a state that a reload hands on looks like. The runtime compares two of them field by field,
 * by name, so that neither program has to know the other. */
typedef enum vanity_type {
  VANITY_TYPE_BYTES = 0, /* whatever the program makes of them */
  VANITY_TYPE_U8 = 1,
  VANITY_TYPE_U16 = 2,
  VANITY_TYPE_U32 = 3,
  VANITY_TYPE_U64 = 4,
  VANITY_TYPE_I8 = 5,
  VANITY_TYPE_I16 = 6,
  VANITY_TYPE_I32 = 7,
  VANITY_TYPE_I64 = 8,
  VANITY_TYPE_F32 = 9,
  VANITY_TYPE_F64 = 10
} vanity_type;

typedef struct vanity_field {
  const char* name;
  uint32_t type;   /* vanity_type */
  uint32_t offset; /* of its first element, in bytes */
  uint32_t count;  /* elements */
  uint32_t stride; /* bytes from one element to the next; 0: they lie side by side */
} vanity_field;

/* A field that is one member of a struct. */
#define VANITY_STATE_FIELD(record, member, type) \
  { #member, type, offsetof(record, member), 1, 0 }

typedef struct vanity_state {
  const char* name;
  uint32_t version; /* of what the fields mean; the program's own number */
  uint32_t field_count;
  const vanity_field* fields;
  uint64_t bytes;
} vanity_state;

/* How a program hands on what it knows, and takes over what another knew. All but `state` is
 * optional, and `state` too when there is nothing to hand on. */
typedef struct vanity_reload {
  uint32_t struct_bytes; /* sizeof(vanity_reload) */
  uint32_t reserved;
  const vanity_state* state;
  /* Writes state->bytes, and changes nothing that poll needs: the program may have to go on. 0, or
   * a positive number that refuses the reload. */
  int (*save)(vanity_shard* shard, void* state, void* into);
  /* What save of a program with the same description wrote. As above. */
  int (*restore)(vanity_shard* shard, void* state, const void* from);
  /* What save of a program with another description wrote. As above. */
  int (*migrate)(vanity_shard* shard, void* state, const vanity_state* was, const void* from);
  /* After each of the first bursts: 0, or a positive number that brings the old program back. */
  int (*healthy)(vanity_shard* shard, void* state);
} vanity_reload;

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
  /* A device of this shard is wanted, lost or returned. Between two polls. Optional; a program that
   * was compiled without it is as good. */
  void (*device_event)(vanity_shard* shard, void* state, vanity_device* device,
                       vanity_device_state news);
  /* How it is replaced while it runs. Optional, as above. */
  const vanity_reload* reload;
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

  /* -- devices: what [devices] grants to this shard ---------------------------------------------
   */
  vanity_device* (*device)(vanity_shard*,
                           const char* name); /* NULL: nothing of it is this shard's */
  const char* (*device_name)(const vanity_device*);
  vanity_device_state (*device_state)(const vanity_device*);
  /* One register of 1, 2, 4 or 8 bytes at `offset` in the BAR, ordered against memory that the
   * device shares. 1, or 0 when it is not aligned, not within a grant, or the device is gone: then
   * nothing was touched. */
  int (*register_read)(vanity_device*, uint32_t bar, uint64_t offset, uint32_t width,
                       uint64_t* value);
  int (*register_write)(vanity_device*, uint32_t bar, uint64_t offset, uint32_t width,
                        uint64_t value);
  /* The registers themselves, for a data path that orders its own accesses; NULL when the range is
   * not within one grant. Stays mapped: from `returned` on it is memory that reads all ones. */
  volatile void* (*registers)(vanity_device*, uint32_t bar, uint64_t offset, uint64_t bytes);
  const vanity_dma* (*dma)(vanity_device*, const char* name); /* NULL when there is none */
  /* How often the vector fired since the last look; what the device wrote before it is there. */
  uint64_t (*irq_take)(vanity_device*, uint32_t vector);
  /* With eoi = "delayed": the device was acknowledged, the line may fire again. */
  void (*irq_done)(vanity_device*, uint32_t vector);
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

/* What is refused reads all ones, as from a device that is gone. */
static inline uint32_t vanity_read32(vanity_shard* s, vanity_device* d, uint32_t bar,
                                     uint64_t offset) {
  uint64_t value = 0;
  return vanity_api_of(s)->register_read(d, bar, offset, 4, &value) ? (uint32_t)value : 0xffffffffu;
}
static inline void vanity_write32(vanity_shard* s, vanity_device* d, uint32_t bar, uint64_t offset,
                                  uint32_t value) {
  vanity_api_of(s)->register_write(d, bar, offset, 4, value);
}
static inline uint64_t vanity_irq_take(vanity_shard* s, vanity_device* d, uint32_t vector) {
  return vanity_api_of(s)->irq_take(d, vector);
}
static inline void vanity_irq_done(vanity_shard* s, vanity_device* d, uint32_t vector) {
  vanity_api_of(s)->irq_done(d, vector);
}

/* What the module exports. */
VANITY_EXPORT const vanity_program* vanity_program_entry(void);

#ifdef __cplusplus
}
#endif
#endif
