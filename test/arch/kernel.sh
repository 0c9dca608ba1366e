#!/usr/bin/env bash
# Builds a small Linux for the x86 guests, unless it is in the cache; prints the folder of bzImage and
# vmlinux. Debian's own kernels take minutes to boot in Bochs, and lack half of VFIO.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
version=6.12

build() {
  local source="$1/../source"
  mkdir "$source"
  unpack trixie amd64 "*/linux-source-$version.tar.xz" "linux-source-$version" "$source" &&
    tar -xf "$source/usr/src/linux-source-$version.tar.xz" -C "$source" &&
    cd "$source/linux-source-$version" &&
    make -s tinyconfig &&
    scripts/kconfig/merge_config.sh -m .config "$here/kernel.config" &&
    make -s olddefconfig || return 1
  # What this version of Linux doesn't have would otherwise be found out in the guest.
  local line
  grep 'CONFIG_' "$here/kernel.config" | while read -r line; do
    case $line in
    CONFIG*) grep -qx "$line" .config ;;
    *) ! grep -q "^$(echo "$line" | cut -d ' ' -f 2)=" .config ;;
    esac || { echo "$line was not taken" && exit 1; }
  done || return 1
  make -s -j"$(nproc)" bzImage && cp arch/x86/boot/bzImage "$1/" && strip -o "$1/vmlinux" vmlinux
}

for tool in flex bison bc make gcc; do need "$tool" "$tool"; done
need /usr/include/libelf.h libelf-dev
key=$(cat "$here/kernel.config" "$here/kernel.sh" | sha256sum | cut -c 1-12)
cached "linux-$version-$key" build
