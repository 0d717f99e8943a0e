//! A board that installs itself over the network, from the files that `microdc installer` writes.

use contract::installer::InstallOptions;
use contract::keys::PrivateKey;
use contract::layout::MIB;
use emulator::{Machine, Node};
use microdc::installer::Installer;
use microdc::serve::{Event, Server};
use qemu_tests::disks::{self, Claim, claim};
use qemu_tests::figures::figure;
use qemu_tests::forge::Forge;
use qemu_tests::probe::{PORT, Request};
use qemu_tests::router::{STEP, wait_up};
use qemu_tests::{bundles, images};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for one installation.
const INSTALL: Duration = Duration::from_secs(300);
const BOARD: &str = "10000000c0ffee01";
const DISK: &str = "MICRODC0001";

/// What a server's folder has, and what its clients said.
struct Site {
    folder: tempfile::TempDir,
    events: Arc<Mutex<Vec<Event>>>,
    server: Server,
}

impl Site {
    fn open() -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("nodes")).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = events.clone();
        let log = Box::new(move |event: &Event| log.lock().unwrap().push(event.clone()));
        let server = Server::logging(folder.path(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), log).unwrap();
        Site { folder, events, server }
    }

    /// As a node on a user network reaches it.
    fn url(&self, name: &str) -> String {
        format!("http://10.0.2.2:{}/{name}", self.server.address().port())
    }

    /// Puts a file into the folder, whole at once.
    fn put(&self, name: &str, write: impl FnOnce(&Path)) {
        let new = self.folder.path().join("new");
        write(&new);
        std::fs::rename(&new, self.folder.path().join(name)).unwrap();
    }

    fn put_config(&self, name: &str, config: &str) {
        self.put(&format!("nodes/{name}.toml"), |path| std::fs::write(path, config).unwrap());
    }

    fn said(&self, what: &str) -> bool {
        let failed = |event: &Event| matches!(event, Event::Failed { reason, .. } if reason.contains(what));
        self.events.lock().unwrap().iter().any(failed)
    }

    fn bundle_bytes(&self) -> u64 {
        let bytes = |event: &Event| match event {
            Event::Request { path, bytes, .. } if path.ends_with(".bundle") => *bytes,
            _ => 0,
        };
        self.events.lock().unwrap().iter().map(bytes).sum()
    }
}

fn config(disks: &str) -> String {
    format!(
        "name = \"n1\"\n[cluster]\nname = \"rack1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\n\
         [disks]\ndata = \"ext4\"\n{disks}\n"
    )
}

/// A board that finds the installer of this image on the network, with a disk on which no partition table is.
fn board(site: &Site, image: &Path) -> Node {
    let words = format!("microdc.install={} microdc.nodes={}", site.url("n.bundle"), site.url("nodes"));
    let options = InstallOptions::parse(&words).unwrap().unwrap();
    let installer = Installer::of(image, None, &[images::signing_key().public()], &options).unwrap();
    let tree = installer.files.into_iter().map(|file| (file.path, file.bytes.to_vec())).collect();
    let blank = tempfile::NamedTempFile::new().unwrap();
    Machine::new(blank.path())
        .name("n1")
        .serial(DISK)
        .board_serial(BOARD)
        .memory(512)
        .disk_size(disks::SIZE)
        .user_network()
        .port(PORT)
        .netboot(tree)
        .deadline(Duration::from_secs(1800))
        .prepare()
        .unwrap()
}

