//! Services that behave in a certain way, for the tests of supervision. Each act goes on until it is stopped, unless it
//! says otherwise; each names its process after itself, so that it is found in a list of processes.
//!
//! | act | what it does |
//! |---|---|
//! | `sleep` | nothing |
//! | `fill FOLDER` | writes files there until it cannot, tries to get them out of its limit, says how each attempt went |
//! | `await FILE ACT ...` | waits for a file, then acts |
//! | `facts FOLDER ...` | writes what it finds around itself |
//! | `exit STATUS` | ends |
//! | `hold-memory MIB` | takes memory and keeps it |
//! | `hold-by-child MIB` | lets a child do so, again and again |
//! | `fork-bomb` | begins itself twice, each of which does so too |
//! | `hang-disk SERIAL FOLDER` | writes to a file system whose disk stops answering |
//! | `ignore-sigterm` | hears no request to stop |
//! | `orphans` | leaves a process in a session of its own, and ends |
//! | `zombies COUNT` | leaves so many orphans that end at once |
//! | `notify [SOCKET]` | says `READY=1` and a status, by a child; to another service's socket when named |
//! | `tcp ADDRESS`, `unix PATH`, `touch PATH` | listens, or makes a file (but for the fault `late`), after a second |
//! | `http ADDRESS` | answers 503 for a second, then what /run/http says (`STATUS BODY`), else 200 |
//! | `api PORT TLS ADDRESS ...` | answers `pong` by HTTP, whether it is ready by TLS, and each datagram with the node's name and what was in it |
//! | `speak-bgp OWN PEER ASN NETWORK` | announces a /24 to a BGP neighbour, from this address of its own |
//! | `listen ADDRESS` | answers each caller with the address that it sees |
//! | `fetch ADDRESS` | writes what it is answered there, and ends |
//! | `half-open ADDRESS COUNT` | holds so many connections without a word, and counts those that ssh greets |
//! | `network-namespaces` | writes each that has a process, and ends |
//! | `oci-image NAME FILE` | makes a container image with nothing but this program in it, and ends |
//! | `list FOLDER` | writes the names in it, and ends |
//! | `enter SERVICE PROGRAM ...` | runs a program among the processes of a service that makes containers, and ends as it does |
//! | `cat FILE` | writes what is in it, and ends |
//! | `rewrite FILE` | writes the first sector as it is, says what came of it, and ends |
//! | `exists FILE` | ends well when it does |
//! | `remove PATH` | removes a file, or a folder with all in it, and ends |
//! | `talk TEXT`, `talk-and-end TEXT` | writes it |
//! | `until-term FILE` | writes `beat` into a file every second; asked to end, writes `TERM`, and `ended` 5 s later, and ends |
//! | `attack` | tries what someone would who has taken a service over, says how each attempt went, and ends |
//! | `well` | ends well, but for the fault `red` |

use std::ffi::CString;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, exit};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

