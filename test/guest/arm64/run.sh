#!/usr/bin/env bash
# run.sh JOB: the programs that a job names ("# programs:"), cross-built, in a guest behind Arm's IOMMU:
# Debian's arm64 kernel, SMMUv3, a GIC with ITS, by QEMU 10; and its script ("# script:") in Node for arm64, with what an
# installed package has. The last line is "N passed, N failed".
. "$(dirname "${BASH_SOURCE[0]}")/../../arch/lib.sh"
folder=$root/test/guest/arm64
job=${1:?"usage: test/guest/run arm64"}
tests=$(sed -n 's/^# programs: //p' "$job")
need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
need cpio cpio
PATH=$PATH:/usr/sbin:/sbin

# Debian's kernel with the modules that devices and VFIO need, in the order in which they load.
guest_of() { # FOLDER
  local release module name files
  files=$(mktemp -d)
  unpack bookworm arm64 '*' ^ linux-image-arm64 "$files" || return 1
  unpack bookworm arm64 './bin/busybox' busybox-static "$1" || return 1
  release=$(basename "$files"/lib/modules/*)
  mv "$files"/boot/vmlinuz* "$1/vmlinuz"
  mkdir "$1/modules"
  depmod -b "$files" "$release" 2>/dev/null || true
  for module in virtio_pci virtio_net e1000e nvme vfio_iommu_type1 vfio-pci; do
    modprobe -d "$files" -S "$release" --show-depends "$module"
  done | awk '/^insmod/ && !seen[$2]++ { print $2 }' | while read -r module; do
    name=$(basename "${module%.xz}" .ko)
    case $module in *.xz) xz -dc "$module" ;; *) cat "$module" ;; esac >"$1/modules/$name.ko"
    echo "$name" >>"$1/modules/order"
  done
  rm -rf "$files"
}
qemu=$(cached qemu-system-10 unpack trixie amd64 '*' + qemu-system-arm)
guest=$(cached guest-arm64-2 guest_of)

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir -p "$work"/root/{bin,dev,proc,sys,tests}
cp "$guest/bin/busybox" "$work/root/bin/"
cp -r "$guest/modules" "$work/root/"
install -m 755 "$folder/init" "$work/root/init"
out=.cache/native/arm64
# A program that is a process alone has no libraries to find; that dlopen() wants some is no matter here.
programs=()
for test in $tests; do programs+=("$out/guest/${test}_test"); done
[ ${#programs[@]} -eq 0 ] || make -s -j"$(nproc)" -C "$root" -f test/native/Makefile OUT=$out CXX='aarch64-linux-gnu-g++ -static -s' \
  "${programs[@]}" >"$work/make" 2>&1 || { tail -n 30 "$work/make" && echo "0 passed, 1 failed" && exit 1; }
sed -n 's/^# without: //p' "$job" >"$work/root/without"
[ ${#programs[@]} -eq 0 ] || (cd "$root" && cp "${programs[@]}" "$work/root/tests/")
script=$(sed -n 's/^# script: //p' "$job")
if [ -n "$script" ]; then
  package=$work/root/vanity
  mkdir -p "$work/root/lib" "$package/test"
  cp -L /usr/aarch64-linux-gnu/lib/{ld-linux-aarch64.so.1,lib{c,m,dl,rt,pthread}.so.*,libstdc++.so.6,libgcc_s.so.1} "$work/root/lib/"
  cp "$(node_arm64)" "$work/root/bin/"
  node "$root/scripts/build.js" ts >/dev/null
  cp -r "$root"/{dist,schema,package.json} "$package/"
  cp -r "$root/test/guest" "$package/test/"
  cp -r "$(prebuilds)" "$package/prebuilds"
  (cd "$root" && npm ls --omit=dev --all --parseable | tail -n +2 | sed "s|^$root/||" | xargs cp -r --parents -t "$package")
  echo "$script" >"$work/root/script"
fi
(cd "$work/root" && find . | cpio --quiet -o -H newc -R 0:0 >"$work/initrd")

# Two NICs on one wire: the first is for a program, the second for Linux. See init.
wire=()
for number in 1 2; do
  wire+=(-netdev "hubport,id=w$number,hubid=1" -device "pcie-root-port,id=wp$number,chassis=$((10 + number))"
    -device "virtio-net-pci,bus=wp$number,netdev=w$number,packed=on,disable-legacy=on,iommu_platform=on,romfile=,mac=52:54:00:00:01:0$number")
done

: >"$work/serial"
(beside "$qemu" qemu-system-aarch64 -L "$qemu/usr/share/qemu" -machine virt,iommu=smmuv3,gic-version=3 \
  -cpu max,pauth-impdef=on -accel tcg,thread=multi -smp 2 -m 2G -nodefaults -nographic -no-reboot \
  -serial "file:$work/serial" -kernel "$guest/vmlinuz" -initrd "$work/initrd" \
  -append "console=ttyAMA0 quiet loglevel=1 panic=-1 hugepagesz=2M hugepages=96 arm-smmu-v3.disable_bypass=0" \
  -device edu \
  -device edu,addr=0x10.0,multifunction=on -device virtio-rng-pci,addr=0x10.1,disable-legacy=on \
  -netdev user,id=n0,restrict=on -device pcie-root-port,id=rp0,chassis=1 \
  -device virtio-net-pci,bus=rp0,netdev=n0,disable-legacy=on,iommu_platform=on,romfile= \
  -netdev user,id=n1,restrict=on -device pcie-root-port,id=rp1,chassis=2 \
  -device e1000e,bus=rp1,netdev=n1,romfile= \
  -drive if=none,id=nv,driver=null-co,size=64M -device pcie-root-port,id=rp2,chassis=3 \
  -device nvme,bus=rp2,drive=nv,serial=nvme0 "${wire[@]}" </dev/null >"$work/out" 2>&1) &
deadline=$((SECONDS + limit))
while kill -0 $! 2>/dev/null && [ $SECONDS -lt $deadline ]; do
  grep -aqE '^end of the guest|Kernel panic' "$work/serial" && break
  sleep 0.3
done
kill $! 2>/dev/null || true
tr -d '\r' <"$work/serial" | grep -aE '^(#|ok|not ok| )|Kernel panic' || true
grep -aq '^end of the guest' "$work/serial" || echo "not ok - the guest did not come to its end" | tee -a "$work/serial"
passed=$(grep -ac '^ok ' "$work/serial" || true)
failed=$(grep -ac '^not ok ' "$work/serial" || true)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ] && exit 0
cat "$work/out" >&2
exit 1
