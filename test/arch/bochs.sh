#!/usr/bin/env bash
# Boots a static program on two processors of Bochs 3.0: bochs.sh MODEL PROGRAM ARGUMENT...
# Debian 12 has 2.7, which has no processor with WAITPKG and hangs in a timed MWAITX.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
model=$1 program=$2
shift 2

for tool in genisoimage cpio; do need "$tool" "$tool"; done
need /usr/lib/ISOLINUX/isolinux.bin isolinux
need /usr/lib/syslinux/modules/bios/ldlinux.c32 syslinux-common
kernel=$("$here/kernel.sh")/bzImage
bochs=$(cached bochs-3.0 unpack trixie amd64 '*' bochs bochs-term bochsbios vgabios libc6 libgcc-s1 \
  libstdc++6 libltdl7 libncurses6 libtinfo6 libsamplerate0)

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/disc"
initramfs "$program" "$work/disc/initrd"
cp "$kernel" /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/disc"
# Bochs passes one tick an instruction, while its processors claim gigahertz: told the truth, Linux
# takes its time in thousandths. idle=halt: a MONITOR of an idle processor would end every wait of
# the others. memmap: memory at a place that the program can ask for (see on_stack()).
cat >"$work/disc/isolinux.cfg" <<C
default linux
label linux
kernel bzImage
initrd initrd
append console=ttyS0,115200 quiet idle=halt tsc_early_khz=100000 tsc=reliable lpj=400000 mitigations=off nokaslr memmap=2M\$32M panic=-1 -- $* stack=0x2000000
C
genisoimage -quiet -o "$work/disc.iso" -b isolinux.bin -c boot.cat -no-emul-boot \
  -boot-load-size 4 -boot-info-table "$work/disc"
cat >"$work/bochsrc" <<C
plugin_ctrl: unmapped=0, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1
display_library: rfb, options="timeout=0"
romimage: file=$bochs/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$bochs/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=$model, count=2, ips=100000000, reset_on_triple_fault=0
megs: 64
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
log: $work/log
panic: action=report
error: action=ignore
info: action=ignore
debug: action=ignore
clock: sync=none, time0=1700000000
C
echo c >"$work/go"
: >"$work/serial"
(beside "$bochs" bochs-bin -q -f "$work/bochsrc" -rc "$work/go") </dev/null >"$work/out" 2>&1 &
follow "$work/serial" $! "$limit"
