// What may be wrong with the code that ships, one thing at a time: the check that is to find it, the
// file, and texts that stand in it once with what they become.

const CHANNEL = 'include/vanity/channel.hpp';
const DOORBELL = 'include/vanity/doorbell.hpp';
const ATOMIC = 'include/vanity/atomic.hpp';
const PLATFORM = 'include/vanity/platform.hpp';
const WAIT = 'platform/wait.hpp';
const LINE = 'device/irq_line.hpp';
const RING = 'virtio/split_ring.hpp';
const PACKED = 'virtio/packed_ring.hpp';
const NET = 'port/virtio_net/net_queue.hpp';
const NET_PORT = 'port/virtio_net/virtio_net_port.cpp';
const INTERRUPTS = 'kernel/interrupts.cpp';
const TENURE = 'port/tenure.hpp';
const RELAY = 'shard/relay.hpp';
const WISHES = 'shard/wishes.hpp';
const VERDICT = 'shard/verdict.hpp';
const ASKING = 'kernel/asking.hpp';
const MAIL = 'kernel/mail.hpp';
const SHARD = 'shard/shard.cpp';
const IDLE = 'shard/idle.cpp';
const PACKETS = 'shard/packets.cpp';
const BOOT = 'kernel/boot.cpp';
const KERNEL = 'kernel/system.cpp';
const HANDOVER = 'shard/handover.cpp';

const mutant = (check, name, file, ...changes) => ({ check, name, file, changes });
const relaxed = (before, order, after = '') => [
  `${before}std::memory_order_${order}${after}`,
  `${before}std::memory_order_relaxed${after}`,
];

