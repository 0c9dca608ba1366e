// A channel as scenarios use it: its memory is part of theirs, and its words have names.
#pragma once

#include "cases.hpp"
#include "vanity/channel.hpp"

namespace cases {

// So that the index wraps after the second element.
inline constexpr uint32_t kFirst = 0xfffffffeu;

template <uint32_t kCapacity, vanity::Layout kLayout>
struct Ring {
  static constexpr vanity::ChannelSpec kSpec{kCapacity, sizeof(Element), kLayout};
  using Channel = vanity::BasicChannel<Policy>;
  static constexpr size_t kBytes =
      Channel::Memory::bytes_needed(kCapacity, sizeof(Element), kLayout);

  Ring() : channel(Channel::create(memory, kSpec, kFirst)) {
    producer = channel.producer();
    consumer = channel.consumer();
    auto* at = channel.memory();
    World::current().name_atomic(&at->tail, 4, "tail");
    World::current().name_atomic(&at->head, 4, "head");
    for (uint32_t i = 0; i < kCapacity; ++i) {
      static const char* const slots[] = {"slot 0", "slot 1", "slot 2", "slot 3"};
      static const char* const words[] = {"seq 0", "seq 1", "seq 2", "seq 3"};
      World::current().name(at->slots() + size_t{i} * at->slot_bytes, 16, slots[i]);
      if (kLayout == vanity::Layout::latency)
        World::current().name_atomic(&at->sequence(i), 4, words[i]);
    }
  }

  alignas(vanity::kIsolationBytes) std::byte memory[kBytes];
  Channel channel;
  vanity::BasicProducer<Policy> producer;
  vanity::BasicConsumer<Policy> consumer;
};

}  // namespace cases