pub fn run(act: &str, rest: &[&str]) {
    // A name longer than the kernel keeps is cut. Services may not write to /proc.
    let _ = CString::new(act).map(|name| rustix::thread::set_name(&name));
    match (act, rest) {
        ("await", [file, act, rest @ ..]) => {
            while !fs::exists(file).unwrap_or(false) {
                std::thread::sleep(Duration::from_millis(50));
            }
            return run(act, rest);
        }
        ("facts", folders) => facts(folders),
        ("fill", [folder]) => super::fill::run(folder),
        ("exit", [status]) => exit(status.parse().unwrap_or(99)),
        ("hold-memory", [mib]) => hold_memory(mib.parse().unwrap_or(0)),
        ("hold-by-child", [mib]) => loop {
            println!("child: {:?}", again(&["hold-memory", mib]).status());
            // Each takes the whole machine for a moment.
            std::thread::sleep(60 * SECOND);
        },
        ("fork-bomb", []) => loop {
            let _ = again(&["fork-bomb"]).spawn();
        },
        ("hang-disk", [serial, folder]) => println!("{:?}", super::hang::run(serial, folder)),
        ("ignore-sigterm", []) => {
            // SAFETY: sets the disposition of one signal in a program of one thread.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            println!("deaf");
        }
        ("orphans", []) => {
            let _ = again(&["orphan"]).spawn();
            std::thread::sleep(SECOND / 2);
            exit(3);
        }
        ("orphan", []) => {
            let _ = rustix::process::setsid();
            // SAFETY: as above.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        }
        ("zombies", [count]) => {
            for _ in 0..count.parse().unwrap_or(0) {
                let _ = again(&["parent"]).status();
            }
            println!("{count} orphans left");
        }
        ("parent", []) => {
            let _ = again(&["brief"]).spawn();
            exit(0);
        }
        ("brief", []) => {
            std::thread::sleep(Duration::from_millis(20));
            exit(0);
        }
        ("notify", []) => {
            std::thread::sleep(SECOND);
            println!("child: {:?}", again(&["say-ready"]).status());
        }
        ("say-ready", []) => {
            let path = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
            let socket =
                UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1\nSTATUS=all is well", path));
            println!("said: {socket:?}");
            // Whoever is gone cannot be asked which service it was of.
            std::thread::sleep(10 * SECOND);
            exit(0);
        }
        ("notify", [socket]) => loop {
            let said = UnixDatagram::unbound().and_then(|own| own.send_to(b"READY=1\nSTATUS=lies", socket));
            println!("lied: {:?}", said.map_err(|error| error.kind()));
            std::thread::sleep(SECOND);
        },
        ("tcp", [address]) => {
            std::thread::sleep(SECOND);
            let listener = std::net::TcpListener::bind(address);
            std::thread::spawn(move || listener.map(|listener| listener.incoming().for_each(drop)));
        }
        ("unix", [path]) => {
            std::thread::sleep(SECOND);
            let listener = UnixListener::bind(path);
            std::thread::spawn(move || listener.map(|listener| listener.incoming().for_each(drop)));
        }
        ("touch", [path]) => {
            std::thread::sleep(SECOND);
            if super::fault::wanted().as_deref() != Some("late") {
                println!("{:?}", fs::write(path, "here\n"));
            }
        }
        ("http", [address]) => http(address),
        ("api", [port, tls, addresses @ ..]) => super::api::run(port, tls, addresses),
        ("speak-bgp", [own, peer, asn, network]) => {
            println!("the session has ended: {:?}", super::bgp::speak(own, peer, asn, network));
            exit(96);
        }
        ("listen", [address]) => listen(address),
        ("fetch", [address]) => fetch(address),
        ("half-open", [address, count]) => half_open(address, count.parse().unwrap_or(0)),
        ("network-namespaces", []) => {
            let mut found: Vec<_> = fs::read_dir("/proc")
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok())
                .collect();
            found.sort();
            found.dedup();
            found.iter().for_each(|name| println!("{}", name.display()));
            exit(0);
        }
        ("oci-image", [name, file]) => {
            let made = super::oci::image(name, file);
            println!("{file}: {made:?}");
            exit(i32::from(made.is_err()));
        }
        ("enter", [service, words @ ..]) => {
            let status = super::enter::run(service, words);
            exit(status.unwrap_or_else(|error| {
                println!("cannot enter {service}: {error}");
                99
            }));
        }
        ("cat", [file]) => {
            let text = fs::read_to_string(file);
            print!("{}", text.as_deref().unwrap_or_default());
            exit(i32::from(text.is_err()));
        }
        ("rewrite", [file]) => {
            println!("{}", rewrite(file).map_or_else(|error| error.to_string(), |()| "written".to_owned()));
            exit(0);
        }
        ("exists", [file]) => {
            let there = fs::exists(file).unwrap_or(false);
            println!("{file} is {}", if there { "there" } else { "missing" });
            exit(i32::from(!there));
        }
        ("remove", [path]) => {
            let found = fs::symlink_metadata(path);
            let removed =
                found.and_then(|found| if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
            println!("{path}: {removed:?}");
            exit(i32::from(removed.is_err()));
        }
        ("list", [folder]) => {
            let listed = fs::read_dir(folder).map(|entries| {
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
            });
            let mut names = listed.unwrap_or_else(|error| {
                println!("{folder}: {error}");
                exit(1)
            });
            names.sort();
            println!("{}", names.join("\n"));
            exit(0);
        }
        ("talk-and-end", [text]) => {
            println!("{text}");
            exit(0);
        }
        ("talk", [text]) => println!("{text}"),
        ("until-term", [file]) => until_term(file),
        ("well", []) => exit(i32::from(super::fault::wanted().as_deref() == Some("red"))),
        ("attack", []) => {
            super::attack::run();
            exit(0);
        }
        ("sleep", []) => {}
        _ => {
            println!("{act:?} with {rest:?} is not an act");
            exit(98);
        }
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// This program once more.
fn again(arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("probe").args(arguments);
    command
}

fn facts(folders: &[&str]) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines() {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if ["Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs"].contains(&name) {
            println!("fact {name} {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    println!("fact files {}", files.and_then(|line| line.split_whitespace().next()).unwrap_or("none"));
    println!("fact folder {}", std::env::current_dir().unwrap_or_default().display());
    for (key, value) in std::env::vars() {
        println!("fact env {key}={value}");
    }
    for folder in folders {
        let mut names: Vec<String> = fs::read_dir(folder)
            .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        names.sort();
        println!("fact list {folder} {}", names.join(" "));
        let written = match fs::write(format!("{folder}/written"), "by facts\n") {
            Ok(()) => "done".to_owned(),
            Err(error) => error.kind().to_string(),
        };
        println!("fact write {folder} {written}");
    }
    println!("fact end");
}

fn hold_memory(mib: usize) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mib {
        // Every page is written, or the kernel would only promise it.
        held.push(vec![1; 1 << 20]);
    }
    println!("holding {} MiB", held.len());
    loop {
        std::thread::sleep(SECOND);
        std::hint::black_box(&mut held);
    }
}

/// PID 1 of a container gets no signal that it does not wait for.
fn until_term(file: &str) -> ! {
    let note = |word: &str| {
        let file = fs::OpenOptions::new().append(true).open(file);
        let _ = file.and_then(|mut file| file.write_all(format!("{word}\n").as_bytes()));
    };
    // SAFETY: plain calls on local values.
    let wanted = unsafe {
        let mut wanted: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut wanted);
        libc::sigaddset(&raw mut wanted, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const wanted, std::ptr::null_mut());
        wanted
    };
    let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        note("beat");
        // SAFETY: as above; what is known of the signal is not asked for.
        if unsafe { libc::sigtimedwait(&raw const wanted, std::ptr::null_mut(), &raw const second) } == libc::SIGTERM
        {
            note("TERM");
            std::thread::sleep(5 * SECOND);
            note("ended");
            exit(0);
        }
    }
}

fn listen(address: &str) {
    let listener = std::net::TcpListener::bind(address).unwrap_or_else(|error| {
        println!("{address}: {error}");
        exit(97)
    });
    for mut caller in listener.incoming().flatten() {
        let seen = caller.peer_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
        let _ = caller.write_all(format!("you are {seen}\n").as_bytes());
    }
}

fn fetch(address: &str) {
    let mut text = String::new();
    let fetched =
        std::net::TcpStream::connect(address).and_then(|mut stream| stream.read_to_string(&mut text)).map(drop);
    println!("fetched {text:?} from {address}: {fetched:?}");
    exit(i32::from(fetched.is_err()));
}

fn rewrite(file: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(file)?;
    let mut sector = [0; 512];
    file.read_exact(&mut sector)?;
    file.seek(SeekFrom::Start(0))?;
    println!("open for writing");
    file.write_all(&sector)?;
    file.sync_all()
}

/// Says every second how many are open and greeted. Those that are turned away are opened again.
fn half_open(address: &str, count: usize) {
    let Ok(address) = address.parse() else { exit(97) };
    let mut held: Vec<Option<(std::net::TcpStream, bool)>> = (0..count).map(|_| None).collect();
    let mut opened = 0;
    loop {
        for place in &mut held {
            let mut bytes = [0; 64];
            match place.as_mut().map(|(stream, _)| stream.read(&mut bytes)) {
                Some(Ok(1..)) if bytes.starts_with(b"SSH-") => {
                    place.iter_mut().for_each(|(_, greeted)| *greeted = true)
                }
                Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => {
                    let stream = std::net::TcpStream::connect_timeout(&address, SECOND).ok();
                    *place =
                        stream.filter(|stream| stream.set_nonblocking(true).is_ok()).map(|stream| (stream, false));
                    opened += 1;
                }
            }
        }
        let open = held.iter().flatten().count();
        let greeted = held.iter().flatten().filter(|(_, greeted)| *greeted).count();
        println!("opened {opened}, open {open}, greeted {greeted}");
        std::thread::sleep(SECOND);
    }
}

fn http(address: &str) {
    let begin = Instant::now();
    let listener = match std::net::TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(error) => {
            println!("{address}: {error}");
            exit(97);
        }
    };
    for mut caller in listener.incoming().flatten() {
        let mut request = [0; 2048];
        let _ = caller.read(&mut request);
        let told = fs::read_to_string("/run/http").unwrap_or_else(|_| "200 all well".to_owned());
        let (status, body) = told.trim_end().split_once(' ').unwrap_or(("500", ""));
        let (status, body) = if begin.elapsed() < SECOND { ("503", "not yet") } else { (status, body) };
        let answer =
            format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let _ = caller.write_all(answer.as_bytes());
    }
}
