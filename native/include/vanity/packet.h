/* What a packet is between shards: a descriptor. The bytes stay in a buffer of the pool that
 * received them; the descriptor moves by channel, 16 bytes, and whoever holds it owns the buffer.
 *
 *   0        4        8    10     12    14    16
 *   | buffer | hash   | off| len  | port| flg |
 */
#ifndef VANITY_PACKET_H
#define VANITY_PACKET_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The buffer behind the descriptor has other owners (mirror); free it by counting. */
#define VANITY_PACKET_SHARED 0x0001u
/* The packet was longer on the wire than the bytes held (snap length). */
#define VANITY_PACKET_TRUNCATED 0x0002u
/* The transport checksum is not finished: its field holds the sum of the pseudo header only, and
 * vanity_packet_offload says where it is. Whoever puts the frame on a wire finishes it, or lets the
 * device do so. Never together with VANITY_PACKET_SHARED. */
#define VANITY_PACKET_CHECKSUM_PARTIAL 0x0004u
/* A device has looked at the transport checksum and found it right. */
#define VANITY_PACKET_CHECKSUM_VALID 0x0008u
/* One of those whose way is noted (vanity trace --packets): its number is in the meta data. A
 * program that makes a descriptor of its own for the buffer leaves it out, and the way ends there.
 */
#define VANITY_PACKET_SAMPLED 0x0010u

typedef struct vanity_packet {
  uint32_t buffer; /* pool index in the top 8 bits, buffer index in the low 24 */
  uint32_t hash;   /* symmetric flow hash, 0 when nobody computed it */
  uint16_t offset; /* bytes from the start of the buffer to the first byte of the frame */
  uint16_t length; /* bytes of the frame held in the buffer */
  uint16_t port;   /* index of the port it came in by, in manifest order */
  uint16_t flags;  /* VANITY_PACKET_* */
} vanity_packet;

/* In front of the frame in the same cache line, so that reading both costs one line. Written by the
 * receiving port. Lives at VANITY_HEADROOM_BYTES in every buffer. */
typedef struct vanity_packet_meta {
  uint64_t timestamp_ns; /* CLOCK_REALTIME, or the capture's own time; 0 when unknown */
  uint32_t wire_length;  /* bytes on the wire, may exceed `length` of the descriptor */
  uint32_t sample;       /* with VANITY_PACKET_SAMPLED: which one it is; else nothing */
} vanity_packet_meta;

/* With VANITY_PACKET_CHECKSUM_PARTIAL, at VANITY_OFFLOAD_OFFSET in the buffer: what is summed, to
 * the frame's end, and where the sum belongs. Both count from the start of the buffer, so that they
 * stay right when headers are put in front of the frame or taken away. Both 0: it is finished. */
typedef struct vanity_packet_offload {
  uint16_t checksum_start;
  uint16_t checksum_field;
} vanity_packet_offload;

#define VANITY_OFFLOAD_OFFSET 48u
#define VANITY_HEADROOM_BYTES 64u
#define VANITY_FRAME_OFFSET (VANITY_HEADROOM_BYTES + 16u)

#ifdef __cplusplus
}
static_assert(sizeof(vanity_packet) == 16 && sizeof(vanity_packet_meta) == 16);
#endif
#endif
