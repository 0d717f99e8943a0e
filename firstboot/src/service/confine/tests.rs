//! What is decided, and real processes on this machine that live with it.

use super::*;
use crate::sys::process::{Change, Program, Surroundings, spawn};
use contract::role::{
    Capability, Directory, Identity, Limits, Mount, Restart, RoleSpec, Sandbox, ServiceKind, SystemCalls, Template,
};
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::AsFd as _;

fn service(uid: u32, run: &[&str], sandbox: Sandbox) -> Service {
    Service {
        run: run.iter().map(|&word| word.to_owned()).collect(),
        kind: ServiceKind::Daemon,
        identity: Identity { uid, gid: uid, groups: Vec::new() },
        capabilities: Vec::new(),
        after: Vec::new(),
        ready: None,
        check: None,
        causes: Vec::new(),
        restart: Restart::default(),
        kill: contract::role::Kill::All,
        stop_timeout_ms: 0,
        start_timeout_ms: 0,
        once: false,
        unless: None,
        timer: None,
        limits: Limits::default(),
        environment: BTreeMap::new(),
        environment_files: Vec::new(),
        working_folder: None,
        new_privileges: false,
        mounts: Vec::new(),
        sandbox,
        needs_data: false,
        when: None,
    }
}

fn directory(path: &str, uid: u32, persistent: bool) -> Directory {
    let owner = Identity { uid, gid: uid, groups: Vec::new() };
    Directory { path: path.to_owned(), owner, mode: 0o750, persistent, data: false, limit_bytes: None }
}

fn ground() -> Ground {
    Ground::of(&role())
}

fn role() -> RoleSpec {
    let template = |to: &str, uid, mode| Template {
        from: "x.j2".to_owned(),
        to: to.to_owned(),
        owner: Identity { uid, gid: uid, groups: Vec::new() },
        mode,
    };
    RoleSpec {
        format: 1,
        role: contract::role::Role::literal("router"),
        summary: String::new(),
        version: String::new(),
        modules: Vec::new(),
        sysctls: BTreeMap::new(),
        directories: vec![
            directory("/var/lib/frr", 110, true),
            directory("/run/frr", 110, false),
            directory("/var/lib/sshd", 0, true),
            directory("/run/sshd", 0, false),
        ],
        templates: vec![
            template("/run/minio.environment", 0, 0o600),
            template("/run/tailscale.conf", 0, 0o600),
            template("/run/hosts.list", 0, 0o644),
        ],
        services: BTreeMap::new(),
        health: Vec::new(),
        vars: BTreeMap::new(),
        update: contract::role::Trial::default(),
    }
}

const MOUNTS: &str = "\
22 1 254:0 / / ro shared:1 - ext4 /dev/dm-0 ro
23 22 0:5 / /dev rw - devtmpfs devtmpfs rw
24 22 0:21 / /run rw - tmpfs tmpfs rw
30 22 259:6 / /state rw - ext4 /dev/nvme0n1p6 rw
31 22 259:6 /directories/var/lib/frr /var/lib/frr rw - ext4 /dev/nvme0n1p6 rw
32 22 259:6 /directories/var/lib/sshd /var/lib/sshd rw - ext4 /dev/nvme0n1p6 rw
33 22 259:2 / /boot/sel rw - vfat /dev/nvme0n1p1 rw
34 22 259:7 / /data rw - ext4 /dev/nvme0n1p7 rw
35 22 259:2 / /run/some\\040where rw - vfat /dev/nvme0n1p2 rw
";

