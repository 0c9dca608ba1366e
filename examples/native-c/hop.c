/* What a router does to every packet: one hop less to live, and a checksum that still fits.
 * Packets with no hops left, and what is not IP, end here. */
#include <vanity/program.h>

enum { kEthernetBytes = 14, kIpv4Bytes = 20, kIpv6Bytes = 40 };
enum { kTypeIpv4 = 0x0800, kTypeIpv6 = 0x86dd, kTypeVlan = 0x8100, kTypeQinQ = 0x88a8 };

typedef struct hop_state {
  vanity_counter* routed;
  vanity_counter* expired;
  vanity_counter* not_ip;
  vanity_counter* pressure;
} hop_state;

typedef enum verdict { ROUTED, EXPIRED, NOT_IP } verdict;

static uint32_t word(const uint8_t* at) {
  return (uint32_t)at[0] << 8 | at[1];
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m'), in one's complement. */
static void ipv4_hop(uint8_t* ip) {
  const uint32_t before = word(ip + 8);
  ip[8]--;
  uint32_t sum = (~word(ip + 10) & 0xffff) + (~before & 0xffff) + word(ip + 8);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = ~sum & 0xffff;
  ip[10] = (uint8_t)(sum >> 8);
  ip[11] = (uint8_t)sum;
}

/* Every byte may be hostile: nothing is read before its offset was held against the length. */
static verdict hop(uint8_t* frame, uint32_t length) {
  uint32_t at = kEthernetBytes;
  if (length < at) return NOT_IP;
  uint32_t type = word(frame + 12);
  while ((type == kTypeVlan || type == kTypeQinQ) && length >= at + 4) {
    type = word(frame + at + 2);
    at += 4;
  }
  if (type == kTypeIpv4 && length >= at + kIpv4Bytes && frame[at] >> 4 == 4) {
    if (frame[at + 8] <= 1) return EXPIRED;
    ipv4_hop(frame + at);
    return ROUTED;
  }
  if (type == kTypeIpv6 && length >= at + kIpv6Bytes && frame[at] >> 4 == 6) {
    if (frame[at + 7] <= 1) return EXPIRED;
    frame[at + 7]--; /* IPv6 has no header checksum */
    return ROUTED;
  }
  return NOT_IP;
}

static int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  if (api->output_count(shard) == 0) {
    api->log(shard, VANITY_LOG_ERROR, "it needs an output for the packets it routes");
    return 1;
  }
  hop_state* self = api->arena_allocate(shard, sizeof(hop_state), 64);
  if (self == NULL) return 2;
  self->routed = api->counter(shard, "routed");
  self->expired = api->counter(shard, "expired");
  self->not_ip = api->counter(shard, "not_ip");
  self->pressure = api->counter(shard, "pressure");
  *state = self;
  return 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  const vanity_api* api = vanity_api_of(shard);
  const hop_state* self = state;
  vanity_packet packets[64];
  vanity_packet routed[64];
  vanity_packet ended[64];
  uint32_t count[3] = {0, 0, 0};
  uint32_t ends = 0;
  const uint32_t got = vanity_receive(shard, packets, 64);
  if (got == 0) return 0;
  for (uint32_t i = 0; i < got; ++i) {
    const verdict is = hop(vanity_data(shard, &packets[i]), packets[i].length);
    if (is == ROUTED) {
      routed[count[ROUTED]] = packets[i];
    } else {
      ended[ends++] = packets[i];
    }
    ++count[is];
  }
  /* A descriptor that is sent or discarded belongs to somebody else. */
  if (count[ROUTED] != 0) vanity_send(shard, 0, routed, count[ROUTED]);
  if (ends != 0) vanity_discard(shard, ended, ends);
  api->count(self->routed, count[ROUTED]);
  api->count(self->expired, count[EXPIRED]);
  api->count(self->not_ip, count[NOT_IP]);
  return got;
}

/* The channel ran full to the manifest's high_watermark, or has drained to low_watermark again. */
static void watermark(vanity_shard* shard, void* state, vanity_channel* channel, int high) {
  const hop_state* self = state;
  (void)channel;
  if (high) vanity_api_of(shard)->count(self->pressure, 1);
}

const vanity_program* vanity_program_entry(void) {
  static const vanity_program program = {
      .abi_version = VANITY_ABI_VERSION,
      .struct_bytes = sizeof(vanity_program),
      .name = "hop",
      .version = "1.0",
      .init = init,
      .poll = poll,
      .watermark = watermark,
  };
  return &program;
}
