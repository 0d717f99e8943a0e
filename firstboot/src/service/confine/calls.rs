//! System calls by group, named as systemd names them (`systemd-analyze syscall-filter`).
//!
//! [`EVERY`] is its `@system-service` without the calls that a daemon without capabilities has no use for: other
//! identities, keyrings, System V IPC, `io_uring`, namespaces. What a capability is for comes with the capability.

use contract::role::{Capability, SystemCalls};
use libc as c;

/// Number of a system call.
pub type Call = libc::c_long;

/// What every service may call.
#[rustfmt::skip]
pub const EVERY: &[Call] = &[
    // Files, by descriptor and by name.
    c::SYS_read, c::SYS_readv, c::SYS_pread64, c::SYS_preadv, c::SYS_preadv2, c::SYS_write, c::SYS_writev, c::SYS_pwrite64,
    c::SYS_pwritev, c::SYS_pwritev2, c::SYS_lseek, c::SYS_close, c::SYS_close_range, c::SYS_dup, c::SYS_dup3, c::SYS_pipe2,
    c::SYS_fcntl, c::SYS_ioctl, c::SYS_flock, c::SYS_openat, c::SYS_openat2, c::SYS_faccessat, c::SYS_faccessat2,
    c::SYS_fstat, c::SYS_statx, c::SYS_statfs, c::SYS_fstatfs, c::SYS_getcwd, c::SYS_chdir, c::SYS_fchdir,
    c::SYS_getdents64, c::SYS_mkdirat, c::SYS_mknodat, c::SYS_unlinkat, c::SYS_symlinkat, c::SYS_readlinkat, c::SYS_linkat,
    c::SYS_renameat2, c::SYS_ftruncate, c::SYS_truncate, c::SYS_fallocate, c::SYS_fchmod, c::SYS_fchmodat, FCHMODAT2,
    c::SYS_fchown, c::SYS_fchownat, c::SYS_utimensat, c::SYS_umask, c::SYS_getxattr, c::SYS_lgetxattr, c::SYS_fgetxattr,
    c::SYS_listxattr, c::SYS_llistxattr, c::SYS_flistxattr, c::SYS_setxattr, c::SYS_lsetxattr, c::SYS_fsetxattr,
    c::SYS_removexattr, c::SYS_lremovexattr, c::SYS_fremovexattr, c::SYS_inotify_init1, c::SYS_inotify_add_watch,
    c::SYS_inotify_rm_watch, c::SYS_memfd_create, c::SYS_copy_file_range, c::SYS_sendfile, c::SYS_splice, c::SYS_tee,
    c::SYS_vmsplice, c::SYS_readahead, c::SYS_fsync, c::SYS_fdatasync, c::SYS_sync, c::SYS_syncfs,
    c::SYS_sync_file_range, c::SYS_io_setup, c::SYS_io_destroy, c::SYS_io_submit, c::SYS_io_cancel, c::SYS_io_getevents,
    // Events and timers.
    c::SYS_epoll_create1, c::SYS_epoll_ctl, c::SYS_epoll_pwait, c::SYS_epoll_pwait2, c::SYS_eventfd2, c::SYS_ppoll,
    c::SYS_pselect6, c::SYS_signalfd4, c::SYS_timerfd_create, c::SYS_timerfd_settime, c::SYS_timerfd_gettime,
    c::SYS_timer_create, c::SYS_timer_delete, c::SYS_timer_getoverrun, c::SYS_timer_gettime, c::SYS_timer_settime,
    c::SYS_getitimer, c::SYS_setitimer, c::SYS_nanosleep, c::SYS_clock_nanosleep, c::SYS_clock_gettime,
    c::SYS_clock_getres, c::SYS_gettimeofday, c::SYS_times,
    // Sockets.
    c::SYS_socket, c::SYS_socketpair, c::SYS_bind, c::SYS_listen, c::SYS_accept, c::SYS_accept4, c::SYS_connect,
    c::SYS_getsockname, c::SYS_getpeername, c::SYS_sendto, c::SYS_recvfrom, c::SYS_sendmsg, c::SYS_recvmsg, c::SYS_sendmmsg,
    c::SYS_recvmmsg, c::SYS_setsockopt, c::SYS_getsockopt, c::SYS_shutdown,
    // Memory.
    c::SYS_brk, c::SYS_mmap, c::SYS_munmap, c::SYS_mremap, c::SYS_mprotect, c::SYS_madvise, c::SYS_mincore, c::SYS_msync,
    c::SYS_mlock, c::SYS_mlock2, c::SYS_mlockall, c::SYS_munlock, c::SYS_munlockall, c::SYS_membarrier,
    c::SYS_get_mempolicy, c::SYS_set_mempolicy, c::SYS_mbind, c::SYS_pkey_alloc, c::SYS_pkey_free, c::SYS_pkey_mprotect,
    c::SYS_fadvise64,
    // Processes, threads and signals. `clone` is checked more closely: no new namespaces.
    c::SYS_execve, c::SYS_execveat, c::SYS_exit, c::SYS_exit_group, c::SYS_wait4, c::SYS_waitid, c::SYS_kill, c::SYS_tkill,
    c::SYS_tgkill, c::SYS_pidfd_open, c::SYS_pidfd_send_signal, c::SYS_rt_sigaction, c::SYS_rt_sigprocmask,
    c::SYS_rt_sigpending, c::SYS_rt_sigqueueinfo, c::SYS_rt_tgsigqueueinfo, c::SYS_rt_sigreturn, c::SYS_rt_sigsuspend,
    c::SYS_rt_sigtimedwait, c::SYS_sigaltstack, c::SYS_restart_syscall, c::SYS_set_tid_address, c::SYS_futex, FUTEX_WAITV,
    c::SYS_set_robust_list, c::SYS_get_robust_list, c::SYS_rseq, c::SYS_prctl, c::SYS_getpid, c::SYS_getppid, c::SYS_gettid,
    c::SYS_getpgid, c::SYS_setpgid, c::SYS_getsid, c::SYS_setsid, c::SYS_getuid, c::SYS_geteuid, c::SYS_getgid,
    c::SYS_getegid, c::SYS_getresuid, c::SYS_getresgid, c::SYS_getgroups, c::SYS_capget, c::SYS_capset, c::SYS_getcpu,
    c::SYS_sched_yield, c::SYS_sched_getaffinity, c::SYS_sched_setaffinity, c::SYS_sched_getparam,
    c::SYS_sched_getscheduler, c::SYS_sched_getattr, c::SYS_sched_get_priority_max, c::SYS_sched_get_priority_min,
    c::SYS_sched_rr_get_interval, c::SYS_sched_setscheduler, c::SYS_sched_setparam, c::SYS_sched_setattr,
    c::SYS_getpriority, c::SYS_setpriority, c::SYS_ioprio_get, c::SYS_ioprio_set, c::SYS_getrlimit, c::SYS_setrlimit,
    c::SYS_prlimit64, c::SYS_getrusage,
    // The machine as anyone may know it, random numbers, and more confinement.
    c::SYS_uname, c::SYS_sysinfo, c::SYS_getrandom, c::SYS_seccomp, LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE,
    LANDLOCK_RESTRICT_SELF,
    // Asking for the clock's state; to change it needs CAP_SYS_TIME.
    c::SYS_adjtimex, c::SYS_clock_adjtime,
];