#[test]
fn a_service_sees_no_disk_but_what_it_keeps() {
    let hidden = |uid, folders: &[&str]| {
        let folders = folders.iter().map(|&folder| folder.to_owned()).collect();
        ground().mounts_out_of_sight(&service(uid, &["/x"], Sandbox { folders, ..Sandbox::default() }), MOUNTS)
    };
    let others = ["/boot/sel", "/data", "/run/some where", "/state"];
    let with = |more: &[&str]| {
        let mut all: Vec<String> = others.iter().chain(more).map(|&point| point.to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(hidden(110, &[]), with(&["/var/lib/sshd"]));
    assert_eq!(hidden(120, &[]), with(&["/var/lib/frr", "/var/lib/sshd"]));
    // That root owns a folder does not make it every root service's.
    assert_eq!(hidden(0, &[]), with(&["/var/lib/frr", "/var/lib/sshd"]));
    assert_eq!(hidden(0, &["/var/lib/sshd"]), with(&["/var/lib/frr"]));
}

#[test]
fn root_services_see_no_secrets_of_others_and_only_operators_the_socket() {
    let hidden = |service: &Service| ground().files_out_of_sight(service);
    let socket = contract::control::SOCKET;
    let plain = service(0, &["/usr/sbin/tailscaled", "--config=/run/tailscale.conf"], Sandbox::default());
    assert_eq!(hidden(&plain), ["/run/minio.environment", socket, contract::names::NETWORK_JOB]);
    let operators = service(0, &["/usr/sbin/sshd"], Sandbox { operators: true, ..Sandbox::default() });
    assert_eq!(hidden(&operators), ["/run/minio.environment", "/run/tailscale.conf", contract::names::NETWORK_JOB]);
    // Permissions keep the others from them.
    assert_eq!(hidden(&service(110, &["/x"], Sandbox::default())), [socket]);
    let mut reader = service(110, &["/x"], Sandbox::default());
    reader.capabilities = vec![Capability::DacReadSearch];
    assert_eq!(hidden(&reader).len(), 4);
}

/// Runs a shell's script as root, confined, and returns what it wrote.
fn confined(script: &str, sandbox: Sandbox, capabilities: &[Capability]) -> String {
    confined_on(&Ground::default(), script, sandbox, capabilities)
}

fn confined_on(ground: &Ground, script: &str, sandbox: Sandbox, capabilities: &[Capability]) -> String {
    let mut service = service(0, &["/bin/sh", "-c", script], sandbox);
    service.capabilities = capabilities.to_vec();
    let confinement = confinement(&service, ground).unwrap();
    said(&service.run, &confinement, capabilities)
}

/// What a program of root's writes under a confinement.
fn said(run: &[String], confinement: &Confinement, capabilities: &[Capability]) -> String {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let program = Program {
        run,
        environment: vec![("PATH".to_owned(), "/usr/sbin:/usr/bin:/bin".to_owned())],
        identity: &Identity::default(),
        capabilities,
        cgroup: None,
        output: write.as_fd(),
        surroundings: Surroundings { confinement: Some(confinement), ..Surroundings::default() },
    };
    let pid = spawn(&program).unwrap();
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
    text
}

#[test]
fn root_without_capabilities_changes_nothing_of_the_machine() {
    for attempt in [
        "echo /tmp/x > /proc/sys/kernel/modprobe",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo c > /proc/sysrq-trigger",
        "echo x > /etc/written-by-a-test",
        "echo x > /sys/kernel/written-by-a-test",
        "mount -t tmpfs none /mnt",
        "unshare -U true",
        "unshare -m true",
        "mknod /tmp/disk b 259 0",
        "cat /proc/kcore",
        "ls /proc/1/root",
    ] {
        let said =
            confined(&format!("({attempt}) 2>/dev/null && echo done || echo refused"), Sandbox::default(), &[]);
        assert_eq!(said.lines().last(), Some("refused"), "{attempt}: {said}");
    }
}

#[test]
fn a_service_has_a_small_dev_a_tmp_of_its_own_and_sees_only_itself() {
    let script = "ls /dev; echo x > /tmp/x && ls /tmp; echo x > /dev/null && head -c 4 /dev/urandom | wc -c; \
                  ls /proc | grep -c '^[0-9]'; grep Seccomp: /proc/self/status; (: > /dev/new) 2>/dev/null || echo fixed";
    let said = confined(script, Sandbox::default(), &[]);
    let words: Vec<&str> = said.split_whitespace().collect();
    let dev =
        ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"];
    assert_eq!(words.get(..dev.len()), Some(dev.as_slice()), "{said}");
    let rest = words.get(dev.len()..).unwrap_or_default();
    assert_eq!(rest.first(), Some(&"x"), "{said}");
    assert_eq!(rest.get(1), Some(&"4"), "{said}");
    assert!(rest.get(2).is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count < 6)), "{said}");
    assert_eq!(rest.get(3..), Some(["Seccomp:", "2", "fixed"].as_slice()), "{said}");
}

