// The eventfds of vectors, which simulated devices write and the kernel waits for.
#pragma once

namespace vanity::sim {

// A new one, without a descriptor of Linux's behind it; as long as the execution.
int make_vector();
// Is it written and not yet read? No step.
bool is_raised(int fd);
// Before the system is made.
void forget_events();

}  // namespace vanity::sim
