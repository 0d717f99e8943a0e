//! The seccomp filter of a service.

use super::calls::{self, Call};
use crate::sys::quota::{SET_ATTRIBUTES, SET_FLAGS};
use contract::role::{Capability, Sandbox, Service, SystemCalls};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::{BTreeMap, BTreeSet};

type Rules = BTreeMap<Call, Vec<SeccompRule>>;

const PERMITTED: u32 = libc::EPERM as u32;
const UNKNOWN: u32 = libc::ENOSYS as u32;

#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;

/// `CLONE_NEW*`: all kinds of namespaces (linux/sched.h).
const NAMESPACES: u64 = 0x7e02_0080;

/// The filters for a service, the main one last. What is not allowed fails with EPERM. Where folders of the role have `limits`,
/// it takes no file out of its folder's project.
///
/// # Errors
/// When the rules make no program, which only a mistake in them would do.
pub fn filters(service: &Service, limits: bool) -> Result<Vec<BpfProgram>, BackendError> {
    if service.sandbox.unconfined {
        return Ok(Vec::new());
    }
    allowing(&service.sandbox, &service.capabilities, limits)
}

/// The filters for a child of PID 1 without capabilities.
///
/// # Errors
/// As [`filters`].
pub fn of_reader() -> Result<Vec<BpfProgram>, BackendError> {
    of_looker(&[])
}

/// The filters for a child of PID 1 with these capabilities.
///
/// # Errors
/// As [`filters`].
pub fn of_looker(capabilities: &[Capability]) -> Result<Vec<BpfProgram>, BackendError> {
    allowing(&Sandbox::default(), capabilities, true)
}

/// The filter for the child of PID 1 that claims disks: what nothing may call, and what it and its tools have no use for.
///
/// # Errors
/// As [`filters`].
pub fn of_claim() -> Result<Vec<BpfProgram>, BackendError> {
    let unused = [SystemCalls::Namespaces, SystemCalls::Bpf, SystemCalls::Debug, SystemCalls::Keyring];
    let refused = unused.into_iter().flat_map(calls::of_group).chain(calls::NEVER);
    // C libraries make threads and processes by clone3 where they can, and by clone where it is not known.
    let refused: Rules = refused.filter(|&&call| call != libc::SYS_clone3).map(|&call| (call, Vec::new())).collect();
    let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
    Ok(vec![
        program(clone3, SeccompAction::Allow, SeccompAction::Errno(UNKNOWN))?,
        program(refused, SeccompAction::Allow, SeccompAction::Errno(PERMITTED))?,
    ])
}

fn allowing(sandbox: &Sandbox, capabilities: &[Capability], limits: bool) -> Result<Vec<BpfProgram>, BackendError> {
    let mut filters = Vec::new();
    if sandbox.fixed_capabilities {
        let capset = Rules::from([(libc::SYS_capset, Vec::new())]);
        filters.push(program(capset, SeccompAction::Allow, SeccompAction::Errno(0))?);
    }
    let namespaces = sandbox.system_calls.contains(&SystemCalls::Namespaces);
    if !namespaces {
        // Its flags are in memory, where no filter sees them. C libraries then take `clone`.
        let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
        filters.push(program(clone3, SeccompAction::Allow, SeccompAction::Errno(UNKNOWN))?);
    }
    let mut rules: Rules = allowed(sandbox, capabilities).into_iter().map(|call| (call, Vec::new())).collect();
    // For the filter above, whose answer is the stricter one.
    rules.insert(libc::SYS_clone3, Vec::new());
    let same = SeccompCmpOp::MaskedEq(NAMESPACES);
    let clone = SeccompCondition::new(0, SeccompCmpArgLen::Qword, same, 0)?;
    let clone = if namespaces { Vec::new() } else { vec![SeccompRule::new(vec![clone])?] };
    rules.insert(libc::SYS_clone, clone);
    rules.insert(libc::SYS_socket, families(capabilities)?);
    if limits {
        rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(any_but_projects()?)?]);
    }
    filters.push(program(rules, SeccompAction::Errno(PERMITTED), SeccompAction::Allow)?);
    Ok(filters)
}

/// Requests of ioctl but for those that change whose project a file is: its owner may make them.
fn any_but_projects() -> Result<Vec<SeccompCondition>, BackendError> {
    let other = |request: u32| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request.into());
    [SET_ATTRIBUTES, SET_FLAGS].into_iter().map(other).collect()
}

/// quotactl_fd(2): the same number on all machines, and newer than some C libraries.
const QUOTACTL_FD: Call = 443;

/// `BPF_RAW_TRACEPOINT_OPEN` and `BPF_LINK_CREATE`: programs that watch the kernel, and processes through it.
const WATCHING: [u64; 2] = [17, 28];

/// The filter for what makes containers, and for all that it starts. What is refused fails with EPERM, all else is allowed:
/// other kernels and modules, files by handle, the clock, swap, accounting, and looking into the kernel; where folders of the
/// role have `limits`, also to change those.
///
/// # Errors
/// As [`filters`].
pub fn of_containers(service: &Service, limits: bool) -> Result<Vec<BpfProgram>, BackendError> {
    let mut refused: Rules = calls::NEVER.iter().map(|&call| (call, Vec::new())).collect();
    if limits {
        refused.extend([libc::SYS_quotactl, QUOTACTL_FD].map(|call| (call, Vec::new())));
    }
    if !service.sandbox.system_calls.contains(&SystemCalls::Bpf) {
        refused.insert(libc::SYS_perf_event_open, Vec::new());
        let watching = |command: u64| {
            let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command)?;
            SeccompRule::new(vec![condition])
        };
        refused.insert(libc::SYS_bpf, WATCHING.into_iter().map(watching).collect::<Result<_, _>>()?);
    }
    Ok(vec![program(refused, SeccompAction::Allow, SeccompAction::Errno(PERMITTED))?])
}

/// Sockets of the families that a node knows (sys/socket.h): the code of all others is out of reach.
fn families(capabilities: &[Capability]) -> Result<Vec<SeccompRule>, BackendError> {
    let usual = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let packets = capabilities.contains(&Capability::NetRaw).then_some(libc::AF_PACKET);
    let family = |family: i32| {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family as u64)?;
        SeccompRule::new(vec![condition])
    };
    usual.into_iter().chain(packets).map(family).collect()
}

fn allowed(sandbox: &Sandbox, capabilities: &[Capability]) -> BTreeSet<Call> {
    let groups = sandbox.system_calls.iter().flat_map(|&group| calls::of_group(group));
    let capabilities = capabilities.iter().flat_map(|&capability| calls::of_capability(capability));
    calls::EVERY.iter().chain(calls::OLD).chain(groups).chain(capabilities).copied().collect()
}

fn program(rules: Rules, other: SeccompAction, matching: SeccompAction) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, other, matching, ARCH)?.try_into()
}
