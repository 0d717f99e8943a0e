//! What may be in a profile or a part of one: the table of its keys. A key stands here once, with its kind and its
//! doc comment; [`super::field`] says what a kind means, and makes everything else of it.
//!
//! The doc comments are the reference that people read: they make `microdc schema profile` and `profiles/REFERENCE.md`.
//!
//! - here the keys that count one by one · [`entry`] · [`service`] · [`health`] what counts as a whole

mod entry;
mod health;
mod service;

pub use entry::{Artifact, Directory, Group, Template, User, Var};
pub use health::{Disk as DiskHealth, Health, Http, Kubernetes, Target};
pub use service::{Check, Folder, Limits, Looker, Mount, Ready, Restart, Service};

use super::field::kind::{Entries, Includes, List, Need, One, PerFile, Table, Tables};
use super::field::table;
use super::quantity::{Bytes, Milliseconds};
use super::spanned::Spanned;
use super::value::{FileBeside, Overlay, plain};
use contract::plain_name::PlainName;
use contract::role::{ProfileName, Role};

plain! { Directory Group Health Service Template User Var }

table! {
    /// One file: a profile, or a part that profiles include.
    ProfileFile, ProfileLayer, ProfileKeys {
        /// Version of the file format: 1. Optional.
        format: PerFile<Option<Spanned<u32>>>,
        /// What its nodes are for: a role that comes with microdc, or a name of your own.
        role: Need<Role>,
        /// The profile whose nodes accept the image as an update. Default: this profile. A node accepts only updates
        /// for its own role and profile.
        compatible: One<ProfileName>,
        /// One-line description.
        summary: Need<String>,
        /// First part of the image's version; without it, the day of the newest input. A short digest of all that goes into the
        /// image follows: `1.2-0b9c2ad1`.
        version: One<PlainName>,
        /// A node that committed a higher one refuses this image.
        rollback_index: One<u64>,
        /// Parts to include: a name in `parts/` beside the profile, or a path that ends in `.toml`.
        include: Includes,
        /// Folders laid over the root: a name in `overlays/`, or a path that begins with `.` or `/`.
        overlays: List<Overlay>,
        /// A node.toml, beside the profile, with which the build renders every template.
        example: Need<FileBeside>,
        /// Sizes on the disk.
        disk: Table<Disk>,
        /// The kernel, its modules and its options.
        kernel: Table<Kernel>,
        /// The boot firmware.
        firmware: Table<Firmware>,
        /// What to take from packages, by package name.
        packages: Tables<Package>,
        /// Names of libraries that may be missing (`libfoo.so.1`): the programs that name them run without, or are never run.
        missing_libraries: List<String>,
        /// Files that come from no package, by names of your choice.
        artifacts = "artifact": Entries<Artifact>,
        /// User accounts, by name.
        users = "user": Entries<User>,
        /// Groups other than the primary groups of users, by name.
        groups = "group": Entries<Group>,
        /// Symbolic links: absolute path = target.
        links = "link": Entries<String>,
        /// Directories created at boot, by absolute path.
        directories = "directory": Entries<Directory>,
        /// Files rendered from the node config at boot.
        templates = "template": List<Template>,
        /// Values that each node sets in its node.toml, by name.
        vars: Entries<Var>,
        /// Kernel settings, as in sysctl(8); `*` in place of an interface stands for `all` and `default`.
        sysctls = "sysctl": Entries<String>,
        /// Programs that firstboot runs, by names of your choice.
        services = "service": Entries<Service>,
        /// Checks that must pass before a new image is kept, and that are repeated from then on.
        health: List<Health>,
        /// Deadlines for the trial of a new image.
        update: Table<Update>,
    }
}

table! {
    /// Sizes on the disk.
    Disk, DiskLayer, DiskKeys {
        /// Size of each root partition. It limits all later updates.
        root: One<Bytes>,
    }
}

table! {
    /// Deadlines for the trial of a new image, counted from power-on.
    Update, UpdateLayer, UpdateKeys {
        /// How long the health gate must pass without interruption before the image is kept. Default: 30 s.
        settle: One<Milliseconds>,
        /// When the network must have an address. Default: 120 s.
        network: One<Milliseconds>,
        /// When every wanted service must be ready. Default: 180 s.
        services: One<Milliseconds>,
        /// When the image must have been kept. Default: 600 s.
        commit: One<Milliseconds>,
    }
}

table! {
    /// The kernel and its modules.
    Kernel, KernelLayer, KernelKeys {
        /// The kernel's package, or one that depends on it, such as `linux-image-arm64`.
        package: Need<String>,
        /// Modules that the initramfs loads, with their dependencies.
        initramfs: List<String>,
        /// Modules that the system loads, with their dependencies.
        modules: List<String>,
        /// Options added to the kernel's command line.
        options: List<String>,
        /// Options that the kernel must be built with: `"CONFIG_VETH"` for built in or as a module, `"CONFIG_BPF=y"`
        /// for exactly this value.
        config: List<String>,
        /// Modules that need no firmware for the devices of these nodes, although they may ask for some.
        missing_firmware: List<String>,
    }
}

table! {
    /// The boot firmware.
    Firmware, FirmwareLayer, FirmwareKeys {
        /// The package with the boot firmware.
        package: Need<String>,
        /// Suite, if not one of the default ones.
        suite: One<String>,
        /// Component, if not `main`.
        component: One<String>,
        /// Lines added to `config.txt`, such as `"dtparam=audio=off"`. A `dtoverlay` is taken from the package with the
        /// boot firmware.
        config: List<String>,
        /// How the PCIe controller treats the CLKREQ# signal: `"safe"` for carriers that do not connect it,
        /// `"no-l1ss"`, `"default"`.
        pcie_clkreq: One<String>,
    }
}

table! {
    /// What to take from a package. The libraries that programs need are added automatically.
    Package, PackageLayer, PackageKeys {
        /// Paths and patterns in the package; a folder includes everything below it.
        patterns = "take": List<String>,
        /// Suite, if not one of the default ones.
        suite: One<String>,
        /// Component, if not `main`.
        component: One<String>,
    }
}
