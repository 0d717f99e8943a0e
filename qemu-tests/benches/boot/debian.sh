#!/usr/bin/env bash
# The peer of the boot benchmark: Debian 13 as its own tools make it (kernel, initramfs-tools, systemd, FRR), smallest
# variant, with r1's addresses and BGP session. The disk has bootsel and a boot partition, so that the emulated board
# boots it the same way as any other.
#   debian.sh OUT.img
# Needs root, mmdebstrap, arch-test, qemu-user-static with binfmt_misc, e2fsprogs, dosfstools, mtools, gdisk.
# The mirror is the one of the machine's own apt sources.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
out=$1
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A machine that has not mounted it, as containers have not.
[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
update-binfmts --enable qemu-aarch64 2> /dev/null || true

archive=() security=()
while read -r uri; do
  case $uri in *security*) security+=("$uri") ;; *) archive+=("$uri") ;; esac
done < <(cat /etc/apt/sources.list.d/*.sources 2> /dev/null | sed -n 's/^URIs: *//p'
  sed -n 's/^deb \(\[[^]]*\] *\)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2> /dev/null || true)
[ ${#archive[@]} -gt 0 ] || { echo "no archive in the machine's apt sources" >&2; exit 1; }
sources=("deb ${archive[0]} trixie main")
[ ${#security[@]} -eq 0 ] || sources+=("deb ${security[0]} trixie-security main")

# The packages unpacked and configured, which takes ten minutes under qemu-user; kept for the next time.
tree=${out%.img}.tar
packages=systemd-sysv,udev,dbus,kmod,iproute2,frr,linux-image-arm64,initramfs-tools,zstd
if [ ! -e "$tree" ]; then
  mmdebstrap --quiet --architectures=arm64 --variant=minbase --keyring=/usr/share/keyrings \
    --include="$packages" trixie "$work/root.tar" "${sources[@]}"
  mv "$work/root.tar" "$tree"
fi
mkdir "$work/root"
tar -C "$work/root" -xf "$tree"
root=$work/root

echo r1 > "$root/etc/hostname"
ln -sf /dev/null "$root/etc/systemd/system/systemd-firstboot.service"
: > "$root/etc/machine-id"
for port in 0:10.0.0.1 1:10.1.0.1; do
  name=eth${port%%:*}
  printf '[Match]\nName=%s\n[Network]\nAddress=%s/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' "$name" "${port#*:}" \
    > "$root/etc/systemd/network/$name.network"
done
# Nothing waits for a network that is "online" here: FRR has no need of it.
systemctl --quiet --root="$root" enable systemd-networkd.service frr.service
systemctl --quiet --root="$root" disable systemd-networkd-wait-online.service
mkdir -p "$root/etc/sysctl.d"
printf 'net.ipv4.ip_forward=1\n' > "$root/etc/sysctl.d/router.conf"
sed -i 's/^bgpd=no/bgpd=yes/; s/^bfdd=no/bfdd=yes/' "$root/etc/frr/daemons"
cat > "$root/etc/frr/frr.conf" << 'END'
frr defaults datacenter
hostname r1
log syslog informational
router bgp 65001
 bgp router-id 10.0.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 neighbor 10.0.0.2 remote-as 65002
 neighbor 10.0.0.2 timers connect 5
 address-family ipv4 unicast
  network 10.1.0.0/24
  neighbor 10.0.0.2 activate
 exit-address-family
exit
END

truncate -s 16M "$work/bootsel.fat"
mkfs.fat -F 16 "$work/bootsel.fat" > /dev/null
printf '[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n' > "$work/autoboot.txt"
mcopy -i "$work/bootsel.fat" "$work/autoboot.txt" ::
truncate -s 256M "$work/boot.fat"
mkfs.fat -F 32 "$work/boot.fat" > /dev/null
printf 'arm_64bit=1\nkernel=kernel8.img\ndevice_tree=bcm2711-rpi-cm4-io.dtb\ninitramfs initramfs.img followkernel\n' > "$work/config.txt"
echo 'console=ttyAMA0 root=/dev/nvme0n1p4 rw net.ifnames=0 quiet' > "$work/cmdline.txt"
# The emulated board looks for the firmware and does not run it.
echo 'stands for the firmware' > "$work/start4.elf"
cp "$work/start4.elf" "$work/fixup4.dat"
kernel=$(echo "$root"/boot/vmlinuz-*)
release=${kernel##*/vmlinuz-}
cp "$kernel" "$work/kernel8.img"
cp "$root/boot/initrd.img-$release" "$work/initramfs.img"
mcopy -i "$work/boot.fat" "$work/kernel8.img" "$work/initramfs.img" "$work/config.txt" "$work/cmdline.txt" \
  "$work/start4.elf" "$work/fixup4.dat" \
  "$root/usr/lib/linux-image-$release/broadcom/bcm2711-rpi-cm4-io.dtb" ::
mke2fs -q -t ext4 -d "$root" "$work/root.ext4" 2G > /dev/null

truncate -s 2400M "$work/image"
sgdisk -a 2048 -n 1:1M:+16M -t 1:0700 -c 1:bootsel -n 2:0:+256M -t 2:0700 -c 2:boot-a -n 4:0:+2G -t 4:8300 \
  "$work/image" > /dev/null
dd if="$work/bootsel.fat" of="$work/image" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/boot.fat" of="$work/image" bs=1M seek=17 conv=notrunc,sparse status=none
dd if="$work/root.ext4" of="$work/image" bs=1M seek=273 conv=notrunc,sparse status=none
mv "$work/image" "$out"
