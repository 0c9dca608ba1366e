// Shards, channels and ports that are to come into a running system, or to go, as texts of the
// mailbox: each behind its length, so that a path or an option may hold any byte.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "shard/plan.hpp"

namespace vanity {

// Who is there already has an index, and who comes has none yet: so by names.
struct NewShard {
  ShardPlan plan;
  std::string primary;  // channel; empty: none
};
struct NewChannel {
  ChannelPlan plan;
  std::string from;
  std::string to;
};

struct NewPort {
  PortPlan plan;
  std::vector<std::string> rx;  // shard of each queue
  std::vector<std::string> tx;
};

// Of one that is there.
struct Rename {
  std::string from;
  std::string to;
};

struct Parts {
  // What makes room by its name for what comes, or has it again.
  std::vector<Rename> shard_renames;
  std::vector<Rename> channel_renames;
  // What comes.
  std::vector<NewShard> shards;
  std::vector<NewChannel> channels;
  std::vector<NewPort> ports;
  // What goes; a port with its shards.
  std::vector<std::string> shard_names;
  std::vector<std::string> channel_names;
};

// "4:rate6:200000"; what is no such text ends the list.
std::string pack_texts(const std::vector<std::string>& texts);
std::vector<std::string> unpack_texts(const std::string& packed);
std::string pack_options(const std::map<std::string, std::string>& options);
std::map<std::string, std::string> unpack_options(const std::string& packed);

std::string pack_parts(const Parts& parts);
// Another process may have written it: any value is possible, and a part that is no part is left
// out.
Parts unpack_parts(const std::string& packed);

}  // namespace vanity