export const MUTANTS = [
  // ---- the pairs of a channel in the memory-order table, each side made relaxed
  mutant('ring', 'tail published relaxed', CHANNEL, [
    'Policy::template publish<Edge::tail>(memory_->tail, tail_)',
    'Policy::template mirror<Edge::tail>(memory_->tail, tail_)',
  ]),
  mutant('ring', 'tail observed relaxed', CHANNEL, [
    'tail_seen_ = Policy::template observe<Edge::tail>(memory_->tail)',
    'tail_seen_ = Policy::template own<Edge::tail>(memory_->tail)',
  ]),
  mutant('ring', 'head published relaxed', CHANNEL, [
    'publish<Edge::head>(memory_->head, head_)',
    'mirror<Edge::head>(memory_->head, head_)',
  ]),
  mutant('ring', 'head observed relaxed', CHANNEL, [
    '          Policy::template observe<Edge::head>(memory_->head);  // pairs with consumer',
    '          Policy::template own<Edge::head>(memory_->head);  // pairs with consumer',
  ]),
  mutant('ring', 'slot published relaxed', CHANNEL, [
    'publish<Edge::slot>(memory_->sequence(tail_), tail_ + 1)',
    'mirror<Edge::slot>(memory_->sequence(tail_), tail_ + 1)',
  ]),
  mutant('ring', 'slot observed relaxed', CHANNEL, [
    'observe<Edge::slot>(memory_->sequence(tail_seen_))',
    'own<Edge::slot>(memory_->sequence(tail_seen_))',
  ]),

  // ---- a channel's indices
  mutant('ring', 'cached head never refreshed', CHANNEL, [
    'if (room < n) [[unlikely]] {',
    'if (false) {',
  ]),
  mutant('ring', 'cached tail never refreshed', CHANNEL, [
    'if (tail_seen_ == head_) look();',
    'if (tail_seen_ == head_ && looks_empty_ == 0) look();',
  ]),
  mutant('ring', 'wrap mask off by one', CHANNEL, [
    'const uint32_t at = tail_ & (capacity_ - 1);',
    'const uint32_t at = tail_ & (capacity_ - 2);',
  ]),
  mutant('ring', 'wrap mask of the sequence off by one', CHANNEL, [
    'size_t{index & (capacity - 1)}',
    'size_t{index & (capacity - 2)}',
  ]),
  mutant('ring', 'one slot too many', CHANNEL, [
    '    uint32_t room = capacity_ - (tail_ - head_seen_);',
    '    uint32_t room = capacity_ + 1 - (tail_ - head_seen_);',
  ]),
  mutant('ring', 'a burst past the end of the ring', CHANNEL, [
    'std::min({n, room, capacity_ - at})',
    'std::min(n, room)',
  ]),
  mutant('ring', 'tail published before it moves', CHANNEL, [
    'tail_ += n;\n      Policy::template publish<Edge::tail>(memory_->tail, tail_);',
    'Policy::template publish<Edge::tail>(memory_->tail, tail_);\n      tail_ += n;',
  ]),
  mutant('ring', 'head gives one too many back', CHANNEL, [
    'publish<Edge::head>(memory_->head, head_)',
    'publish<Edge::head>(memory_->head, head_ + 1)',
  ]),
  mutant(
    'ring',
    'the last slots are never given back',
    CHANNEL,
    ['if (head_ == tail_seen_ || head_', 'if (head_'],
    ['std::max(1u, capacity_ / 4)) flush', 'std::max(3u, capacity_ / 4)) flush'],
  ),
  mutant('ring', 'an element of the lap before', CHANNEL, [
    'observe<Edge::slot>(memory_->sequence(tail_seen_)) != tail_seen_ + 1',
    'observe<Edge::slot>(memory_->sequence(tail_seen_)) + capacity_ < tail_seen_ + 1',
  ]),

  // ---- the doorbell
  mutant('doorbell', 'mark published relaxed', DOORBELL, [
    'publish<Edge::bell>(bytes[byte], uint8_t{1})',
    'mirror<Edge::bell>(bytes[byte], uint8_t{1})',
  ]),
  mutant(
    'doorbell',
    'shared mark published relaxed',
    ATOMIC,
    relaxed('word.fetch_or(bits, ', 'release'),
  ),
  mutant('doorbell', 'mark taken relaxed', ATOMIC, relaxed('word.exchange(value, ', 'acq_rel')),
  mutant('doorbell', 'shared marks by plain stores', DOORBELL, [
    'Policy::template publish_bits<Edge::bell>(bytes[byte], bits)',
    'Policy::template publish<Edge::bell>(bytes[byte], bits)',
  ]),
  mutant('doorbell', 'mark cleared by a plain store', ATOMIC, [
    'return word.exchange(value, std::memory_order_acq_rel);',
    'const T held = word.load(std::memory_order_acquire); word.store(value, std::memory_order_release); return held;',
  ]),
  mutant(
    'doorbell',
    'mark cleared after the scan',
    DOORBELL,
    [
      'const uint64_t bits = line_->take(byte);',
      'const uint64_t bits = line_->bytes[byte].load(std::memory_order_acquire);',
    ],
    [
      'pending_[input / 64] &= ~(uint64_t{1} << (input % 64));',
      'pending_[input / 64] &= ~(uint64_t{1} << (input % 64)); line_->take(grouped_ ? input / 16 : input);',
    ],
  ),
  mutant('doorbell', 'an input is forgotten once it is named', DOORBELL, [
    'if (consumers_[input].ready()) return input;\n        pending_[input / 64] &= ~(uint64_t{1} << (input % 64));',
    'pending_[input / 64] &= ~(uint64_t{1} << (input % 64));\n        if (consumers_[input].ready()) return input;',
  ]),
  mutant('doorbell', 'what is pending does not keep it awake', DOORBELL, [
    'if (word != 0) return true;\n      return false;',
    '(void)word;\n      return false;',
  ]),
  mutant('doorbell', 'a bit stands for one channel only', DOORBELL, [
    'return bits | bits << 1;\n',
    'return bits;\n',
  ]),
  mutant('doorbell', 'a producer of a group rings another byte', DOORBELL, [
    'line_->ring_bits(byte_, bit_);',
    'line_->ring_bits(byte_ + 1, bit_);',
  ]),

  // ---- sleeping and waking
  mutant('wait', 'no second look', WAIT, [
    'if (ready()) {\n      disarm();',
    'if (false) {\n      disarm();',
  ]),
  mutant('wait', 'sleeping is said after the fence', WAIT, [
    'sleeper_->sleeping.store(1, std::memory_order_relaxed);\n    if (Policy::try_heavy_fence()) return true;',
    'if (Policy::try_heavy_fence()) { sleeper_->sleeping.store(1, std::memory_order_relaxed); return true; }',
  ]),
  mutant(
    'wait',
    'the look before sleeping is said',
    WAIT,
    ['if (!monitor(watch)) {', 'if (ready()) return true;\n    if (!monitor(watch)) {'],
    ['if (ready()) {\n      disarm();', 'if (false) {\n      disarm();'],
  ),
  mutant('wait', 'no heavy fence', WAIT, [
    'if (Policy::try_heavy_fence()) return true;',
    'return true;',
  ]),
  mutant('wait', 'sleeps when another sleeper has the fence', WAIT, [
    'if (Policy::try_heavy_fence()) return true;',
    '(void)Policy::try_heavy_fence();\n    return true;',
  ]),
  mutant('wait', 'no light fence', PLATFORM, ['  Policy::light_fence();', '  ']),
  mutant('wait', 'only who finds it awake wakes', PLATFORM, [
    'sleeper.sleeping.exchange(0, std::memory_order_seq_cst) != 0',
    'sleeper.sleeping.exchange(0, std::memory_order_seq_cst) == 0',
  ]),
  mutant('wait', 'no wake', PLATFORM, ['    Policy::futex_wake(sleeper.sleeping);', '    ']),
  mutant('wait', 'the waker leaves relaxed', PLATFORM, relaxed('sleeping.exchange(0, ', 'seq_cst')),
  mutant('wait', 'who was woken looks relaxed', WAIT, [
    'if (sleeper_->sleeping.load(std::memory_order_acquire) == 0) return Wake::signalled;',
    'if (sleeper_->sleeping.load(std::memory_order_relaxed) == 0) return Wake::signalled;',
  ]),
  mutant('wait', 'a signal on its way is not waited for', WAIT, [
    'backend_ == Backend::futex && signal_follows()',
    'backend_ == Backend::futex && false',
  ]),

  // ---- interrupts
  mutant('interrupt', 'raised relaxed', LINE, relaxed('raised.store(count_, ', 'release')),
  mutant('interrupt', 'taken relaxed', LINE, relaxed('raised.load(', 'acquire')),
  mutant(
    'interrupt',
    'unmasked before it is acknowledged',
    LINE,
    [
      'const uint64_t since = words_->masked_since.exchange(0, std::memory_order_relaxed);\n    if (since == 0) return;',
      'if (words_->masked_since.load(std::memory_order_relaxed) == 0) return;\n    Policy::unmask(unmask_fd_);\n    const uint64_t since = words_->masked_since.exchange(0, std::memory_order_relaxed);',
    ],
    ['    Policy::unmask(unmask_fd_);\n  }', '  }'],
  ),
  mutant('interrupt', 'an end is not owed', LINE, [
    'if (unmask_fd_ >= 0) words_->masked_since.store(now_ticks | 1, std::memory_order_relaxed);',
    '',
  ]),
  mutant('interrupt', 'an interrupt is taken again', LINE, ['taken_ = raised;', '']),
  mutant('interrupt', 'armed without a look', RING, [
    'order_.between_store_and_look();\n    return !pending();',
    'order_.between_store_and_look();\n    return true;',
  ]),
  mutant('interrupt', 'armed without a barrier', RING, [
    'order_.between_store_and_look();\n    return !pending();',
    'return !pending();',
  ]),
  mutant(
    'interrupt',
    'the look before arming',
    RING,
    ['bool arm() noexcept {', 'bool arm() noexcept {\n    const bool none = !pending();'],
    [
      'order_.between_store_and_look();\n    return !pending();',
      'order_.between_store_and_look();\n    return none;',
    ],
  ),
  mutant('interrupt', 'used elements read early', RING, ['    order_.after_observe();', '    ']),

  mutant('interrupt', 'packed: armed without a look', PACKED, [
    'order_.between_store_and_look();\n    return !pending();',
    'order_.between_store_and_look();\n    return true;',
  ]),
  mutant('interrupt', 'packed: armed without a barrier', PACKED, [
    'order_.between_store_and_look();\n    return !pending();',
    'return !pending();',
  ]),
  mutant('interrupt', 'packed: used elements read early', PACKED, [
    '      order_.after_observe();',
    '      ',
  ]),
  mutant('interrupt', 'packed: armed for the descriptor after', PACKED, [
    'Bus::put(driver_event_->word, used_index_ |',
    'Bus::put(driver_event_->word, (used_index_ + 1) |',
  ]),
  mutant('interrupt', 'packed: seen as used on the wrong lap', PACKED, [
    '== (wrap ? kBoth : 0)',
    '== (wrap ? uint16_t{PackedDescriptor::kAvailable} : 0)',
  ]),

  // ---- a device between two programs
  mutant('relay', 'left, said relaxed', RELAY, [
    '(last | 1) + 1, std::memory_order_release)',
    '(last | 1) + 1, std::memory_order_relaxed)',
  ]),
  mutant('relay', 'begun, said relaxed', RELAY, [
    'store(last | 1, std::memory_order_release)',
    'store(last | 1, std::memory_order_relaxed)',
  ]),
  mutant('relay', 'a wish, seen relaxed', RELAY, relaxed('*wish = words_->wish.load(', 'acquire')),
  mutant('relay', 'answered, said relaxed', RELAY, relaxed('done.store(wish, ', 'release')),
  mutant('relay', 'answered, seen relaxed', RELAY, relaxed('done.load(', 'acquire')),
  mutant('relay', 'left twice, and to go on', RELAY, ['(last | 1) + 1', 'last + 1']),
  mutant('relay', 'an answer to any such wish', RELAY, [
    `return words_->done.load(std::memory_order_acquire) ==
           words_->wish.load(std::memory_order_relaxed);`,
    `return words_->done.load(std::memory_order_acquire) % 2 ==
           words_->wish.load(std::memory_order_relaxed) % 2;`,
  ]),
  mutant('relay', 'a wish that is the last one', RELAY, [
    'return *wish != words_->done.load(std::memory_order_relaxed)',
    'return *wish % 2 != words_->done.load(std::memory_order_relaxed) % 2',
  ]),
  mutant('relay', 'stands still to go on', RELAY, ['return wish % 2 == 1', 'return wish % 2 == 0']),

  // ---- whose a queue is
  mutant('tenure', 'stopped, said relaxed', TENURE, [
    'answer_.store(life + kStopped, std::memory_order_release)',
    'answer_.store(life + kStopped, std::memory_order_relaxed)',
  ]),
  mutant('tenure', 'given up, said relaxed', TENURE, [
    'answer_.store(life_ + kStopped, std::memory_order_release)',
    'answer_.store(life_ + kStopped, std::memory_order_relaxed)',
  ]),
  mutant('tenure', 'stopped, seen relaxed', TENURE, [
    'answer_.load(std::memory_order_acquire) >= life() + kStopped',
    'answer_.load(std::memory_order_relaxed) >= life() + kStopped',
  ]),
  mutant('tenure', 'parked, said relaxed', TENURE, relaxed('parked_.store(1, ', 'release')),
  mutant('tenure', 'parked, seen relaxed', TENURE, relaxed('parked_.load(', 'seq_cst', ') != 0;')),
  mutant('tenure', 'parked no more, said as a release', TENURE, [
    'parked_.exchange(0, std::memory_order_seq_cst)',
    'parked_.exchange(0, std::memory_order_release)',
  ]),
  mutant('tenure', 'parked no more, not said in one order', TENURE, [
    'parked_.exchange(0, std::memory_order_seq_cst)',
    'parked_.store(0, std::memory_order_release)',
  ]),
  mutant('tenure', 'stop asked for after the look', TENURE, [
    'asked_.exchange(asked + kStopped, std::memory_order_seq_cst)',
    'asked_.store(asked + kStopped, std::memory_order_release)',
  ]),
  mutant('tenure', 'what is asked, seen as an acquire', TENURE, [
    'asked_.load(std::memory_order_seq_cst);  // pairs with revive() and stop()',
    'asked_.load(std::memory_order_acquire);  // pairs with revive() and stop()',
  ]),
  mutant('tenure', 'released, said relaxed', TENURE, relaxed('life() + kReleased, ', 'release')),
  mutant('tenure', 'released, seen relaxed', TENURE, [
    'std::memory_order_acquire);  // pairs with release()',
    'std::memory_order_relaxed);  // pairs with release()',
  ]),
  mutant('tenure', 'drained, said relaxed', TENURE, relaxed('life_ + kDrained, ', 'release')),
  mutant('tenure', 'drained, seen relaxed', TENURE, [
    'answer_.load(std::memory_order_acquire) == life() + kDrained',
    'answer_.load(std::memory_order_relaxed) == life() + kDrained',
  ]),
  mutant(
    'tenure',
    'revived, said relaxed',
    TENURE,
    relaxed('life() + kLives + kLive, ', 'release'),
  ),
  mutant('tenure', 'revived, seen relaxed', TENURE, [
    'asked_.load(std::memory_order_seq_cst);  // pairs with revive() and stop()',
    'asked_.load(std::memory_order_relaxed);  // pairs with revive() and stop()',
  ]),
  mutant('tenure', 'an answer to any life', TENURE, [
    '>= life() + kStopped',
    '>= 0 * life() + kStopped',
  ]),
  mutant('tenure', 'works on when it gave up', TENURE, [
    'if (life == life_ && answer >= life + kStopped) return false;',
    'if (life == 0) return false;',
  ]),
  mutant('tenure', 'given back twice', TENURE, [
    'return asked == life_ + kReleased &&\n           answer_.load(std::memory_order_relaxed) != life_ + kDrained;',
    'return asked == life_ + kReleased;',
  ]),

  // ---- one program in another's place
  mutant('handover', 'wished, said relaxed', WISHES, [
    'static_cast<uint32_t>(wanted),\n                std::memory_order_release)',
    'static_cast<uint32_t>(wanted),\n                std::memory_order_relaxed)',
  ]),
  mutant('handover', 'wished, heard relaxed', WISHES, [
    'return word_.load(std::memory_order_acquire);  // pairs with wish()',
    'return word_.load(std::memory_order_relaxed);  // pairs with wish()',
  ]),
  mutant('handover', 'a step, said relaxed', WISHES, relaxed('(step), ', 'release')),
  mutant('handover', 'a step, seen relaxed', WISHES, [
    'word_.load(std::memory_order_acquire));  // pairs with set()',
    'word_.load(std::memory_order_relaxed));  // pairs with set()',
  ]),
  mutant(
    'handover',
    'the bell is rung before the wish',
    WISHES,
    [
      '    bell.ring(BasicDoorbell<Policy>::kControlReload);\n    signal(sleeper);',
      '    signal(sleeper);',
    ],
    [
      '    word_.store(posts_',
      '    bell.ring(BasicDoorbell<Policy>::kControlReload);\n    word_.store(posts_',
    ],
  ),
  mutant('handover', "the reload rings the kernel's byte", WISHES, [
    'BasicDoorbell<Policy>::kControlReload',
    'BasicDoorbell<Policy>::kControlKernel',
  ]),
  mutant('handover', 'wished without a signal', WISHES, ['    signal(sleeper);\n', '']),
  mutant('handover', 'a wish of no number', WISHES, [
    'Wishes::about(word) == settled_) return;',
    'Wishes::about(word) == ~0u) return;',
  ]),
  mutant('handover', 'concluded, and not settled', WISHES, ['settled_ = number_;', '']),
  mutant('handover', 'concluded, and still under way', WISHES, ['    current_ = nullptr;\n', '']),
  mutant('handover', 'cancelled while it is on trial', WISHES, [
    'if (wanted == Wish::undo || wanted == Wish::leave) {',
    'if (wanted == Wish::cancel) {\n        shard.refuse(Unkept::cancelled);\n      } else if (wanted == Wish::undo || wanted == Wish::leave) {',
  ]),
  mutant('handover', 'the last step is not the last', ASKING, [
    'return is_last(step()) || shard_.ended();',
    'return is_last(step()) || step() == Step::trial || shard_.ended();',
  ]),
  mutant('handover', 'nobody asks whether the shard has ended', ASKING, [
    'return is_last(step()) || shard_.ended();',
    'return is_last(step());',
  ]),
  mutant('handover', 'called off without an answer', ASKING, [
    'wait([] { return false; }, UINT64_MAX);',
    '',
  ]),
  mutant('handover', 'late, and not called off', ASKING, [
    'wait(switched, UINT64_MAX);  // it may have begun in between',
    '',
  ]),
  mutant('handover', 'done, said relaxed', ASKING, relaxed('done_.store(true, ', 'release')),
  mutant('handover', 'done, seen relaxed', ASKING, relaxed('done_.load(', 'acquire')),

  // ---- a program that was left
  mutant('handover', 'left, said relaxed', VERDICT, [
    '+ 1,\n                std::memory_order_release)',
    '+ 1,\n                std::memory_order_relaxed)',
  ]),
  mutant('handover', 'left, seen relaxed', VERDICT, relaxed('left_.load(', 'acquire')),
  mutant('handover', 'judged, said relaxed', VERDICT, [
    'static_cast<uint64_t>(verdict),\n                   std::memory_order_release)',
    'static_cast<uint64_t>(verdict),\n                   std::memory_order_relaxed)',
  ]),
  mutant('handover', 'judged, seen relaxed', VERDICT, relaxed('verdict_.load(', 'acquire')),
  mutant('handover', 'a verdict about any time', VERDICT, [
    'if (word >> kBits != left_.load(std::memory_order_relaxed)) return Verdict::none;',
    '',
  ]),
  mutant('handover', 'by hand before the evidence is read', VERDICT, [
    '(by_hand && verdict != Verdict::none)',
    'by_hand',
  ]),

  // ---- how a reload is asked for
  mutant('handover', 'posted, said relaxed', MAIL, [
    'static_cast<uint32_t>(MailState::posted),\n                std::memory_order_release)',
    'static_cast<uint32_t>(MailState::posted),\n                std::memory_order_relaxed)',
  ]),
  mutant('handover', 'posted, seen relaxed', MAIL, relaxed('state.load(', 'acquire')),
  mutant('handover', 'answered, said relaxed', MAIL, [
    'static_cast<uint32_t>(MailState::idle),\n                std::memory_order_release)',
    'static_cast<uint32_t>(MailState::idle),\n                std::memory_order_relaxed)',
  ]),
  mutant('handover', 'answered, seen relaxed', MAIL, [
    'std::memory_order_acquire);  // pairs with settle()',
    'std::memory_order_relaxed);  // pairs with settle()',
  ]),
  mutant('handover', 'two get the record', MAIL, [
    'return state.compare_exchange_strong(idle, static_cast<uint32_t>(MailState::writing),\n                                         std::memory_order_acquire);  // pairs with settle()',
    'if (state.load(std::memory_order_acquire) != idle) return false;\n    state.store(static_cast<uint32_t>(MailState::writing), std::memory_order_relaxed);\n    return true;',
  ]),

  // ---- what shards and the kernel make of it: whole systems
  mutant('system', 'let go, by the control word alone', IDLE, [
    'return let_go();',
    'return control() != Control::wait;',
  ]),
  mutant('system', 'the kernel does not ring', SHARD, [
    'line_->doorbell.ring(Doorbell::kControlKernel);',
    '',
  ]),
  mutant('system', 'the kernel does not signal', SHARD, ['signal(*line_->asleep);', '']),
  mutant('system', 'leaves with input', SHARD, [
    'if (wanted == Control::finish && inputs_empty()) return;',
    'if (wanted == Control::finish) return;',
  ]),
  mutant('system', 'no buffer is taken home', SHARD, [
    'if (!returns_.empty() && (--returns_wait_ == 0 || work == 0)) take_returns();',
    '',
  ]),
  mutant('system', 'sleeps without a second look', IDLE, [
    'ready_.watch(), [this] { return anything(); }, deadline,',
    'ready_.watch(), [] { return false; }, deadline,',
  ]),
  mutant('system', 'a mark is taken, and what it is for not looked at', IDLE, [
    'line_->doorbell.take(byte);\n    return;',
    'line_->doorbell.take(byte);',
  ]),
  mutant('system', 'sends and tells nobody', PACKETS, [
    'channel.record->bursts.add(1);\n    notify(channel);',
    'channel.record->bursts.add(1);',
  ]),
  mutant('system', 'a burst is published before it is written', PACKETS, [
    'uint32_t sent = give_to(channel, packets, n);\n  if (sent != 0) {',
    `const WritableSlots slots = channel.producer.claim(n);
  uint32_t sent = slots.count;
  if (sent != 0) {
    channel.producer.commit(sent);
    Hardware::write_elements(slots.data, slots.stride, reinterpret_cast<const std::byte*>(packets),
                             sizeof(vanity_packet), sizeof(vanity_packet), sent);`,
  ]),
  mutant('system', 'sends what had no room and tells nobody', PACKETS, [
    'channel.record->sent.add(more);\n        notify(channel);',
    'channel.record->sent.add(more);',
  ]),
  mutant('system', 'gives up on a full channel that blocks', PACKETS, [
    'pause();\n          continue;',
    'break;',
  ]),
  mutant('system', 'half an element of buffers goes home unmarked', PACKETS, [
    'if (count % kIdsPerElement != 0) ids[count] = kNoBuffer;',
    '',
  ]),
  mutant('system', 'no buffer is taken for one', PACKETS, [
    'if (i < count && ids[i] != kNoBuffer) continue;',
    'if (i < count) continue;',
  ]),
  mutant('system', 'a burst goes home but for its last', PACKETS, [
    'homes_[pool].send(ids, (count + kIdsPerElement - 1) / kIdsPerElement)',
    'homes_[pool].send(ids, count / kIdsPerElement)',
  ]),
  mutant('system', 'all channels ring one byte', BOOT, [
    'bell = Bell(&to.line().doorbell, place, inputs[plan.to]);',
    'bell = Bell(&to.line().doorbell, 0, inputs[plan.to]);',
  ]),
  mutant('system', 'nobody rings who should', BOOT, [
    'bell = Bell(&to.line().doorbell, place, inputs[plan.to]);',
    '',
  ]),
  mutant('system', 'what a program held when it was left stays with it', 'shard/recover.cpp', [
    'give_home(&packet, 1);',
    'static_cast<void>(packet);',
  ]),
  mutant('system', 'what it held is not counted', 'shard/recover.cpp', [
    'record_->dropped.add(lost);\n  record_->dropped_fault',
    'record_->dropped_fault',
  ]),
  mutant('system', 'one that is down leaves while it is fed', 'shard/recover.cpp', [
    'if (control() == Control::finish && inputs_empty()) break;',
    'break;',
  ]),
  mutant('system', 'told to leave while it is fed', KERNEL, ['if (fed(s)) continue;', '']),
  mutant('system', 'an owner too many', 'shard/stage/mirror.cpp', [
    'shard.share(packets[i], outputs);',
    'shard.share(packets[i], outputs + 1);',
  ]),

  // ---- one program in another's place, in whole systems
  mutant('system', 'polled before the state has arrived', HANDOVER, [
    'if (handover.was != nullptr) {\n    const int refusal = handover.migrates ?',
    'if (false) {\n    const int refusal = handover.migrates ?',
  ]),
  mutant('system', 'switched while packets are held', HANDOVER, [
    'return holds() == 0 && again_.empty() &&',
    'return',
  ]),
  mutant('system', 'undone, and what the new one took is not given again', HANDOVER, [
    '  hold_again();\n',
    '',
  ]),
  mutant('system', 'what comes again, comes after what waits', HANDOVER, [
    'if (!again_.empty()) {\n    const auto got',
    'if (!again_.empty() && inputs_empty()) {\n    const auto got',
  ]),
  mutant('system', 'what comes again, comes once more', HANDOVER, ['    again_at_ += got;\n', '']),
  mutant('system', 'the new one faults, and is started anew', 'shard/recover.cpp', [
    'handover != nullptr && handover->switched',
    'false',
  ]),
  // ---- pages that cannot be had
  mutant('system', 'the file of pages that were refused stays', 'memory/arena.cpp', [
    '  if (fd_ >= 0) pages::close_file(fd_);\n',
    '',
  ]),
  mutant('system', 'what could not be filled stays reserved', 'memory/arena.cpp', [
    '    note(which + what + ": " + std::strerror(errno));\n    unmap();',
    '    note(which + what + ": " + std::strerror(errno));\n    base_ = reserved_ = nullptr;',
  ]),
  mutant('system', 'no other pages where the largest are refused', 'memory/arena.cpp', [
    'if (try_map(kind, numa_node)) break;',
    'try_map(kind, numa_node);\n      break;',
  ]),
  mutant('system', 'an arena says what it was asked for', 'memory/arena.cpp', [
    '  kind_ = kind;\n',
    '  kind_ = PageKind::huge_2m;\n',
  ]),
  mutant('system', 'a reload outlives its system', KERNEL, [
    'if (!reloads_->close()) {',
    'if (false) {',
  ]),
  // ---- devices, and their interrupts
  mutant('system', 'a used id is not looked up', RING, [
    'if (!book_.lent(id)) [[unlikely]] {',
    'if (false) {',
  ]),
  mutant('system', 'more is used than was lent', RING, [
    'if (ready > book_.out()) [[unlikely]] {',
    'if (false) {',
  ]),
  mutant('system', 'armed for what has come', RING, ['return !pending();', 'return true;']),
  mutant('system', 'descriptors shown before they are there', RING, [
    '    order_.before_publish();\n',
    '',
  ]),
  mutant('system', 'used elements read before their index', RING, [
    '    order_.after_observe();\n',
    '',
  ]),
  mutant('system', 'asks whether to tell before it shows', RING, [
    'shown_ = available_index_;\n    order_.between_store_and_look();',
    'shown_ = available_index_;',
  ]),
  mutant('system', 'tells who does not want to be told', RING, [
    '(Bus::look(used_ring_->flags) & UsedRing::kNoNotify) == 0',
    '(Bus::look(used_ring_->flags) & UsedRing::kNoNotify) != 0',
  ]),
  mutant('system', 'the length of a frame is believed', NET, [
    'if (!lengths_are_right(used, sizeof header)) [[unlikely]] {\n        lied(pool, used.token);\n        continue;\n      }\n      uint8_t* const buffer = pool.buffer(used.token);\n      // Without',
    'uint8_t* const buffer = pool.buffer(used.token);\n      // Without',
  ]),
  mutant('system', 'a queue whose device lies is not given up', NET, [
    '    if (ring_->broken()) [[unlikely]]\n      tenure.give_up();\n    return count;',
    '    return count;',
  ]),
  mutant('system', 'what a queue held is not given back', NET, [
    'for (uint32_t got; (got = take_back(packets, kRefill)) != 0;) pool.give(packets, got);',
    'for (uint32_t got; (got = take_back(packets, kRefill)) != 0;) packets[0].buffer = got;',
  ]),
  mutant('system', 'buffers are given, and nobody is told', NET, [
    '} while (want != 0 && pool.free_count() != 0);\n    if (ring_->publish()) notify_(ring_->notification(setup_.queue));',
    '} while (want != 0 && pool.free_count() != 0);\n    ring_->publish();',
  ]),
  mutant('system', 'suppressed, and taken for armed', NET, [
    'if (armed_) disarm();',
    'if (armed_) ring_->suppress();',
  ]),
  mutant('system', 'a ring is made anew with what was in it', NET_PORT, [
    'virtio::HardwareBus::clear(slot.memory.data, bytes);',
    'static_cast<void>(bytes);',
  ]),
  mutant('system', 'the kernel has an interrupt and does not ring', INTERRUPTS, [
    'source.shard->doorbell.ring(Doorbell::kControlIrq);',
    '',
  ]),
  mutant('system', 'the kernel has an interrupt and wakes nobody', INTERRUPTS, [
    'signal(*source.shard->asleep);',
    '',
  ]),
];
