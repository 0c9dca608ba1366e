// What a sanitizer takes away from a test: it has its own idea of time, of a full stack, and of
// abort.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Nothing may fault under TSan, which takes a thread that left a handler by a jump to be in it
// still.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitized = true;
#else
inline constexpr bool kThreadSanitized = false;
#endif
