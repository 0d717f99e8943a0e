//! What is never written to: more than thirty kinds of wrong targets, each refused by name, and not a byte of anything
//! changed. The machine is a model in a folder, laid out as the kernel shows its block devices
//! (Documentation/ABI/testing/sysfs-block, proc(5)).

use crate::end_to_end::said;
use crate::flash_kit::*;
use contract::layout::Extent;
use microdc::flash::machine::Machine;
use microdc::flash::{Request, flash};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A model of a machine.
struct Model {
    folder: tempfile::TempDir,
    mounts: Vec<String>,
    swaps: Vec<String>,
}

impl Model {
    fn new() -> Model {
        let model = Model { folder: folder(), mounts: Vec::new(), swaps: Vec::new() };
        for name in ["dev", "proc/self", "sys/block", "sys/fs/btrfs"] {
            fs::create_dir_all(model.path(name)).unwrap();
        }
        model
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A disk of so many bytes, blank.
    fn disk(&self, name: &str, size: u64) -> PathBuf {
        let about = |file: &str, text: &str| self.put(&format!("sys/block/{name}/{file}"), text);
        about("size", &format!("{}\n", size / 512));
        about("ro", "0\n");
        about("removable", "1\n");
        about("dev", "8:16\n");
        about("queue/logical_block_size", "512\n");
        about("device/model", "Extreme 55AE    \n");
        about("device/vendor", "SanDisk \n");
        about("serial", "S4EWNX0M\n");
        fs::create_dir_all(self.path(&format!("sys/block/{name}/holders"))).unwrap();
        let path = self.path("dev").join(name);
        blank(&path, size);
        path
    }

    fn partition(&self, disk: &str, name: &str, device: &str) {
        self.put(&format!("sys/block/{disk}/{name}/partition"), "1\n");
        self.put(&format!("sys/block/{disk}/{name}/dev"), &format!("{device}\n"));
        fs::create_dir_all(self.path(&format!("sys/block/{disk}/{name}/holders"))).unwrap();
        fs::write(self.path("dev").join(name), "").unwrap();
    }

    /// Stacks a device of this kind on a part of a disk.
    fn hold(&self, below: &str, name: &str, mapped: Option<(&str, &str)>) {
        self.put(&format!("sys/block/{below}/holders/{name}"), "");
        self.put(&format!("sys/block/{name}/dev"), "253:3\n");
        if let Some((name_of, uuid)) = mapped {
            self.put(&format!("sys/block/{name}/dm/name"), &format!("{name_of}\n"));
            self.put(&format!("sys/block/{name}/dm/uuid"), &format!("{uuid}\n"));
        }
    }

    fn mount(&mut self, device: &str, source: &str, at: &str) {
        self.mounts.push(format!("36 35 {device} / {at} rw,noatime shared:1 - ext4 {source} rw"));
    }

    fn ready(&self) -> Machine {
        self.put("proc/self/mountinfo", &format!("{}\n", self.mounts.join("\n")));
        self.put("proc/swaps", &format!("Filename Type Size Used Priority\n{}\n", self.swaps.join("\n")));
        Machine::model(self.folder.path())
    }

    /// Every file of it, by its digest.
    fn state(&self) -> BTreeMap<PathBuf, contract::hash::Digest> {
        let mut found = BTreeMap::new();
        let mut queue = vec![self.folder.path().to_owned()];
        while let Some(folder) = queue.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let about = fs::symlink_metadata(&path).unwrap();
                match about {
                    _ if about.is_dir() => queue.push(path),
                    _ if about.is_file() => drop(found.insert(path.clone(), digest(&path))),
                    _ => (),
                }
            }
        }
        found
    }

    /// Flashes what is at `to`; it must be refused in these words, and nothing may change.
    #[track_caller]
    fn refuses(&self, to: &Path, words: &[&str]) {
        self.refuses_request(&request(to), words);
    }

    #[track_caller]
    fn refuses_request(&self, request: &Request<'_>, words: &[&str]) {
        let machine = self.ready();
        let before = self.state();
        let error = flash(&machine, request, &quiet).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
        assert_eq!(self.state(), before, "bytes changed: {error}");
    }
}

const SIZE: u64 = 4 * GIB;

#[test]
fn a_blank_disk_of_the_model_is_flashed_so_that_refusals_mean_something() {
    let model = Model::new();
    let path = model.disk("sdb", SIZE);
    flash(&model.ready(), &request(&path), &quiet).unwrap();
    assert_holds_image(&path);
    // By another name, as /dev/disk/by-id has them.
    let link = model.path("by-id");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    flash(&model.ready(), &request(&link), &quiet).unwrap();
}