/// Calls that newer machines have not, beside [`EVERY`].
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub const OLD: &[Call] = &[
    c::SYS_open, c::SYS_creat, c::SYS_access, c::SYS_stat, c::SYS_lstat, c::SYS_newfstatat, c::SYS_pipe, c::SYS_dup2,
    c::SYS_mkdir, c::SYS_rmdir, c::SYS_unlink, c::SYS_rename, c::SYS_renameat, c::SYS_link, c::SYS_symlink, c::SYS_readlink,
    c::SYS_chmod, c::SYS_chown, c::SYS_lchown, c::SYS_mknod, c::SYS_utime, c::SYS_utimes, c::SYS_futimesat, c::SYS_getdents,
    c::SYS_epoll_create, c::SYS_epoll_wait, c::SYS_eventfd, c::SYS_signalfd, c::SYS_inotify_init, c::SYS_poll,
    c::SYS_select, c::SYS_alarm, c::SYS_pause, c::SYS_time, c::SYS_fork, c::SYS_vfork, c::SYS_getpgrp, c::SYS_arch_prctl,
];
#[cfg(target_arch = "aarch64")]
pub const OLD: &[Call] = &[c::SYS_newfstatat, c::SYS_renameat];

/// What nothing on a node but PID 1 may call, containers included.
#[rustfmt::skip]
pub const NEVER: &[Call] = &[
    c::SYS_kexec_load, KEXEC_FILE_LOAD, c::SYS_init_module, c::SYS_finit_module, c::SYS_delete_module, c::SYS_reboot,
    c::SYS_open_by_handle_at, c::SYS_swapon, c::SYS_swapoff, c::SYS_acct, c::SYS_settimeofday, c::SYS_clock_settime,
    c::SYS_io_uring_setup, c::SYS_io_uring_enter, c::SYS_io_uring_register,
];

