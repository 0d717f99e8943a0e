//! The agent: `guest::probe` says what it does.

use super::ptrace;
use contract::hash::Digest;
use guest::probe::{PORT, Request, answer};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Serves the port for ever.
pub fn run() {
    loop {
        match port().and_then(|port| serve(&port)) {
            Ok(()) => {}
            Err(error) => eprintln!("probe: {error}"),
        }
        // No one has the other end open yet, or the driver is not there yet.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The port by its name: the kernel numbers ports in the order of their discovery.
fn port() -> std::io::Result<File> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("name")).unwrap_or_default().trim() == PORT {
            let path = PathBuf::from("/dev").join(entry.file_name());
            return OpenOptions::new().read(true).write(true).open(path);
        }
    }
    Err(std::io::Error::other(format!("there is no port {PORT}")))
}

fn serve(port: &File) -> std::io::Result<()> {
    let mut out = port.try_clone()?;
    for line in BufReader::new(port).lines() {
        let done = Request::parse(&line?).and_then(carry_out);
        answer(&mut out, &done)?;
    }
    Ok(())
}

fn carry_out(request: Request) -> Result<Vec<u8>, String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("{what}: {error}")
    };
    match request {
        Request::Ps => Ok(processes().iter().map(|(pid, name)| format!("{pid} {name}\n")).collect::<String>().into()),
        Request::Kill { name, signal } => {
            let signal = Signal::from_named_raw(signal).ok_or_else(|| format!("{signal} is not a valid signal"))?;
            let wanted: Vec<i32> =
                processes().into_iter().filter(|(_, other)| *other == name).map(|(pid, _)| pid).collect();
            for pid in wanted.iter().filter_map(|&pid| Pid::from_raw(pid)) {
                kill_process(pid, signal).map_err(|error| format!("killing {name}: {error}"))?;
            }
            if wanted.is_empty() {
                Err(format!("no process is named {name}"))
            } else {
                Ok(wanted.len().to_string().into())
            }
        }
        Request::Stop(pid) => ptrace::stop(pid).map(|()| Vec::new()).map_err(failed("stopping it")),
        Request::Break(pid) => ptrace::derail(pid).map(|()| Vec::new()).map_err(failed("breaking it")),
        Request::Cat(path) => fs::read(&path).map_err(failed(&path)),
        Request::Sha256(path) => Ok(Digest::of(&fs::read(&path).map_err(failed(&path))?).to_string().into_bytes()),
        Request::Write { path, text } => write(Path::new(&path), &text).map(|()| Vec::new()).map_err(failed(&path)),
        Request::Run(words) => to_its_end(&words),
        Request::Begin { name, run } => begin(&name, &run).map(|()| Vec::new()).map_err(failed(&name)),
        Request::Call(call) => ask_pid1(&call).map_err(failed("asking PID 1")),
    }
}

/// Runs a program to its end.
fn to_its_end(words: &[String]) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let all = [output.stdout, output.stderr].concat();
    if output.status.success() {
        Ok(all)
    } else {
        Err(format!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&all)))
    }
}

/// Lets a program run on; who asked reads the files that it leaves.
fn begin(name: &str, words: &[String]) -> std::io::Result<()> {
    let (program, arguments) = words.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let log = File::create(format!("/run/{name}.log"))?;
    let _ = fs::remove_file(format!("/run/{name}.end"));
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let end = format!("/run/{name}.end");
    std::thread::spawn(move || {
        let text = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let _ = fs::write(end, text);
    });
    Ok(())
}

/// Writes a file, and waits until it and its name are on the disk.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    // Files of /proc and /sys cannot be synced.
    if file.metadata()?.is_file() && !path.starts_with("/proc") && !path.starts_with("/sys") {
        file.sync_all()?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    }
    Ok(())
}

fn ask_pid1(call: &str) -> std::io::Result<Vec<u8>> {
    let mut socket = UnixStream::connect(contract::control::SOCKET)?;
    socket.write_all(format!("{call}\n").as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Processes with their names, as /proc/PID/comm has them.
fn processes() -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<(i32, String)> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, fs::read_to_string(entry.path().join("comm")).ok()?.trim_end().to_owned()))
        })
        .collect();
    found.sort_unstable();
    found
}
