// What an arena asks of Linux, one question each. Whoever answers no says why in errno.
#pragma once

#include <cstddef>
#include <cstdint>

#include "memory/arena.hpp"

namespace vanity::pages {

size_t bytes_of(PageKind kind);
bool transparent_is_off();
// A file of such pages; below 0: none. Then its size, and that it keeps it.
int make_file(PageKind kind, Sharing sharing);
bool size_file(int file, size_t bytes);
bool seal_file(int file);
void close_file(int file) noexcept;
// Address space; null: none. What it holds goes with it.
std::byte* reserve(size_t bytes);
void give_back(std::byte* reserved, size_t bytes) noexcept;
// Memory in it, of the file, or without one private.
bool map(std::byte* at, size_t bytes, int file);
bool make_transparent(std::byte* at, size_t bytes);
bool bind_to_node(std::byte* at, size_t bytes, uint32_t node);
// Every page present before the first packet: later there would be a fault in the data path, or a
// SIGBUS when the host has run out.
bool fill(std::byte* at, size_t bytes, int file);
bool lock(std::byte* at, size_t bytes);
// Neither in a dump nor in a child.
void keep_to_itself(std::byte* at, size_t bytes);

}  // namespace vanity::pages
