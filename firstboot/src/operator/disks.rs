//! `nodectl disks`: the disks of a node, and what became of `state` and `data`, as text for people.

use contract::storage::{Data, Disk, State, Storage};
use std::fmt::Write as _;

/// A table of disks, then `state` and `data`.
#[must_use]
pub fn text(storage: &Storage) -> String {
    let serial = |disk: &Disk| disk.serial.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let width = storage.disks.iter().map(|disk| serial(disk).len()).max().unwrap_or(0).max(6);
    let mut text = format!("{:<10}  {:width$}  {:>9}  {:>5}  \n", "DISK", "SERIAL", "SIZE", "BLOCK");
    for disk in &storage.disks {
        let mut about: Vec<&str> = Vec::new();
        about.extend(disk.system.then_some("system disk"));
        about.extend(disk.read_only.then_some("read-only"));
        about.extend(disk.model.as_deref());
        let found = disk.found.as_ref().map(|found| format!("holds {found}"));
        about.extend(found.as_deref());
        let (serial, size, about) = (serial(disk), size(disk.size), about.join(", "));
        let _ = writeln!(text, "{:<10}  {serial:width$}  {size:>9}  {:>5}  {about}", disk.name, disk.block);
    }
    text.push('\n');
    match &storage.state {
        State::Persistent { device, created, notes } => {
            let _ = writeln!(text, "state  {device}{}", if *created { ", made at this boot" } else { "" });
            notes.iter().for_each(|note| text.push_str(&format!("       {note}\n")));
        }
        State::Volatile { reason } => {
            let _ = writeln!(text, "state  in memory only, lost at the next restart: {reason}");
        }
    }
    match &storage.data {
        Data::NotWanted => text.push_str("data   not requested in node.toml\n"),
        Data::Ready { disk, device, kind, size: bytes, mount, created, notes, .. } => {
            let place = mount.as_ref().map(|mount| format!(" at {mount}")).unwrap_or_default();
            let new = if *created { ", made at this boot" } else { "" };
            let _ = writeln!(text, "data   {device} of {disk}: {kind}, {}{place}{new}", size(*bytes));
            notes.iter().for_each(|note| text.push_str(&format!("       {note}\n")));
        }
        Data::Refused { reason } => {
            let _ = writeln!(text, "data   none: {reason}");
        }
    }
    text
}

/// Bytes in binary units: `476.9 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const MIB: f64 = 1_048_576.0;
    const GIB: f64 = 1024.0 * MIB;
    const TIB: f64 = 1024.0 * GIB;
    let bytes = bytes as f64;
    match bytes {
        TIB.. => format!("{:.1} TiB", bytes / TIB),
        GIB.. => format!("{:.1} GiB", bytes / GIB),
        _ => format!("{:.1} MiB", bytes / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::node::Serial;

    #[test]
    fn each_disk_is_a_line_and_a_refusal_says_why() {
        let disk = |name: &str, system, found: Option<&str>| Disk {
            name: name.to_owned(),
            serial: Serial::try_from("S4EW".to_owned()).ok(),
            model: None,
            size: 512_110_190_592,
            block: 512,
            read_only: false,
            system,
            found: found.map(str::to_owned),
        };
        let storage = Storage {
            disks: vec![disk("mmcblk0", true, None), disk("nvme0n1", false, Some("an ext4 file system"))],
            state: State::Persistent { device: "/dev/mmcblk0p6".to_owned(), created: true, notes: Vec::new() },
            data: Data::Refused { reason: "nvme0n1 holds an ext4 file system".to_owned() },
        };
        let lines: Vec<String> = text(&storage).lines().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(lines[1], "mmcblk0     S4EW    476.9 GiB    512  system disk");
        assert_eq!(lines[2], "nvme0n1     S4EW    476.9 GiB    512  holds an ext4 file system");
        assert_eq!(lines[4], "state  /dev/mmcblk0p6, made at this boot");
        assert_eq!(lines[5], "data   none: nvme0n1 holds an ext4 file system");
        assert_eq!([1_000_000, 8_000_000_000, 2_000_398_934_016].map(size), ["1.0 MiB", "7.5 GiB", "1.8 TiB"]);
    }
}
