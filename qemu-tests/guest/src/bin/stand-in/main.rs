//! Stands in for k3s and Tinkerbell in tests, where their release host is out of reach: it says what it finds around
//! itself, and answers the requests by which the health gate looks at the real one. It does nothing else of theirs.
//!
//! What it finds is in `/run/stand-in/NAME`: a line for each fact, then files as they are, each below a line `== PATH`.

mod k3s;
mod tinkerbell;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// Where it leaves what it found.
const FOLDER: &str = "/run/stand-in";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let name = Path::new(&arguments[0]).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(done) = (name == "k3s").then(|| k3s::command(&arguments)).flatten() {
        if let Err(why) = &done {
            println!("level=fatal msg=\"{why}\"");
        }
        std::process::exit(i32::from(done.is_err()));
    }
    println!("stand-in for {name}: not the real one");
    let mut facts = Facts::about(&arguments);
    match name.as_str() {
        "k3s" => k3s::run(&arguments, &mut facts),
        "tinkerbell" => tinkerbell::run(&mut facts),
        _ => facts.line("unknown", &name),
    }
    facts.file("/proc/self/mountinfo");
    facts.leave(&name);
    println!("stand-in for {name}: running");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// What it has found so far.
#[derive(Default)]
struct Facts {
    lines: String,
    files: String,
}

impl Facts {
    fn about(arguments: &[String]) -> Facts {
        let mut facts = Facts::default();
        facts.line("run", &arguments.join(" "));
        let mut variables: Vec<_> = std::env::vars().collect();
        variables.sort();
        for (key, value) in variables {
            facts.line("env", &format!("{key}={value}"));
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for line in status.lines() {
            let (key, value) = line.split_once(':').unwrap_or_default();
            if ["Uid", "CapEff", "CapBnd", "NoNewPrivs"].contains(&key) {
                facts.line(key, &value.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        facts.line("files", files.and_then(|line| line.split_whitespace().next()).unwrap_or_default());
        facts.line("cgroup", fs::read_to_string("/proc/self/cgroup").unwrap_or_default().trim());
        let own = fs::read_link("/proc/self/ns/mnt").ok();
        let same = own.is_some() && own == fs::read_link("/proc/1/ns/mnt").ok();
        facts.line("mounts", if same { "those of PID 1" } else { "its own" });
        facts
    }

    fn line(&mut self, what: &str, value: &str) {
        self.lines += &format!("{what} {value}\n");
    }

    fn file(&mut self, path: &str) {
        let text = fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"));
        self.files += &format!("== {path}\n{text}");
    }

    /// Whether a folder can be written to, and what a run before this one has left there.
    fn keeps(&mut self, folder: &str) {
        let path = Path::new(folder).join("stand-in");
        let before = fs::read_to_string(&path).unwrap_or_default();
        let kept = fs::write(&path, format!("{before}x"));
        let kept = kept.map_or_else(|error| error.to_string(), |()| format!("run {}", before.len() + 1));
        self.line("keeps", &format!("{folder} {kept}"));
    }

    fn leave(&self, name: &str) {
        let path = Path::new(FOLDER).join(name);
        let written = fs::create_dir_all(FOLDER).and_then(|()| fs::write(path, self.lines.clone() + &self.files));
        println!("stand-in for {name}: what it found: {written:?}");
    }
}

/// Answers every request on this address with 200 and `body`.
fn answer(address: &str, body: &'static str) {
    answer_as(address, move || (200, body.to_owned()));
}

/// Answers every request on this address with the status and the body of that moment.
fn answer_as(address: &str, say: impl Fn() -> (u16, String) + Send + 'static) {
    let listener = match TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(error) => {
            println!("stand-in: {address}: {error}");
            std::process::exit(97);
        }
    };
    std::thread::spawn(move || {
        for mut caller in listener.incoming().flatten() {
            let mut request = [0; 2048];
            let _ = caller.read(&mut request);
            let (status, body) = say();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = caller.write_all((head + &body).as_bytes());
        }
    });
}
