//! A service that takes all that its folder may hold, and tries for more.

use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

const MIB: usize = 1 << 20;

/// `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS`, `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR` (linux/fs.h).
const GET_FLAGS: u32 = 0x8008_6601;
const SET_FLAGS: u32 = 0x4008_6602;
const GET_ATTRIBUTES: u32 = 0x801c_581f;
const SET_ATTRIBUTES: u32 = 0x401c_5820;

/// Says each step as a line `fill WHAT: RESULT`, and `fill end`.
pub fn run(folder: &str) {
    let folder = Path::new(folder);
    let say = |what: &str, result: io::Result<String>| match result {
        Ok(done) => println!("fill {what}: {done}"),
        Err(error) => {
            let number = error.raw_os_error().map(Errno::from_raw_os_error);
            println!(
                "fill {what}: {}",
                if number == Some(Errno::DQUOT) { "EDQUOT".to_owned() } else { format!("{error}") }
            );
        }
    };
    // A file of its own, while there is room for one.
    let mine = folder.join("mine");
    say("file made", fs::write(&mine, "mine").map(|()| "done".to_owned()));
    say("new", write(&folder.join(name(folder))));
    // And the folder that later files take their project from.
    for (what, path) in [("file", mine.as_path()), ("folder", folder)] {
        for (attempt, get, set) in [("attributes", GET_ATTRIBUTES, SET_ATTRIBUTES), ("flags", GET_FLAGS, SET_FLAGS)] {
            say(&format!("{what} {attempt}"), escape(path, get, set));
        }
    }
    say("again", write(&folder.join(name(folder))));
    // What was there before counted, or it makes no room.
    let old = folder.join("old");
    if old.exists() {
        say("old removed", fs::remove_file(&old).map(|()| "done".to_owned()));
        say("room", write(&folder.join(name(folder))));
    }
    println!("fill end");
}

/// A name that is not taken.
fn name(folder: &Path) -> String {
    let taken = fs::read_dir(folder).map_or(0, Iterator::count);
    format!("fill-{taken}")
}

/// Writes until it fails: how many MiB that were, and why it ended.
fn write(path: &Path) -> io::Result<String> {
    let mut file = File::create(path)?;
    let mut written = 0;
    let piece = vec![7; MIB / 16];
    let why = loop {
        match file.write_all(&piece).and_then(|()| file.sync_data()) {
            Ok(()) => written += piece.len(),
            Err(error) => break error,
        }
    };
    let why =
        if why.raw_os_error() == Some(Errno::DQUOT.raw_os_error()) { "EDQUOT".to_owned() } else { why.to_string() };
    Ok(format!("{} MiB, then {why}", written / MIB))
}

/// Takes a file out of its project. What is read first is an ordinary request.
fn escape(path: &Path, get: u32, set: u32) -> io::Result<String> {
    let file = File::open(path)?;
    let before = ask(&file, get, [0; 7]);
    let before = before.map_err(|error| io::Error::other(format!("cannot even be read: {error}")))?;
    // The fourth word of struct fsxattr.
    if set == SET_ATTRIBUTES && before[3] == 0 {
        return Ok("is of no project".to_owned());
    }
    ask(&file, set, [0; 7]).map(|_| "escaped".to_owned())
}

fn ask(file: &File, request: u32, mut words: [u32; 7]) -> io::Result<[u32; 7]> {
    // SAFETY: the requests above read or fill at most the 28 bytes of struct fsxattr.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as libc::Ioctl, words.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(words) }
}
