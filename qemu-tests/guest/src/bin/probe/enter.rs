//! A program among the processes of a service that makes containers: in its namespaces (setns(2)) and its cgroup.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::process::Command;

/// Where the service's own processes are.
fn cgroup(service: &str) -> String {
    format!("/sys/fs/cgroup/services/{service}/inside/init.scope/cgroup.procs")
}

/// The first process of a service, by its number here.
pub fn first_process(service: &str) -> io::Result<String> {
    let processes = fs::read_to_string(cgroup(service))?;
    processes.lines().next().map(str::to_owned).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Runs it there, and returns its status.
pub fn run(service: &str, words: &[&str]) -> io::Result<i32> {
    let pid = first_process(service)?;
    let kinds = ["pid", "cgroup", "mnt"];
    let namespaces: Vec<_> =
        kinds.iter().map(|kind| fs::File::open(format!("/proc/{pid}/ns/{kind}"))).collect::<io::Result<_>>()?;
    fs::write(cgroup(service), "0")?;
    for namespace in &namespaces {
        // SAFETY: an open file; the kernel says whether it is a namespace.
        if unsafe { libc::setns(namespace.as_raw_fd(), 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Command::new(program).args(arguments).current_dir("/").status()?.code().unwrap_or(128))
}
