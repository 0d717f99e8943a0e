//! An emulated node asks its emulator over a virtio-serial port: a line, answered by a line.

use super::{ArmError, io_error};
use contract::names::TRYBOOT_PORT;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ASK: &[u8] = b"tryboot 1\n";
const OK: &[u8] = b"ok";
/// Time for the whole.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const LONGEST: usize = 256;

/// `class` is the folder of ports in sysfs, `devices` the one of their device nodes.
pub fn ask(class: &Path, devices: &Path) -> Result<(), ArmError> {
    let path = find(class, devices).ok_or(ArmError::NoWay)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let port = rustix::fs::open(&path, flags, Mode::empty());
    let port = port.map_err(|error| io_error("open the emulator's port")(error.into()))?;
    talk(&port, Instant::now() + PATIENCE)
}

/// The device node of the port by its name.
fn find(class: &Path, devices: &Path) -> Option<PathBuf> {
    std::fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == TRYBOOT_PORT).then(|| devices.join(entry.file_name()))
    })
}

fn talk(port: &OwnedFd, until: Instant) -> Result<(), ArmError> {
    wait(port, PollFlags::OUT, until)?;
    rustix::io::write(port, ASK).map_err(|error| io_error("ask the emulator")(error.into()))?;
    let mut answer = Vec::new();
    let mut buffer = [0; LONGEST];
    while !answer.contains(&b'\n') && answer.len() < LONGEST {
        wait(port, PollFlags::IN, until)?;
        match rustix::io::read(port, &mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend(buffer.get(..length).unwrap_or_default()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io_error("read the emulator's answer")(error.into())),
        }
    }
    let line = answer.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line == OK { Ok(()) } else { Err(ArmError::Emulator(String::from_utf8_lossy(line).into_owned())) }
}

fn wait(port: &OwnedFd, what: PollFlags, until: Instant) -> Result<(), ArmError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ArmError::Silent);
        }
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(port, what)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(io_error("wait for the emulator")(io::Error::from(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    fn answered(answer: &'static [u8]) -> Result<(), ArmError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let emulator = std::thread::spawn(move || {
            let mut asked = [0; 10];
            theirs.read_exact(&mut asked).unwrap();
            assert_eq!(&asked, ASK);
            theirs.write_all(answer).unwrap();
            theirs
        });
        ours.set_nonblocking(true).unwrap();
        let result = talk(&ours.into(), Instant::now() + Duration::from_millis(500));
        drop(emulator.join());
        result
    }

    #[test]
    fn only_ok_is_a_yes() {
        assert!(answered(b"ok\n").is_ok());
        let error = answered(b"unknown request\n").unwrap_err().to_string();
        assert!(error.contains("unknown request"), "{error}");
        assert!(matches!(answered(b"ok"), Err(ArmError::Silent)), "no line end, no answer");
        assert!(matches!(answered(b""), Err(ArmError::Silent)));
    }

    #[test]
    fn the_port_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (port, name) in [("vport1p1", "org.qemu.other"), ("vport1p2", TRYBOOT_PORT)] {
            std::fs::create_dir(folder.path().join(port)).unwrap();
            std::fs::write(folder.path().join(port).join("name"), format!("{name}\n")).unwrap();
        }
        assert_eq!(find(folder.path(), Path::new("/dev")), Some("/dev/vport1p2".into()));
        assert!(matches!(ask(Path::new("/nonexistent"), Path::new("/dev")), Err(ArmError::NoWay)));
    }
}