#[test]
fn what_is_asked_for_by_name_is_there() {
    let folder = tempfile::tempdir_in("/var").unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let sandbox = Sandbox { folders: vec![path.clone()], network_settings: true, ..Sandbox::default() };
    let script = format!(
        "echo kept > {path}/file && cat {path}/file; cp /bin/true {path}/p && ({path}/p) 2>/dev/null || echo no programs"
    );
    assert_eq!(confined(&script, sandbox, &[]), "kept\nno programs\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("file")).unwrap(), "kept\n");
}

#[test]
fn where_folders_have_limits_a_service_changes_no_attributes_of_its_files_but_may_read_them() {
    let limited = Directory { limit_bytes: Some(1 << 20), ..directory("/var/lib/frr", 110, true) };
    let with = Ground::of(&RoleSpec { directories: vec![limited], ..role() });
    let without = Ground::of(&role());
    // Not on every machine has the file system such attributes: then both ways fail, for another reason than a missing permission.
    let script = "echo x >/tmp/x; chattr +A /tmp/x 2>&1 | grep -c 'not permitted'; chattr -p 7 /tmp/x 2>&1 | grep -c 'not permitted'; \
                  lsattr /tmp/x 2>&1 | grep -c 'not permitted'";
    assert_eq!(confined_on(&with, script, Sandbox::default(), &[]), "1\n1\n0\n");
    assert_eq!(confined_on(&without, script, Sandbox::default(), &[]), "0\n0\n0\n");
}

#[test]
fn capabilities_stay_as_they_are_where_a_program_would_change_them() {
    // capsh would end with an error if it could not have what it asks for.
    let script = "grep CapEff /proc/self/status; setpriv --bounding-set -all --inh-caps -all true && echo asked; \
                  grep CapEff /proc/self/status";
    let sandbox = Sandbox { fixed_capabilities: true, ..Sandbox::default() };
    let said = confined(script, sandbox, &[Capability::NetRaw]);
    assert_eq!(said.matches("0000000000002000").count(), 2, "{said}");
}

#[test]
fn children_of_init_have_a_filter_and_no_way_to_more_rights() {
    for (name, confinement) in [("reader", of_reader().unwrap()), ("claim", of_claim().unwrap())] {
        let shell = |script: &str| said(&["/bin/sh", "-c", script].map(str::to_owned), confinement, &[]);
        let facts = shell("grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/self/status");
        let none = "0000000000000000";
        assert_eq!(
            facts,
            format!("CapEff:\t{none}\nCapBnd:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2\n"),
            "{name}: {facts}"
        );
        for attempt in ["unshare -U true", "unshare -m true", "nsenter -t $$ -u true"] {
            let said = shell(&format!("({attempt}) 2>&1 && echo done || echo refused"));
            assert!(
                said.contains("Operation not permitted") && said.ends_with("refused\n"),
                "{name}: {attempt}: {said}"
            );
        }
    }
}

#[test]
fn every_filter_is_short_enough_for_the_kernel_and_no_group_allows_what_nobody_may() {
    let all = Sandbox { system_calls: SystemCalls::ALL.to_vec(), fixed_capabilities: true, ..Sandbox::default() };
    let mut widest = service(0, &["/x"], all);
    widest.capabilities = Capability::ALL.to_vec();
    let filters = [filter::filters(&widest, true), filter::of_reader(), filter::of_claim()];
    for filter in filters.into_iter().flat_map(Result::unwrap) {
        assert!(filter.len() <= 4096, "{}", filter.len());
    }
    let groups = SystemCalls::ALL.iter().flat_map(|&group| calls::of_group(group));
    let sensitive = [libc::SYS_bpf, libc::SYS_mount, libc::SYS_setns, libc::SYS_unshare, libc::SYS_ptrace];
    let machine = [
        libc::SYS_kexec_load,
        libc::SYS_finit_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_open_by_handle_at,
    ];
    for call in calls::EVERY.iter().chain(calls::OLD) {
        assert!(!machine.contains(call) && !sensitive.contains(call), "{call}");
    }
    for call in groups {
        assert!(!machine.contains(call), "{call}");
    }
}

fn wished_of(mounts: Vec<Mount>) -> Vec<Change> {
    super::view::wished(&Service { mounts, ..service(1000, &["/bin/true"], Sandbox::default()) }).unwrap()
}

fn temporary(path: &str) -> Mount {
    Mount::Temporary { path: path.to_owned(), size_bytes: 4096 }
}

fn shown(from: &str, to: &str) -> Mount {
    Mount::Bind { from: from.to_owned(), to: to.to_owned(), read_only: true }
}

#[test]
fn what_is_mounted_in_memory_of_its_own_gets_its_place_first() {
    let folder = |at: &str| Change::folder(at).unwrap().or_not();
    let made = |changes: &[Change], at: &str| changes.iter().position(|change| *change == folder(at));
    for root in ["/tmp", "/var/tmp", "/dev/shm"] {
        let changes = wished_of(vec![shown("/etc", &format!("{root}/a/b"))]);
        assert_eq!(changes[..2], [folder(&format!("{root}/a")), folder(&format!("{root}/a/b"))], "{root}");
        assert_eq!(made(&changes, root), None, "{root} itself is there");
    }
    let nested = wished_of(vec![
        temporary("/srv/web"),
        temporary("/srv/web/cache/new"),
        shown("/etc/hosts", "/srv/web/hosts"),
    ]);
    assert_eq!(made(&nested, "/srv/web"), None, "it is in the image");
    assert!(made(&nested, "/srv/web/cache") < made(&nested, "/srv/web/cache/new"));
    let file = Change::node("/srv/web/hosts", libc::S_IFREG | 0o644, 0, (0, 0)).unwrap().or_not();
    assert!(nested.contains(&file), "a file is shown on a file");
    assert_eq!(made(&wished_of(vec![temporary("/var/cache/web")]), "/var/cache/web"), None);
}

#[test]
fn a_place_in_its_dev_is_made_before_dev_is_closed_and_filled_after() {
    let spec = Service {
        mounts: vec![temporary("/dev/shm/fast"), temporary("/dev/huge/pages"), temporary("/tmp/x")],
        ..service(1000, &["/bin/true"], Sandbox::default())
    };
    let changes = super::view::changes(&spec, &ground()).unwrap();
    let at =
        |wanted: Change| changes.iter().position(|change| *change == wanted).unwrap_or_else(|| panic!("{wanted:?}"));
    let closed = at(Change::attributes("/dev", false, crate::sys::process::attribute::READ_ONLY, 0).unwrap());
    let pages = at(Change::folder("/dev/huge/pages").unwrap().or_not());
    assert!(at(Change::folder("/dev/huge").unwrap().or_not()) < pages && pages < closed);
    let filled = |path: &str| changes.iter().rposition(|change| change.words() == format!("mount tmpfs on {path}"));
    assert!(filled("/dev/huge/pages").unwrap() > closed && filled("/dev/shm/fast").unwrap() > closed);
    let shm = at(Change::folder("/dev/shm/fast").unwrap().or_not());
    assert!(filled("/dev/shm").unwrap() < shm && shm < filled("/dev/shm/fast").unwrap());
    assert!(filled("/tmp").unwrap() < filled("/tmp/x").unwrap());
}
