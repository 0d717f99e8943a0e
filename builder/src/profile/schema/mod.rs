//! What may stand in a profile or a part of one: the table of its keys. A key stands here once, with its kind and its
//! doc comment; [`super::field`] says what a kind means, and makes everything else of it.
//!
//! The doc comments are the reference that people read: they make `microdc schema profile` and `profiles/REFERENCE.md`.
//!
//! - here the keys that count one by one · [`entry`] · [`service`] · [`health`] what counts as a whole

mod entry;
mod health;
mod service;

pub use entry::{Artifact, Directory, Group, Template, User};
pub use health::{Disk as DiskHealth, Health, Http, Target};
pub use service::{Limits, Mount, Ready, Restart, Service};

use super::field::kind::{Apart, Entries, Includes, List, Need, One, Table, Tables};
use super::field::table;
use super::quantity::{Bytes, Milliseconds};
use super::spanned::Spanned;
use super::value::{FileBeside, Overlay, plain};
use contract::plain_name::PlainName;
use contract::role::{ProfileName, Role};

plain! { Directory Group Health Service Template User }

table! {
    /// One file: a profile, or a part that profiles include.
    ProfileFile, ProfileLayer, ProfileKeys {
        /// Format of this file: 1. May be left out.
        format: Apart<Option<Spanned<u32>>>,
        /// What its nodes are for: one of the roles that come with microdc, or a name of your own.
        role: Need<Role>,
        /// For which profile's nodes the image is an update; without it, the profile's own. A node takes updates for its own
        /// role and profile alone.
        compatible: One<ProfileName>,
        /// One line for people.
        summary: Need<String>,
        /// Version of the image; without it, made from the time of the newest input.
        version: One<PlainName>,
        /// A node that committed a higher one refuses this image.
        rollback_index: One<u64>,
        /// Parts: a name in `parts/` beside the profile, or a path ending in `.toml`.
        include: Includes,
        /// Folders laid over the root: a name in `overlays/`, or a path beginning with `.` or `/`.
        overlays: List<Overlay>,
        /// A node.toml with which the templates are rendered at build time; beside the profile.
        example: Need<FileBeside>,
        /// Sizes on the disk.
        disk: Table<Disk>,
        /// The kernel, its modules and its options.
        kernel: Table<Kernel>,
        /// The boot firmware.
        firmware: Table<Firmware>,
        /// What is taken from packages, by their names.
        packages: Tables<Package>,
        /// Files of the root that come from no package, by names of your choice.
        artifacts = "artifact": Entries<Artifact>,
        /// Accounts, by their names.
        users = "user": Entries<User>,
        /// Groups that are no account's own, by their names.
        groups = "group": Entries<Group>,
        /// Symbolic links: absolute path = what it points to.
        links = "link": Entries<String>,
        /// Directories made at boot, by their absolute paths.
        directories = "directory": Entries<Directory>,
        /// Files rendered from the node config at boot.
        templates = "template": List<Template>,
        /// Settings of the kernel by their names in sysctl's way; `*` in place of an interface stands for `all` and `default`.
        sysctls = "sysctl": Entries<String>,
        /// Programs that firstboot runs, by names of your choice.
        services = "service": Entries<Service>,
        /// What must hold before a new image is kept, and is watched from then on.
        health: List<Health>,
        /// What a trial of a new image must show, and by when.
        update: Table<Update>,
    }
}

table! {
    /// Sizes on the disk.
    Disk, DiskLayer, DiskKeys {
        /// Size of each root partition: it bounds all later updates.
        root: One<Bytes>,
    }
}

table! {
    /// What a trial of a new image must show, and by when; times count from power-on.
    Update, UpdateLayer, UpdateKeys {
        /// For so long the health gate must have passed without a break before the image is kept. Default: 30 s.
        settle: One<Milliseconds>,
        /// By then the network must have an address. Default: 120 s.
        network: One<Milliseconds>,
        /// By then every wanted service must be ready. Default: 180 s.
        services: One<Milliseconds>,
        /// By then the image must have been kept. Default: 600 s.
        commit: One<Milliseconds>,
    }
}

table! {
    /// The kernel and its modules.
    Kernel, KernelLayer, KernelKeys {
        /// The package, or the one that depends on it, such as `linux-image-arm64`.
        package: Need<String>,
        /// Modules that the initramfs loads, with what they depend on.
        initramfs: List<String>,
        /// Modules that the system loads, with what they depend on.
        modules: List<String>,
        /// Options added to the kernel's command line.
        options: List<String>,
        /// Options that the kernel must have been built with: `"CONFIG_VETH"` for built in or as a module, `"CONFIG_BPF=y"`
        /// for this value and no other.
        config: List<String>,
    }
}

table! {
    /// The boot firmware.
    Firmware, FirmwareLayer, FirmwareKeys {
        /// The package with the boot firmware.
        package: Need<String>,
        /// Suite other than the default ones.
        suite: One<String>,
        /// Component other than `main`.
        component: One<String>,
        /// Lines of `config.txt` behind those of every image, such as `"dtparam=audio=off"`. A `dtoverlay` is taken from the
        /// package with the boot firmware.
        config: List<String>,
        /// How the PCIe controller treats the CLKREQ# signal: `"safe"` for carriers that do not wire it, `"no-l1ss"`, `"default"`.
        pcie_clkreq: One<String>,
    }
}

table! {
    /// What is taken from a package. Programs bring the libraries that they need by themselves.
    Package, PackageLayer, PackageKeys {
        /// Paths and patterns inside the package; a folder means everything below it.
        patterns = "take": List<String>,
        /// Suite other than the default ones.
        suite: One<String>,
        /// Component other than `main`.
        component: One<String>,
    }
}
