//! What someone tries who has taken a service over: each attempt by its name, and whether it reached what it wanted. Where
//! it does, the node goes on.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

type Attempt = (&'static str, fn() -> io::Result<()>);

/// Where files of its own can be made.
const OWN: &str = "/tmp";

const ATTEMPTS: &[Attempt] = &[
    // Secrets.
    ("node-config", || read("/state/node.toml").or_else(|_| read("/proc/1/root/state/node.toml"))),
    ("state", || anything_in("/state")),
    ("boot-files", || anything_in("/boot/sel").or_else(|_| anything_in("/boot/a"))),
    ("host-key", || {
        read("/var/lib/sshd/ssh_host_ed25519_key")
            .or_else(|_| read("/state/directories/var/lib/sshd/ssh_host_ed25519_key"))
    }),
    ("network-secrets", || read("/run/microdc/network.json")),
    ("kernel-memory", || read("/proc/kcore")),
    ("kernel-log", || read("/proc/kmsg")),
    // PID 1.
    ("init-seen", || fs::metadata("/proc/1/status").map(drop)),
    ("init-environment", || read("/proc/1/environ")),
    ("init-memory", || OpenOptions::new().read(true).write(true).open("/proc/1/mem").map(drop)),
    ("init-files", || anything_in("/proc/1/root")),
    ("init-traced", || call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as i64, 1, 0, 0, 0])),
    ("init-signalled", || call(libc::SYS_kill, [1, 0, 0, 0, 0])),
    ("others-signalled", others_signalled),
    ("orders", orders),
    // The machine.
    ("modprobe", || write("/proc/sys/kernel/modprobe", "/tmp/x")),
    ("core-pattern", || write("/proc/sys/kernel/core_pattern", "|/tmp/x")),
    ("sysrq", || write("/proc/sysrq-trigger", "h")),
    ("module", || call(libc::SYS_finit_module, [0, c"".as_ptr() as i64, 0, 0, 0])),
    ("kexec", || call(libc::SYS_kexec_load, [0, 0, 0, 0, 0])),
    // LINUX_REBOOT_CMD_CAD_OFF: nothing that is noticed.
    ("reboot", || call(libc::SYS_reboot, [0xfee1_dead, 0x2812_1969, 0, 0, 0])),
    ("bpf", || call(libc::SYS_bpf, [0, 0, 0, 0, 0])),
    ("io-uring", || call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0])),
    ("keyring", || call(libc::SYS_keyctl, [0, -3, 0, 0, 0])),
    ("file-by-handle", || call(libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0])),
    ("host-name", || call(libc::SYS_sethostname, [c"taken".as_ptr() as i64, 0, 0, 0, 0])),
    ("sysfs", || OpenOptions::new().write(true).open("/sys/power/state").map(drop)),
    // Disks.
    ("boot-sector", || node("nvme0n1p2", libc::S_IFBLK)),
    ("whole-disk", || node("nvme0n1", libc::S_IFBLK)),
    ("state-sector", || node("nvme0n1p6", libc::S_IFBLK)),
    ("mapped-root", || node("dm-0", libc::S_IFBLK)),
    ("device-mapper", || OpenOptions::new().read(true).write(true).open("/dev/mapper/control").map(drop)),
    ("physical-memory", || made_node(libc::S_IFCHR, libc::makedev(1, 1))),
    ("watchdog", || OpenOptions::new().write(true).open("/dev/watchdog").map(drop)),
    // What others run and read.
    ("sshd-replaced", || mount("/usr/lib/microdc/probe", "/usr/lib/openssh/sshd-session", libc::MS_BIND)),
    ("memory-mounted", || mount("tmpfs", OWN, 0)),
    ("proc-mounted", || mount("proc", OWN, 0)),
    ("operators-keys", || append("/run/ssh/authorized_keys")),
    ("run", || append("/run/written")),
    ("root-changed", || append("/usr/lib/microdc/test")),
    ("others-folder", || append("/var/lib/frr/written")),
    ("user-namespace", || call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0])),
    ("mount-namespace", || call(libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0, 0, 0, 0])),
    ("cloned-namespace", cloned_namespace),
    ("own-program", own_program),
];