/// What is refused, and why; until the last word not a byte of the disk is changed.
fn is_refused(site: &Site, node: &Node, bad_bundle: &Path) {
    let before = node.disk().digest().unwrap();
    let line = node.expect("installer: FAILED", INSTALL).unwrap();
    assert!(line.contains("no node.toml for this board") && line.contains(BOARD), "{line}");
    let mac = line.rsplit_once("/nodes/").and_then(|(_, name)| name.split_once(".toml")).expect(&line).0.to_owned();
    site.put_config(BOARD, &format!("{}nmae = 1\n", config("")));
    let line = node.expect("installer: FAILED", INSTALL).unwrap();
    assert!(line.contains("is not usable") && line.contains("nmae"), "{line}");

    // The other name that a board has.
    std::fs::remove_file(site.folder.path().join(format!("nodes/{BOARD}.toml"))).unwrap();
    site.put_config(&mac, &config(""));
    node.expect("installer: FAILED: nvme0n1 (serial number MICRODC0001) holds an XFS file system", INSTALL).unwrap();
    node.expect(&format!("wipe = \"{DISK}\""), STEP).unwrap();

    site.put_config(&mac, &config(&format!("wipe = \"{DISK}\"")));
    site.put("n.bundle", |path| std::fs::copy(bad_bundle, path).map(drop).unwrap());
    let line = node.expect("installer: FAILED", INSTALL).unwrap();
    assert!(line.contains("nvme0n1 is not installed") && line.contains("key"), "{line}");
    assert_eq!(node.disk().digest().unwrap(), before, "the disk was written to");
}

#[test]
fn a_board_installs_itself_over_the_network_once_all_is_right_and_is_repaired_with_its_data_kept() {
    let site = Site::open();
    let image = images::disks();
    let release = Forge::of(&image).version("by-network").finish();
    let forged = Forge::of(&image).version("forged").signed_by(PrivateKey::from_seed(&[9; 32])).finish();
    let bad = site.folder.path().join("bad");
    bundles::write_by(&forged, &bad, &PrivateKey::from_seed(&[9; 32]).public());
    let good = site.folder.path().join("good");
    bundles::write(&release, &good);

    let mut node = board(&site, &image);
    let disk: &File = node.disk().raw();
    disk.write_all_at(b"XFSB", 0).unwrap();
    disk.write_all_at(b"files", 100 * MIB).unwrap();
    node.power_on().unwrap();
    node.expect("booting by network", STEP).unwrap();
    is_refused(&site, &node, &bad);
    for reason in ["no node.toml for this board", "is not usable", "XFS file system", "nvme0n1 is not installed"] {
        assert!(site.said(reason), "the server was not told: {reason}");
    }

    let (begun, fetched) = (Instant::now(), site.bundle_bytes());
    site.put("n.bundle", |path| std::fs::copy(&good, path).map(drop).unwrap());
    node.expect("installer: restarting into what was installed", INSTALL).unwrap();
    node.expect(": partition 2, tryboot 0", STEP).unwrap();
    node.expect("slot A on nvme0n1: edge by-network", STEP).unwrap();
    assert_eq!(claim(&node), Claim::Made("ext4 /dev/nvme0n1p7".to_owned()));
    wait_up(&node, "n1").unwrap();
    figure(
        "board from the good bundle to healthy, over the network",
        format!("{:.1} s", begun.elapsed().as_secs_f32()),
    );
    figure("bytes of the bundle that were fetched", site.bundle_bytes() - fetched);
    assert_eq!(site.server.progress()["n1"].0, site.server.progress()["n1"].1);
    disks::ask(&node, &Request::Write { path: "/data/kept".to_owned(), text: "precious".to_owned() });
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();

    // As after an installation over it that was cut off.
    node.disk().raw().write_all_at(&[0; 4096], 0).unwrap();
    let begun = Instant::now();
    node.power_on().unwrap();
    node.expect("booting by network", STEP).unwrap();
    node.expect("installer: nvme0n1 holds a node, which keeps its state and data", INSTALL).unwrap();
    node.expect("installer: restarting into what was installed", INSTALL).unwrap();
    assert_eq!(claim(&node), Claim::Found("ext4 /dev/nvme0n1p7".to_owned()));
    wait_up(&node, "n1").unwrap();
    figure("repaired over the network, from power-on to healthy", format!("{:.1} s", begun.elapsed().as_secs_f32()));
    assert_eq!(disks::ask(&node, &Request::Cat("/data/kept".to_owned())), b"precious");
}
