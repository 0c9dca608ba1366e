# A system of an ordinary user: with device nodes that are his, or that a parent left open, on both backends.
# host: node scripts/build.js
# kernel: own
# limit: 300
. test/guest/guest.sh

bind_vfio "$edu" || exit 1
export HOME=/run/user XDG_RUNTIME_DIR=/run/user TMPDIR=/run/user
install -d -o 1000 -g 1000 $HOME
as_user=(setpriv --reuid 1000 --regid 1000 --clear-groups)
# One shard of strayer.js looks at what it was granted. Its output must hold $1.
system() {
  local expected=$1 output
  shift
  output=$("$@" node dist/cli/main.js run test/guest/programs/strayer.toml --duration 500ms --set "devices.edu.backend=\"$backend\"" 2>&1)
  echo "$output" | grep -E "$expected" && return
  echo "$output"
  return 1
}
had() { echo "^edu .* vfio +$backend +returned"; }

refused() { system VANITY_E_VFIO_PERMISSION "${as_user[@]}"; }
owned() {
  chown 1000 "${nodes[@]}"
  system "$(had)" "${as_user[@]}"
  local code=$?
  chown 0 "${nodes[@]}"
  return $code
}
# A shell with the rights opens the nodes, and gives itself up for the system.
leave_open() { exec 3<>"${nodes[0]}" 4<>"${nodes[1]}" && LISTEN_FDS=2 LISTEN_PID=$BASHPID exec "$@"; }
inherited() { system "$(had)" leave_open "${as_user[@]}"; }

backend=group nodes=("/dev/vfio/$(group_of "$edu")" /dev/vfio/vfio)
step refused
step owned
step inherited
backend=cdev nodes=("/dev/vfio/devices/$(ls "/sys/bus/pci/devices/$edu/vfio-dev")" /dev/iommu)
step refused
step owned
step inherited
exit $failures
