//! casync, run in earnest: the new images as chunk stores behind a server that counts, the old images as seeds.

use super::server::Server;
use super::slot::Slot;
use super::{folder, tool};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const INSTALL: &str = "apt-get install casync";
/// Debian's defaults (chunks of 64 KiB on average, zstd), and the settings that came out best when many were tried.
const SETTINGS: [(&str, &str, &[&str]); 3] = [
    ("default", "casync, Debian's defaults", &[]),
    ("small", "casync, chunks of 16 KiB", &["--chunk-size=16384"]),
    ("xz", "casync, xz, chunks of 32 KiB", &["--chunk-size=32768", "--compression=xz"]),
];
const IMAGES: [&str; 2] = ["boot", "root"];

/// Whether a row is of other settings than casync's own.
pub fn is_tuned(label: &str) -> bool {
    SETTINGS.iter().any(|(_, other, options)| *other == label && !options.is_empty())
}

pub struct Casync {
    folder: PathBuf,
    server: Server,
    /// The new images.
    wanted: [Vec<u8>; 2],
}

/// Makes the stores.
pub fn publish(new: &Slot, folder: &Path) -> Result<Casync> {
    folder::fresh(folder)?;
    println!("making chunk stores with casync");
    for (name, _, options) in SETTINGS {
        for (image, file) in IMAGES.iter().zip(&new.files) {
            let mut command = Command::new("casync");
            command.arg("make").args(options).arg(format!("--store={name}.castr")).current_dir(folder);
            tool::run(command.arg(format!("{name}-{image}.caibx")).arg(file), INSTALL)?;
        }
    }
    Ok(Casync { folder: folder.to_owned(), server: Server::start(folder)?, wanted: new.images.clone() })
}

impl Casync {
    /// Bytes that an update from `old` fetches, for each of the settings.
    pub fn update(&self, old: &Slot) -> Result<Vec<(String, u64)>> {
        let mut all = Vec::new();
        for (name, label, _) in SETTINGS {
            self.server.sent();
            for (image, wanted) in IMAGES.iter().zip(&self.wanted) {
                let output = self.folder.join("output.img");
                let mut command = Command::new("casync");
                command.arg("extract").arg(format!("--store={}/{name}.castr", self.server.url));
                command.args(old.files.iter().map(|seed| format!("--seed={}", seed.display())));
                command.arg(format!("{}/{name}-{image}.caibx", self.server.url)).arg(&output);
                tool::run(&mut command, INSTALL)?;
                ensure!(&std::fs::read(&output)? == wanted, "casync made another {image} image");
                std::fs::remove_file(&output)?;
            }
            all.push((label.to_owned(), self.server.sent().bytes));
        }
        Ok(all)
    }
}
