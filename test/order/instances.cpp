// Makes the compiler write out what is otherwise inlined into its callers, so that each function of
// the table has a symbol. Compiled, disassembled, never run.
#include "device/irq_line.hpp"
#include "kernel/mail.hpp"
#include "kernel/reload.hpp"
#include "kernel/system.hpp"
#include "memory/pool.hpp"
#include "platform/wait.hpp"
#include "port/tenure.hpp"
#include "shard/shard.hpp"
#include "vanity/channel.hpp"
#include "vanity/doorbell.hpp"
#include "vanity/events.hpp"

namespace vanity {

template class BasicProducer<Hardware>;
template class BasicConsumer<Hardware>;
template struct BasicDoorbell<Hardware>;
template class BasicWaiter<Hardware>;
template class BasicStep<Hardware>;
template class BasicWishes<Handover, Hardware>;
template class BasicVerdicts<Hardware>;
template class BasicRelay<Hardware>;
template struct BasicMail<Hardware>;
template class BasicAsking<Shard, Handover, ReloadClock>;
template void signal(BasicSleeper<Hardware>&) noexcept;
template void signal_slow(BasicSleeper<Hardware>&) noexcept;

auto light_fence_ = &light_fence;
auto full_fence_ = &detail::full_fence;
auto control_ = static_cast<Control (Shard::*)() const noexcept>(&Shard::control);
auto set_state_ = &Shard::set_state;
auto shard_state_ = static_cast<ShardState (Shard::*)() const noexcept>(&Shard::state);
auto has_failed_ = &Shard::has_failed;
auto conceal_ = &Shard::conceal;
auto exposed_ = &Shard::exposed;
auto system_state_ = &System::state;
auto release_ = &PoolTable::release;
auto write_event_ = &write_event;
auto copy_event_ = &copy_event;
auto events_written_ = &events_written;
auto irq_raise_ = &IrqLine::raise;
auto irq_take_ = &IrqLine::take;

auto grant_news_ = &vanity_device::news;
auto grant_follow_ = &vanity_device::follow;
auto grant_let_go_ = &vanity_device::let_go;
auto grant_give_back_ = &vanity_device::give_back;
auto tenure_live_ = &Tenure::live;
auto tenure_give_up_ = &Tenure::give_up;
auto tenure_stop_ = &Tenure::stop;
auto tenure_stopped_ = &Tenure::stopped;
auto tenure_park_ = &Tenure::park;
auto tenure_release_ = &Tenure::release;
auto tenure_released_ = &Tenure::released;
auto tenure_drain_ = &Tenure::drain;
auto tenure_drained_ = &Tenure::drained;
auto tenure_revive_ = &Tenure::revive;

}  // namespace vanity