#[test]
fn what_is_mounted_anywhere_in_any_way_is_refused() {
    let mut model = Model::new();
    let path = model.disk("sdb", SIZE);
    model.partition("sdb", "sdb1", "8:17");
    model.mount("8:16", "/dev/sdb", "/media/my\\040stick");
    model.refuses(&path, &["sdb is mounted at /media/my stick", "umount"]);

    model.mounts.clear();
    model.mount("8:17", "/dev/sdb1", "/mnt");
    model.refuses(&path, &["sdb is in use", "sdb1 is mounted at /mnt"]);
    let link = model.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    model.refuses(&link, &["sdb1 is mounted at /mnt"]);

    // btrfs has a number of its own, and one of several disks gives it its name.
    model.mounts.clear();
    model.mount("0:41", "/dev/sdb1", "/srv");
    model.refuses(&path, &["sdb1 is mounted at /srv"]);
    model.mounts.clear();
    model.put("sys/fs/btrfs/1234-uuid/devices/sdb1", "");
    model.refuses(&path, &["a mounted btrfs file system (1234-uuid)"]);
}

#[test]
fn swap_lvm_raid_luks_multipath_and_bcache_are_refused() {
    let mut model = Model::new();
    let path = model.disk("sdb", SIZE);
    model.partition("sdb", "sdb2", "8:18");
    model.swaps.push("/dev/sdb2 partition 1048572 0 -2".to_owned());
    model.refuses(&path, &["sdb2 is used as swap", "swapoff"]);
    model.swaps.clear();
    for (name, mapped, words) in [
        ("dm-0", Some(("vg0-root", "LVM-abc")), "sdb2 is part of the LVM volume vg0-root"),
        ("dm-1", Some(("secret", "CRYPT-LUKS2-abc")), "sdb2 is part of the encrypted volume secret"),
        ("dm-2", Some(("mpatha", "mpath-360")), "sdb2 is part of the multipath device mpatha"),
        ("dm-3", Some(("other", "OTHER-1")), "sdb2 is part of the device-mapper volume other"),
        ("md0", None, "sdb2 is part of the Linux RAID md0"),
        ("bcache0", None, "sdb2 is part of the device bcache0"),
    ] {
        model.hold("sdb/sdb2", name, mapped);
        model.refuses(&path, &[words, "vgchange -an, mdadm --stop"]);
        fs::remove_file(model.path("sys/block/sdb/sdb2/holders").join(name)).unwrap();
    }
    // On the whole disk, without a partition.
    model.hold("sdb", "md127", None);
    model.refuses(&path, &["sdb is part of the Linux RAID md127"]);
}

#[test]
fn the_disk_that_the_machine_runs_from_is_refused_through_every_layer() {
    let mut model = Model::new();
    let path = model.disk("nvme0n1", SIZE);
    for (number, name) in ["nvme0n1p1", "nvme0n1p2", "nvme0n1p3"].iter().enumerate() {
        model.partition("nvme0n1", name, &format!("259:{}", number + 1));
    }
    for at in ["/", "/boot/efi", "/boot/firmware", "/usr"] {
        model.mounts.clear();
        model.mount("259:1", "/dev/nvme0n1p1", at);
        model.refuses(&path, &["nvme0n1 is the disk that this machine runs from", at]);
    }
    // The root on LVM on LUKS on a RAID on a partition.
    model.mounts.clear();
    model.hold("nvme0n1/nvme0n1p3", "md0", None);
    model.hold("md0", "dm-0", Some(("luks-1", "CRYPT-LUKS2-1")));
    model.hold("dm-0", "dm-1", Some(("vg-root", "LVM-1")));
    model.put("sys/block/dm-1/dev", "253:1\n");
    model.mount("253:1", "/dev/mapper/vg-root", "/");
    model.refuses(&path, &["nvme0n1 is the disk that this machine runs from", "nvme0n1p3 is mounted at /"]);
}

#[test]
fn what_is_no_whole_disk_is_refused() {
    let model = Model::new();
    model.disk("sdb", SIZE);
    model.partition("sdb", "sdb1", "8:17");
    model.refuses(&model.path("dev/sdb1"), &["sdb1 is a partition of sdb", "/dev/sdb"]);
    for (name, words) in [
        ("md0", "a Linux RAID"),
        ("dm-0", "a device-mapper volume"),
        ("loop0", "name the file behind it"),
        ("sr0", "a CD or DVD drive"),
        ("zram0", "compressed memory"),
        ("ram0", "in memory"),
        ("nbd0", "of another machine"),
        ("fd0", "a floppy drive"),
        ("mmcblk0boot0", "does not boot from"),
    ] {
        let path = model.disk(name, SIZE);
        model.refuses(&path, &[name, words]);
    }
}

#[test]
fn disks_that_no_board_could_use_are_refused() {
    let model = Model::new();
    let path = model.disk("sdb", SIZE);
    for (file, text, words) in [
        ("ro", "1\n", "sdb is read-only"),
        ("queue/logical_block_size", "4096\n", "logical blocks of 4096 bytes"),
        ("size", "2621440\n", "sdb is too small: it has 1280 MiB, and 1347 MiB are needed"),
        ("size", "0\n", "a drive without a medium"),
    ] {
        let whole = format!("sys/block/sdb/{file}");
        let good = fs::read_to_string(model.path(&whole)).unwrap();
        model.put(&whole, text);
        model.refuses(&path, &[words]);
        model.put(&whole, &good);
    }
}