/// Makes every attempt, and says of each how it went.
pub fn run() {
    for (name, attempt) in ATTEMPTS {
        match attempt() {
            Ok(()) => println!("attempt {name}: reached"),
            Err(error) => println!("attempt {name}: refused, {error}"),
        }
    }
}

fn read(path: &str) -> io::Result<()> {
    let mut byte = [0; 1];
    // An empty file has been reached, too.
    fs::File::open(path)?.read(&mut byte).map(drop)
}

fn write(path: &str, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn append(path: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path).map(drop)
}

fn anything_in(folder: &str) -> io::Result<()> {
    match fs::read_dir(folder)?.next() {
        Some(entry) => entry.map(drop),
        None => Err(ErrorKind::NotFound.into()),
    }
}

/// A system call. That it does not like what it is given means that it would have done it.
fn call(number: i64, arguments: [i64; 5]) -> io::Result<()> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the numbers above name calls that read nothing, or C strings that are static.
    let result = unsafe { libc::syscall(number as libc::c_long, a, b, c, d, e) };
    let error = io::Error::last_os_error();
    let refused = [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::ESRCH].map(Some).contains(&error.raw_os_error());
    if result < 0 && refused { Err(error) } else { Ok(()) }
}

fn mount(from: &str, at: &str, flags: libc::c_ulong) -> io::Result<()> {
    let (from, at) = (CString::new(from)?, CString::new(at)?);
    // SAFETY: C strings that outlive the calls.
    unsafe {
        if libc::mount(from.as_ptr(), at.as_ptr(), from.as_ptr(), flags, std::ptr::null()) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::umount2(at.as_ptr(), libc::MNT_DETACH);
    }
    Ok(())
}

/// A disk's node in /dev, or one made for it.
fn node(name: &str, kind: libc::mode_t) -> io::Result<()> {
    if OpenOptions::new().read(true).write(true).open(Path::new("/dev").join(name)).is_ok() {
        return Ok(());
    }
    let text = fs::read_to_string(format!("/sys/class/block/{name}/dev"))?;
    let number =
        text.trim().split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let (major, minor) = number.ok_or(ErrorKind::InvalidData)?;
    made_node(kind, libc::makedev(major, minor))
}

fn made_node(kind: libc::mode_t, number: libc::dev_t) -> io::Result<()> {
    let path = format!("{OWN}/node");
    let name = CString::new(path.as_str())?;
    // SAFETY: a C string that outlives the call.
    if unsafe { libc::mknod(name.as_ptr(), kind | 0o600, number) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let opened = OpenOptions::new().read(true).write(true).open(&path).map(drop);
    fs::remove_file(&path)?;
    opened
}

/// Any process but its own and its children: there are none of those.
fn others_signalled() -> io::Result<()> {
    let own = std::process::id();
    let reached = (2..4000).filter(|&pid| pid != own).find(|&pid| {
        // SAFETY: a plain system call; signal 0 does nothing.
        unsafe { libc::kill(pid as libc::pid_t, 0) == 0 }
    });
    reached.map(drop).ok_or(ErrorKind::NotFound.into())
}

/// PID 1 as an operator.
fn orders() -> io::Result<()> {
    let mut socket = UnixStream::connect(contract::control::SOCKET)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let version = contract::control::VERSION;
    socket.write_all(format!("{{\"version\":{version},\"request\":{{\"verb\":\"services\"}}}}\n").as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
}

fn cloned_namespace() -> io::Result<()> {
    let flags = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    // SAFETY: as fork(2): the child ends at once.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        0 => std::process::exit(0),
        pid if pid < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A program that it has brought along.
fn own_program() -> io::Result<()> {
    let path = format!("{OWN}/program");
    fs::copy("/proc/self/exe", &path)?;
    Command::new(&path).args(["well"]).status().map(drop)
}
