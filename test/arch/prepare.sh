#!/usr/bin/env bash
# Makes what takes minutes where nothing is cached, the kernel of the x86 guests and the prebuilds, so that it is
# there when `run` asks for it. For whoever has other work meanwhile: it waits for node_modules to be whole.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$here/kernel.sh" >/dev/null || say "no kernel yet"
until [ -e "$root/node_modules/.package-lock.json" ]; do sleep 1; done
prebuilds >/dev/null
