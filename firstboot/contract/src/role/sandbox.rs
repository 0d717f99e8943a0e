//! What a service may reach beyond what every service may. Without a word of the profile it has a mount namespace in which
//! everything is read-only but its own folders, a small `/dev`, a `/proc` without others' processes, and a seccomp filter.

use serde::{Deserialize, Serialize};

/// Exceptions from the confinement of services. In brackets: the systemd setting that the exception relaxes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Device nodes that it gets besides `null`, `zero`, `full`, `random`, `urandom` and `tty`, by absolute path
    /// (PrivateDevices).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Folders that it may write to, besides its `persistent`, `data` and `temporary` ones and those owned by its user
    /// (ProtectSystem). A service that runs as root must list them all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    /// Groups of system calls that it may make, besides those allowed for every service and for its capabilities
    /// (SystemCallFilter).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system_calls: Vec<SystemCalls>,
    /// It may write to `/proc/sys/net` (ProtectKernelTunables).
    #[serde(skip_serializing_if = "is_false")]
    pub network_settings: bool,
    /// It may write to `/sys` (ProtectKernelTunables).
    #[serde(skip_serializing_if = "is_false")]
    pub system_files: bool,
    /// It sees the processes of other users (ProtectProc).
    #[serde(skip_serializing_if = "is_false")]
    pub processes: bool,
    /// PID 1 accepts commands from its processes.
    #[serde(skip_serializing_if = "is_false")]
    pub operators: bool,
    /// It keeps the capabilities that it was started with: capset(2) reports success and changes nothing. For programs
    /// that insist on capabilities they do not need.
    #[serde(skip_serializing_if = "is_false")]
    pub fixed_capabilities: bool,
    /// It makes containers (Delegate, PrivatePIDs): it has every system call that they need, mounts and namespaces of its
    /// own, and of the node its folders, its own processes and its own control groups. Device nodes and kernel settings are
    /// guarded for it and for whatever it starts.
    #[serde(skip_serializing_if = "is_false")]
    pub containers: bool,
    /// No confinement: it sees what PID 1 sees. For tests.
    #[serde(skip_serializing_if = "is_false")]
    pub unconfined: bool,
}

/// A group of system calls, named as in systemd's `SystemCallFilter`, without the `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SystemCalls {
    /// Mounting and unmounting, `chroot`, `pivot_root`.
    Mount,
    /// New namespaces, and entering others.
    Namespaces,
    /// `bpf` and `perf_event_open`.
    Bpf,
    /// Looking into other processes: `ptrace`, `process_vm_readv`, `kcmp`, `pidfd_getfd`.
    Debug,
    /// System V message queues, semaphores and shared memory, and POSIX message queues.
    Ipc,
    /// The kernel's keyrings.
    Keyring,
    /// `io_uring`.
    IoUring,
}

impl SystemCalls {
    pub const ALL: [SystemCalls; 7] = [
        SystemCalls::Mount,
        SystemCalls::Namespaces,
        SystemCalls::Bpf,
        SystemCalls::Debug,
        SystemCalls::Ipc,
        SystemCalls::Keyring,
        SystemCalls::IoUring,
    ];
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Sandbox {
    /// Whether nothing is excepted.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        *self == Sandbox::default()
    }
}
