#!/usr/bin/env bash
# The classic pipeline, doing the same job with the tools of the trade: mmdebstrap -> tar -> mke2fs -d -> veritysetup
# -> FAT, cpio, gzip -> GPT -> image -> SHA-256. Packages come from a local folder, so that nothing is downloaded.
#   classic.sh REPO FIRSTBOOT OUT PACKAGE...     REPO: .debs and their Packages file; OUT: a folder that is emptied
# Needs root (mmdebstrap keeps owners), mmdebstrap, e2fsprogs, cryptsetup-bin, dosfstools, mtools, gdisk, cpio, zstd.
# Prints what each step took and what came of it.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
repo=$1 firstboot=$2 out=$3
shift 3
packages=$(IFS=,; echo "$*")
rm -rf "$out"
mkdir -p "$out/root" "$out/initramfs/etc" "$out/initramfs/lib"

last=$EPOCHREALTIME
step() {
  local now=$EPOCHREALTIME
  printf '%-12s %6.2f s\n' "$1" "$(((${now/./} - ${last/./}) / 1000))e-3"
  last=$now
}

mmdebstrap --quiet --mode=root --variant=extract --architectures=arm64 --include="$packages" \
  --aptopt='Apt::Install-Recommends "false"' trixie "$out/root.tar" "deb [trusted=yes] copy:$repo ./"
step mmdebstrap
tar -C "$out/root" -xf "$out/root.tar"
step tar

# Kernel, firmware and modules leave the root for the boot partition. Packed as hard as in the other image.
kernel=$(echo "$out"/root/boot/vmlinuz-*)
release=${kernel##*/vmlinuz-}
gzip -4 -c "$kernel" > "$out/kernel8.img"
step gzip
install -m 755 "$firstboot" "$out/initramfs/init"
for module in nvme nvme-core dm-verity dm-bufio dm-mod ext4 jbd2 mbcache crc16 vfat fat nls_ascii nls_cp437 i6300esb \
  bcm2835_wdt sdhci-iproc sdhci-pltfm sdhci; do
  find "$out/root/usr/lib/modules/$release" -name "$module.ko.xz" -exec cp {} "$out/initramfs/lib/" \;
done
(cd "$out/initramfs" && find . | sort | cpio --quiet -o -H newc) | zstd -q -9 > "$out/initramfs.img"
dtb="$out/root/usr/lib/linux-image-$release/broadcom/bcm2711-rpi-cm4-io.dtb"
truncate -s 128M "$out/boot.fat"
mkfs.fat -F 32 "$out/boot.fat" > /dev/null
printf 'arm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs.img followkernel\n' > "$out/config.txt"
mcopy -i "$out/boot.fat" "$out/kernel8.img" "$out/initramfs.img" "$dtb" "$out/config.txt" \
  "$out"/root/usr/lib/raspi-firmware/start4.elf "$out"/root/usr/lib/raspi-firmware/fixup4.dat ::
rm -rf "$out"/root/boot "$out"/root/usr/lib/raspi-firmware "$out"/root/usr/lib/linux-image-*
# Only the modules that a router loads stay, as in the other image.
find "$out/root/usr/lib/modules" -name '*.ko.xz' ! -path '*/netfilter/*' ! -name 'wireguard*' ! -name 'bcmgenet*' \
  ! -name '8021q*' ! -name 'bridge*' ! -name 'virtio*' -delete
step "boot files"

mke2fs -q -t ext4 -b 4096 -d "$out/root" "$out/root.ext4" 256M > /dev/null
blocks=$(($(stat -c %s "$out/root.ext4") / 4096))
step "mke2fs -d"
veritysetup format --data-block-size=4096 --hash-block-size=4096 "$out/root.ext4" "$out/root.tree" > "$out/verity.txt"
step veritysetup

truncate -s 16M "$out/bootsel.fat"
mkfs.fat -F 16 "$out/bootsel.fat" > /dev/null
printf '[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n' > "$out/autoboot.txt"
mcopy -i "$out/bootsel.fat" "$out/autoboot.txt" ::
image="$out/image.img"
truncate -s 802M "$image"
sgdisk -a 2048 -n 1:1M:+16M -t 1:0700 -n 2:0:+128M -t 2:0700 -n 3:0:+128M -t 3:0700 -n 4:0:+262M -t 4:8300 \
  -n 5:0:+262M -t 5:8300 "$image" > /dev/null
dd if="$out/bootsel.fat" of="$image" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$out/boot.fat" of="$image" bs=1M seek=17 conv=notrunc,sparse status=none
dd if="$out/root.ext4" of="$image" bs=1M seek=273 conv=notrunc,sparse status=none
dd if="$out/root.tree" of="$image" bs=1M seek=$((273 + blocks / 256)) conv=notrunc,sparse status=none
step image
sync "$image"
step sync
sha256sum "$image" > "$out/sha256.txt"
step sha256sum
echo "root $(du -sm --apparent-size "$out/root" | cut -f 1) MB, image $(du -m "$image" | cut -f 1) MB of data"
