//! How fast the installer is on this machine, beside what it cannot be faster than:
//!
//! ```sh
//! cargo bench -p firstboot --bench install              # 160 MiB
//! cargo bench -p firstboot --bench install -- 64        # MiB of root
//! ```
//! The installer runs as on the node: `firstboot update`, a process with the partitions open (here files), and a bundle by
//! HTTP from this process or by a stream. Beside it `dd` of as many bytes with a flush at the end, `sha256sum`, and the
//! hashes of the same blocks by the same code on one thread. Figures are printed and never judged here.

#[cfg(not(target_env = "musl"))]
#[path = "../tests/node/pack.rs"]
mod pack;
#[cfg(not(target_env = "musl"))]
#[path = "../tests/node/server.rs"]
#[allow(dead_code)]
mod server;

#[cfg(not(target_env = "musl"))]
fn main() {
    bench::run();
}

#[cfg(target_env = "musl")]
fn main() {}

#[cfg(not(target_env = "musl"))]
mod bench {
    use super::server::Server;
    use crate::pack::lzma2;
    use contract::layout::{BLOCK, MIB, TRAILER_SIZE};
    use contract::tree;
    use contract::update::UpdateEvent;
    use firstboot::install::fixture::Recipe;
    use std::fs::File;
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    /// Half of each block is without order, so that there is something to unpack; other blocks for each seed.
    fn content(mebibytes: u64, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut bytes = vec![0; (mebibytes * MIB) as usize];
        for block in bytes.chunks_mut(BLOCK as usize) {
            let half = block.len() / 2;
            for word in block[..half].chunks_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
        }
        bytes
    }

    pub fn run() {
        let size = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(160);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut new = Recipe::new(content(32, 11), content(size, 22));
        new.pack = lzma2;
        let bundle = new.bundle();
        std::fs::write(at("bundle"), &bundle).unwrap();
        let root = new.root_with_tree().len() as u64 + TRAILER_SIZE;
        for (name, length) in [("boot-a", 32 * MIB), ("root-a", root), ("boot-b", 32 * MIB), ("root-b", root)] {
            File::create(at(name)).unwrap().set_len(length).unwrap();
        }
        let blocks = ((new.boot.len() + new.root.len()) as u64 / BLOCK) as f64;
        let both = [new.boot.as_slice(), new.root.as_slice()].concat();
        std::fs::write(at("content"), &both).unwrap();
        println!("boot 32 MiB and root {size} MiB: {blocks} blocks; bundle of {} MiB", bundle.len() as u64 / MIB);

        let dd = time(
            Command::new("dd")
                .args(["bs=1M", "conv=fsync", "status=none"])
                .args([format!("if={}", at("content").display()), format!("of={}", at("copy").display())]),
        );
        let sum = time(Command::new("sha256sum").arg(at("content")).stdout(Stdio::null()));
        let begun = Instant::now();
        let found = both.chunks(BLOCK as usize).map(tree::leaf).fold(0, |sum, leaf| sum ^ leaf.0[0]);
        let hash = begun.elapsed();
        std::hint::black_box(found);
        row("dd, with a flush", dd, blocks, [dd, hash], None);
        row("sha256sum", sum, blocks, [dd, hash], None);
        row("hashes of the blocks, one thread", hash, blocks, [dd, hash], None);
        drop(both);

        let server = Server::of(bundle);
        let mut order = new.order();
        let mut install = |name: &str, urls: Vec<String>| {
            order.urls = urls;
            std::fs::write(at("order"), serde_json::to_vec(&order).unwrap()).unwrap();
            let (taken, memory, events) = child(folder.path());
            assert!(matches!(events.last(), Some(UpdateEvent::Installed { .. })), "{events:?}");
            row(name, taken, blocks, [dd, hash], Some(memory));
        };
        install("install, all fetched by ranges", vec![server.url.clone()]);
        install("again: it is there already", vec![server.url.clone()]);
        let trailer = |root: u64| root - TRAILER_SIZE;
        let erase = || {
            let file = File::options().write(true).open(at("root-b")).unwrap();
            file.write_all_at(&[0; 4096], trailer(root)).unwrap();
        };
        erase();
        install("resumed: all but the trailer is there", vec![server.url.clone()]);
        for name in ["boot-b", "root-b"] {
            let length = std::fs::metadata(at(name)).unwrap().len();
            File::create(at(name)).unwrap().set_len(length).unwrap();
        }
        install("install, from a stream", Vec::new());
    }

    fn row(name: &str, taken: Duration, blocks: f64, [dd, hash]: [Duration; 2], memory: Option<u64>) {
        let seconds = taken.as_secs_f64();
        print!("{name:<40} {seconds:7.2} s {:9.0} blocks/s", blocks / seconds);
        print!("  {:5.2} of dd, {:5.2} of hashing", dd.as_secs_f64() / seconds, hash.as_secs_f64() / seconds);
        println!("{}", memory.map_or_else(String::new, |kib| format!("  {:.1} MiB at most", kib as f64 / 1024.0)));
    }

    fn time(command: &mut Command) -> Duration {
        let begun = Instant::now();
        assert!(command.status().unwrap().success(), "{command:?}");
        begun.elapsed()
    }

    /// Time, most memory in KiB, and what was told.
    fn child(folder: &Path) -> (Duration, u64, Vec<UpdateEvent>) {
        let begun = Instant::now();
        let open = "exec \"$0\" update <order 3<>boot-b 4<>root-b 5<boot-a 6<root-a 7<bundle";
        let mut child = Command::new("/bin/sh")
            .args(["-c", open, env!("CARGO_BIN_EXE_firstboot")])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", child.id());
        let watch = std::thread::spawn(move || {
            let mut most = 0;
            while let Ok(text) = std::fs::read_to_string(&status) {
                let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
                most = most.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let events = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        assert!(child.wait().unwrap().success());
        (begun.elapsed(), watch.join().unwrap(), events)
    }
}