#[test]
fn content_of_someone_else_needs_the_serial_number_of_that_very_disk() {
    let model = Model::new();
    let path = model.disk("sdb", SIZE);
    scribble(&fs::File::options().write(true).open(&path).unwrap(), &[Extent { offset: 2 * GIB, length: GIB / 64 }]);
    model.refuses(&path, &["/dev/sdb holds unknown data", "--yes-erase \"S4EWNX0M\""]);
    for wrong in ["S4EWNX0", "sdb", "", "s4ewnx0m"] {
        let request = Request { erase: Some(wrong), ..request(&path) };
        model.refuses_request(&request, &["--yes-erase names", "S4EWNX0M", "nothing was written"]);
    }
    // A wrong number is a mistake on a blank disk, too.
    let blank = model.disk("sdc", SIZE);
    model.refuses_request(&Request { erase: Some("other"), ..request(&blank) }, &["nothing was written"]);
    flash(&model.ready(), &Request { erase: Some("S4EWNX0M"), ..request(&path) }, &quiet).unwrap();
    assert_holds_image(&path);
    // Without a serial number, the kernel's name.
    fs::remove_file(model.path("sys/block/sdc/serial")).unwrap();
    scribble(&fs::File::options().write(true).open(&blank).unwrap(), &[Extent { offset: 0, length: 4096 }]);
    model.refuses(&blank, &["--yes-erase \"sdc\""]);
}

#[test]
fn what_is_no_disk_and_no_file_is_refused() {
    let model = Model::new();
    let outside = folder();
    let at = |name: &str| outside.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    model.refuses(&at("folder"), &["is a folder", "microdc flash --list"]);
    model.refuses(Path::new("/dev/null"), &["is a character device"]);
    std::os::unix::fs::symlink("/dev/null", at("link")).unwrap();
    model.refuses(&at("link"), &["is a character device"]);
    std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
    model.refuses(&at("dangling"), &["dangling"]);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    model.refuses(&at("socket"), &["is a socket"]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    model.refuses(&at("pipe"), &["is a pipe"]);
    model.refuses(&at("none/disk"), &["none"]);
    model.refuses(&SHARED.image, &["is the image itself"]);
    // A slip of the pen in a disk's name must not make a file.
    let slip = Path::new("/dev/microdc-no-such-disk");
    model.refuses(slip, &["files are not made in /dev"]);
    assert!(!slip.exists());
}

#[test]
fn files_that_are_too_short_or_in_use_are_refused() {
    let model = Model::new();
    let outside = folder();
    let short = outside.path().join("short");
    blank(&short, SHARED.size - 512);
    model.refuses(&short, &["is too small", "322 MiB are needed (the image)"]);
    let attached = outside.path().join("attached");
    blank(&attached, SHARED.size);
    model.put("sys/block/loop3/loop/backing_file", &format!("{}\n", fs::canonicalize(&attached).unwrap().display()));
    model.refuses(&attached, &["is in use as loop3", "losetup -d"]);
    let busy = outside.path().join("busy");
    let holder = blank(&busy, SHARED.size);
    holder.lock().unwrap();
    model.refuses(&busy, &["another microdc is writing"]);
    for path in [short, attached, busy] {
        assert_eq!(
            rustix::fs::seek(fs::File::open(&path).unwrap(), rustix::fs::SeekFrom::Data(0)),
            Err(rustix::io::Errno::NXIO)
        );
    }
}

#[test]
fn the_list_shows_every_disk_with_what_is_on_it_and_who_uses_it() {
    let mut model = Model::new();
    model.disk("sdb", SIZE);
    model.partition("sdb", "sdb1", "8:17");
    model.mount("8:17", "/dev/sdb1", "/mnt");
    model.disk("loop0", SIZE);
    let machine = model.ready();
    let disks = machine.disks();
    assert_eq!(disks.len(), 1, "{disks:?}");
    let disk = &disks[0];
    assert_eq!((disk.model.as_deref(), disk.serial.as_deref()), (Some("SanDisk Extreme 55AE"), Some("S4EWNX0M")));
    assert_eq!((disk.size, disk.removable, &disk.partitions), (SIZE, true, &vec!["sdb1".to_owned()]));
    let uses = microdc::flash::in_use::uses(&machine, disk);
    assert_eq!(uses.len(), 1);
    assert_eq!(
        serde_json::to_value(&uses).unwrap(),
        serde_json::json!([{ "device": "sdb1", "as": "mounted", "at": "/mnt" }])
    );
    // And on this machine, whatever it has.
    let folder = folder();
    let mut list = std::process::Command::new(crate::end_to_end::MICRODC);
    list.args(["flash", "--list", "--json"]).current_dir(folder.path());
    let output = run(list);
    said(&output, 0);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for disk in list.as_array().unwrap() {
        for key in ["name", "path", "size", "serial", "model", "transport", "removable", "holds", "uses"] {
            assert!(disk.get(key).is_some(), "{key} in {disk}");
        }
    }
}
