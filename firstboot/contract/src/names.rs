//! File names, kernel options and ports that the builder writes and the node reads, and every path that the node keeps
//! something at.

/// The board that every image is for.
pub const BOARD: &str = "rpi-cm4";

/// In `bootsel`: which boot partition the EEPROM takes.
pub const AUTOBOOT: &str = "autoboot.txt";
/// In `bootsel`: the operator's node config, moved to `state` at the next boot.
pub const NODE_CONFIG: &str = "node.toml";

/// In a boot partition.
pub const CONFIG_TXT: &str = "config.txt";
pub const CMDLINE_TXT: &str = "cmdline.txt";
pub const KERNEL: &str = "kernel8.img";
pub const INITRAMFS: &str = "initramfs.img";

/// Kernel option that names the root hash of the slot: `microdc.root=<64 hex digits>`.
pub const OPT_ROOT: &str = "microdc.root";
/// Kernel options of the installer: [`crate::installer`] has their values.
pub const OPT_INSTALL: &str = "microdc.install";
pub const OPT_NODES: &str = "microdc.nodes";
pub const OPT_DISK: &str = "microdc.disk";

/// In the initramfs: [`crate::initramfs::InitramfsSpec`] as JSON.
pub const INITRAMFS_SPEC: &str = "/etc/microdc/initramfs.json";
/// In the initramfs: the partition `bootsel` as it is in the image, zeros behind it left out; the installer writes it.
pub const INITRAMFS_BOOTSEL: &str = "/etc/microdc/bootsel.img";
/// In the root file system: [`crate::role::RoleSpec`] as JSON.
pub const ROLE_SPEC: &str = "/usr/lib/microdc/role.json";
/// In the root file system: an empty file, at which `/init` of the initramfs, PID 1's own program, is shown.
pub const FIRSTBOOT: &str = "/usr/lib/microdc/firstboot";
/// In the root file system: the folder of templates, named by their `from`.
pub const TEMPLATES: &str = "/usr/lib/microdc/templates";

/// In the root file system: what the image is made of and why each file is in it, packed JSON.
pub const INVENTORY: &str = "/usr/lib/microdc/inventory.json.zst";
/// In the root file system: the copyright files of all packages, a packed tar.
pub const LICENCES: &str = "/usr/lib/microdc/licences.tar.zst";

/// Mount points in the root file system.
pub const STATE_MOUNT: &str = "/state";
pub const DATA_MOUNT: &str = "/data";
pub const BOOTSEL_MOUNT: &str = "/boot/sel";

/// On `state`: the folder of the services' logs, a file each.
pub const STATE_LOGS: &str = "log";
/// On `state`: the time last saved, in seconds since 1970.
pub const STATE_CLOCK: &str = "clock";
/// On `state`: the folder of marks, a file for each service that is run once and has ended well.
pub const STATE_ONCE: &str = "once";
/// On `state`: the folder of last runs, a file for each service that is run by the clock, in seconds since 1970.
pub const STATE_TIMERS: &str = "timers";
/// On `state`: the machine id.
pub const STATE_MACHINE_ID: &str = "machine-id";
/// On `state`: what the node remembers of updates, as JSON.
pub const STATE_UPDATES: &str = "update.json";
/// On `state`, while it is there: the node was cordoned for its restart, and has to be uncordoned.
pub const STATE_CORDONED: &str = "k3s-cordoned";
/// On `state`: room for the same that is taken beforehand, for when there is none left.
pub const STATE_UPDATES_RESERVE: &str = "update.reserve";
/// On `state` and on `data`: the folder below which persistent directories lie, by their path.
pub const KEPT_DIRECTORIES: &str = "directories";

/// On `state` and on `data`, where they are ext4: how much the folders with limits hold, as the kernel counts it.
pub const QUOTAS: &str = ".project-quotas";
/// On `state` and on `data`: the 4 KiB that are written and read again to check whether the disk still works.
pub const DISK_CHECK: &str = ".disk-check";

/// Folder of the files that PID 1 and its children share.
pub const RUN: &str = "/run/microdc";
/// Folder of the sockets on which services say that they are ready.
pub const NOTIFY: &str = "/run/microdc/notify";
/// What a new node config makes of the role's files, while programs look at them; for root alone.
pub const SCRATCH: &str = "/run/microdc/scratch";
/// PID 1's settings for the network's child, as JSON. They may contain private keys: only root may read them.
pub const NETWORK_JOB: &str = "/run/microdc/network.json";

/// Files to which `/etc/hostname`, `/etc/hosts`, `/etc/machine-id` and `/etc/resolv.conf` are links.
pub const RUN_HOSTNAME: &str = "/run/hostname";
pub const RUN_HOSTS: &str = "/run/hosts";
pub const RUN_MACHINE_ID: &str = "/run/machine-id";
/// The image's root certificates and the node config's, together.
pub const RUN_CERTIFICATES: &str = "/run/certificates";
pub const RUN_RESOLV_CONF: &str = "/run/network/resolv.conf";

/// The initramfs's report to the system half: [`crate::initramfs::BootReport`] as JSON.
pub const BOOT_REPORT: &str = "/run/microdc/boot.json";

/// The network child's report: [`crate::network::NetworkReport`] as JSON.
pub const NETWORK_REPORT: &str = "/run/network/report.json";
/// NTP servers that leases name, for chronyd.
pub const NETWORK_TIME_SOURCES: &str = "/run/network/dhcp.sources";
/// All that the network's child may write: its report, the resolvers and time sources.
pub const NETWORK_FOLDER: &str = "/run/network";

/// Device-mapper name of the verified root.
pub const VERITY_NAME: &str = "microdc-root";

/// Name of the virtio-serial port over which an emulated node asks the emulator for a trial boot.
pub const TRYBOOT_PORT: &str = "microdc.tryboot";
/// Serial number of the board, in the device tree.
pub const DT_SERIAL: &str = "/proc/device-tree/serial-number";
/// Folder of the device tree in which the firmware reports how it booted (big-endian u32 values).
pub const DT_BOOTLOADER: &str = "/proc/device-tree/chosen/bootloader";

/// Header of a request for a bundle: the name of the node that asks.
pub const HTTP_NODE: &str = "X-Microdc-Node";
/// Header of a request for a bundle: how far the node is, as `DONE/ALL` in 4 KiB blocks. When the slot is complete, the node
/// says so with a HEAD request in which both numbers are the same; what answers that request does not matter to it.
pub const HTTP_PROGRESS: &str = "X-Microdc-Progress";
/// Header of a HEAD request for a bundle: why an installer did not install it, in ASCII. What answers does not matter.
pub const HTTP_FAILED: &str = "X-Microdc-Failed";

/// Prefix of every line that firstboot writes to the console.
pub const CONSOLE_PREFIX: &str = "microdc: ";

/// Physical address of the page through which the node and the firmware of a BCM2711 talk: reserved by the image's device
/// tree, and within the first GiB, which is what the firmware reaches.
pub const MAILBOX_PAGE: u32 = 0x1000_0000;
/// That page's node, as the kernel shows it.
pub const DT_MAILBOX_PAGE: &str = "/proc/device-tree/reserved-memory/microdc@10000000";
