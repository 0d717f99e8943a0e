//! How much a compromised service could reach: a score from 0 (nothing) to 10 (everything), computed as in
//! `systemd-analyze security`: each measure of confinement has a weight, and the score is the weighted share of the
//! missing ones.
//!
//! Weights and words are systemd's (`src/analyze/analyze-security.c`), for the points that mean something on a node.

use contract::role::{Capability, Sandbox, Service, SystemCalls};

/// A point of confinement and how much of it is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// systemd's name.
    pub name: &'static str,
    pub weight: u32,
    /// 0 where it holds, 10 where nothing of it does.
    pub missing: u32,
}

/// A service's points.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposure {
    pub points: Vec<Point>,
}

/// Capabilities that are weighed together.
const CAPABILITIES: [(&str, u32, &[Capability]); 17] = [
    ("CAP_SYS_ADMIN", 1500, &[Capability::SysAdmin]),
    ("CAP_SET(UID|GID|PCAP)", 1500, &[Capability::Setuid, Capability::Setgid, Capability::Setpcap]),
    ("CAP_SYS_PTRACE", 1500, &[Capability::SysPtrace]),
    ("CAP_SYS_TIME", 1000, &[Capability::SysTime]),
    ("CAP_NET_ADMIN", 1000, &[Capability::NetAdmin]),
    ("CAP_(CHOWN|FSETID|SETFCAP)", 1000, &[Capability::Chown, Capability::Fsetid, Capability::Setfcap]),
    (
        "CAP_(DAC_*|FOWNER|IPC_OWNER)",
        1000,
        &[Capability::DacOverride, Capability::DacReadSearch, Capability::Fowner, Capability::IpcOwner],
    ),
    ("CAP_SYS_MODULE", 1000, &[Capability::SysModule]),
    ("CAP_MKNOD", 1000, &[Capability::Mknod]),
    ("CAP_KILL", 500, &[Capability::Kill]),
    (
        "CAP_NET_(BIND_SERVICE|BROADCAST|RAW)",
        500,
        &[Capability::NetBindService, Capability::NetBroadcast, Capability::NetRaw],
    ),
    ("CAP_SYS_BOOT", 100, &[Capability::SysBoot]),
    ("CAP_SYSLOG", 500, &[Capability::Syslog]),
    ("CAP_SYS_(NICE|RESOURCE)", 500, &[Capability::SysNice, Capability::SysResource]),
    ("CAP_AUDIT_*", 500, &[Capability::AuditWrite, Capability::AuditControl]),
    ("CAP_BPF", 500, &[Capability::Bpf, Capability::Perfmon]),
    ("CAP_SYS_CHROOT", 25, &[Capability::SysChroot]),
];

/// The words for a mark, by the tenths from which they hold.
const WORDS: [(u32, &str); 7] =
    [(100, "DANGEROUS"), (90, "UNSAFE"), (75, "EXPOSED"), (50, "MEDIUM"), (10, "OK"), (1, "SAFE"), (0, "PERFECT")];

impl Exposure {
    /// What is missing of a service's confinement.
    #[must_use]
    pub fn of(service: &Service) -> Exposure {
        let Sandbox { devices, network_settings, system_files, processes, containers, unconfined, .. } =
            &service.sandbox;
        let open = *unconfined;
        // What makes containers has every call but those of the machine, in namespaces of its own.
        let wide = open || *containers;
        let all = |missing: bool| if missing { 10 } else { 0 };
        let some = |whole: bool, part: bool, tenths: u32| {
            if whole {
                10
            } else if part {
                tenths
            } else {
                0
            }
        };
        let calls = |group| wide || service.sandbox.system_calls.contains(&group);
        let has = |capabilities: &[Capability]| capabilities.iter().any(|one| service.capabilities.contains(one));
        let root = service.identity.uid == 0;
        let mut points = vec![
            point("User", 2000, all(root)),
            point("NoNewPrivileges", 1000, all(service.new_privileges)),
            point("ProtectSystem", 1000, all(open)),
            point("ProtectHome (/state, /boot)", 1000, all(open)),
            point("PrivateTmp", 1000, all(open)),
            point("PrivateDevices", 1000, some(open, *containers || !devices.is_empty(), 3)),
            point("ProtectProc", 1000, some(open, *processes, 10)),
            point("ProtectKernelTunables", 1000, some(open || *system_files, *containers || *network_settings, 5)),
            point("ProtectKernelModules", 1000, all(open && has(&[Capability::SysModule]))),
            point("ProtectKernelLogs", 1000, all(has(&[Capability::Syslog]))),
            point("ProtectControlGroups", 1000, all(open)),
            point("RestrictNamespaces", 2000, all(calls(SystemCalls::Namespaces))),
            point("RestrictAddressFamilies (exotic)", 1000, all(wide)),
            // Every service is on the node's network; what it may reach there is the firewall's matter.
            point("PrivateNetwork", 2500, 10),
            point("IPAddressDeny", 1000, 10),
            point("KeyringMode", 1000, all(open)),
            point("SystemCallArchitectures", 1000, all(wide)),
            point("MemoryDenyWriteExecute", 100, 10),
            point("SystemCallFilter (allow-list)", 1000, all(wide)),
            point("SystemCallFilter (mount)", 1000, all(calls(SystemCalls::Mount))),
            point("SystemCallFilter (debug, bpf)", 1000, all(calls(SystemCalls::Debug) || calls(SystemCalls::Bpf))),
            point("SystemCallFilter (module, reboot, swap)", 1000, all(open)),
            point("Signals to others", 500, all(open)),
        ];
        points.extend(CAPABILITIES.into_iter().map(|(name, weight, group)| point(name, weight, all(has(group)))));
        Exposure { points }
    }

    /// The mark in tenths, 0 to 100.
    #[must_use]
    pub fn tenths(&self) -> u32 {
        let all: u32 = self.points.iter().map(|point| point.weight).sum();
        let missing: u32 = self.points.iter().map(|point| point.weight * point.missing).sum();
        (missing * 10).div_ceil(all.max(1))
    }

    #[must_use]
    pub fn word(&self) -> &'static str {
        let tenths = self.tenths();
        WORDS.iter().find(|(from, _)| tenths >= *from).map_or("PERFECT", |(_, word)| word)
    }

    /// What is missing, the weightiest first, without what no service has.
    #[must_use]
    pub fn missing(&self) -> Vec<&Point> {
        let everywhere = ["PrivateNetwork", "IPAddressDeny", "MemoryDenyWriteExecute"];
        let missing = self.points.iter().filter(|point| point.missing > 0 && !everywhere.contains(&point.name));
        let mut missing: Vec<&Point> = missing.collect();
        missing.sort_by_key(|point| std::cmp::Reverse(point.weight * point.missing));
        missing
    }
}

fn point(name: &'static str, weight: u32, missing: u32) -> Point {
    Point { name, weight, missing }
}