#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: Call = 294;
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: Call = 320;

// The same on all machines, and newer than some C libraries.
const LANDLOCK_CREATE_RULESET: Call = 444;
const LANDLOCK_ADD_RULE: Call = 445;
const LANDLOCK_RESTRICT_SELF: Call = 446;
const FUTEX_WAITV: Call = 449;
const FCHMODAT2: Call = 452;
const MOUNT_SETATTR: Call = 442;
const OPEN_TREE: Call = 428;
const MOVE_MOUNT: Call = 429;
const FSOPEN: Call = 430;
const FSCONFIG: Call = 431;
const FSMOUNT: Call = 432;
const FSPICK: Call = 433;

/// What a group adds.
#[must_use]
#[rustfmt::skip]
pub fn of_group(group: SystemCalls) -> &'static [Call] {
    match group {
        SystemCalls::Mount => &[
            c::SYS_mount, c::SYS_umount2, c::SYS_pivot_root, c::SYS_chroot, MOUNT_SETATTR, OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG,
            FSMOUNT, FSPICK,
        ],
        SystemCalls::Namespaces => &[c::SYS_unshare, c::SYS_setns, c::SYS_clone3],
        SystemCalls::Bpf => &[c::SYS_bpf, c::SYS_perf_event_open],
        SystemCalls::Debug => &[
            c::SYS_ptrace, c::SYS_process_vm_readv, c::SYS_process_vm_writev, c::SYS_kcmp, c::SYS_pidfd_getfd,
        ],
        SystemCalls::Ipc => &[
            c::SYS_msgget, c::SYS_msgctl, c::SYS_msgsnd, c::SYS_msgrcv, c::SYS_semget, c::SYS_semctl, c::SYS_semop,
            c::SYS_semtimedop, c::SYS_shmget, c::SYS_shmctl, c::SYS_shmat, c::SYS_shmdt, c::SYS_mq_open, c::SYS_mq_unlink,
            c::SYS_mq_timedsend, c::SYS_mq_timedreceive, c::SYS_mq_notify, c::SYS_mq_getsetattr,
        ],
        SystemCalls::Keyring => &[c::SYS_add_key, c::SYS_request_key, c::SYS_keyctl],
        SystemCalls::IoUring => &[c::SYS_io_uring_setup, c::SYS_io_uring_enter, c::SYS_io_uring_register],
    }
}

/// What a capability is for. What is not here is the matter of calls that everyone has, or of none that is ever allowed.
#[must_use]
#[rustfmt::skip]
pub fn of_capability(capability: Capability) -> &'static [Call] {
    match capability {
        Capability::Setuid | Capability::Setgid => &[
            c::SYS_setuid, c::SYS_setgid, c::SYS_setreuid, c::SYS_setregid, c::SYS_setresuid, c::SYS_setresgid, c::SYS_setfsuid,
            c::SYS_setfsgid, c::SYS_setgroups,
        ],
        Capability::SysChroot => &[c::SYS_chroot],
        Capability::SysTime => &[c::SYS_clock_settime, c::SYS_settimeofday],
        _ => &[],
    }
}
