//! The rights that root is made of, one by one.

use serde::{Deserialize, Serialize};

macro_rules! capabilities {
    ($($name:ident = $number:literal $text:literal),* $(,)?) => {
        /// A Linux capability by its name without `CAP_` (linux/capability.h).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum Capability { $(#[serde(rename = $text)] $name = $number),* }

        impl Capability {
            pub const ALL: &[Capability] = &[$(Capability::$name),*];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Capability::$name => $text),* }
            }
        }
    };
}

capabilities! {
    Chown = 0 "CHOWN", DacOverride = 1 "DAC_OVERRIDE", DacReadSearch = 2 "DAC_READ_SEARCH", Fowner = 3 "FOWNER",
    Fsetid = 4 "FSETID", Kill = 5 "KILL", Setgid = 6 "SETGID", Setuid = 7 "SETUID", Setpcap = 8 "SETPCAP",
    LinuxImmutable = 9 "LINUX_IMMUTABLE", NetBindService = 10 "NET_BIND_SERVICE", NetBroadcast = 11 "NET_BROADCAST",
    NetAdmin = 12 "NET_ADMIN", NetRaw = 13 "NET_RAW", IpcLock = 14 "IPC_LOCK", IpcOwner = 15 "IPC_OWNER",
    SysModule = 16 "SYS_MODULE", SysChroot = 18 "SYS_CHROOT", SysPtrace = 19 "SYS_PTRACE", SysPacct = 20 "SYS_PACCT",
    SysAdmin = 21 "SYS_ADMIN", SysBoot = 22 "SYS_BOOT", SysNice = 23 "SYS_NICE", SysResource = 24 "SYS_RESOURCE",
    SysTime = 25 "SYS_TIME", SysTtyConfig = 26 "SYS_TTY_CONFIG", Mknod = 27 "MKNOD", Lease = 28 "LEASE",
    AuditWrite = 29 "AUDIT_WRITE", AuditControl = 30 "AUDIT_CONTROL", Setfcap = 31 "SETFCAP",
    Syslog = 34 "SYSLOG", WakeAlarm = 35 "WAKE_ALARM", BlockSuspend = 36 "BLOCK_SUSPEND",
    Perfmon = 38 "PERFMON", Bpf = 39 "BPF", CheckpointRestore = 40 "CHECKPOINT_RESTORE",
}

impl Capability {
    /// Bit number in the kernel's masks.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }
}
