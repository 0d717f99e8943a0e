//! The child process: inspects the disks, decides, claims, mounts, and reports.

use super::super::filesystem::Tools;
use super::disks::{self, Inspected, Standing};
use super::marker::Owner;
use super::plan::{self, Plan};
use super::steps::Claim;
use super::verdict::{self, Verdict};
use super::{Answer, Request, kind};
use crate::console;
use crate::disk::{layout, list, node};
use crate::sys::block;
use anyhow::{Context as _, anyhow, ensure};
use contract::names::DATA_MOUNT;
use contract::node::{DataKind, Serial};
use contract::storage::{Data, Disk};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// PID 1 feeds the watchdog, so that a PID 1 that hangs is noticed while this works.
const TOOLS: Tools = Tools { watchdog: None };
/// Longest request, in bytes.
const REQUEST: u64 = 256 * 1024;

/// The whole of `firstboot data`.
pub fn run() {
    if let Err(error) = answer() {
        console::say(format_args!("claiming data: {error:#}"));
        std::process::exit(1);
    }
}

fn answer() -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    std::io::stdin().take(REQUEST).read_to_end(&mut bytes).context("reading the request")?;
    let request: Request = serde_json::from_slice(&bytes).context("parsing the request")?;
    let mut work = Work { found: Vec::new(), request };
    let data = match work.request.disks.data {
        DataKind::None => Data::NotWanted,
        _ => work.claim().unwrap_or_else(|error| Data::Refused { reason: format!("{error:#}") }),
    };
    let mut disks = list::all(&work.request.system);
    for disk in &mut disks {
        disk.found = work.found.iter().find(|(name, _)| *name == disk.name).map(|(_, words)| words.clone());
    }
    let answer = serde_json::to_vec(&Answer { disks, data })?;
    std::io::stdout().write_all(&answer).and_then(|()| std::io::stdout().flush()).context("answering")
}

struct Work {
    request: Request,
    /// What was found, by the disk's kernel name.
    found: Vec<(String, String)>,
}

/// A disk that is open, and the place on it.
struct Opened {
    file: File,
    path: PathBuf,
    plan: Plan,
    owner: Owner,
}

impl Work {
    fn claim(&mut self) -> anyhow::Result<Data> {
        kind::ensure_tools(self.request.disks.data)?;
        let system = list::disk(&self.request.system, &self.request.system);
        let separate = disks::is_separate(&system, &self.request.disks);
        let disk = if separate { self.choose(&system)? } else { system };
        let Opened { mut file, path, plan, owner } = self.open(&disk, separate)?;
        let Disk { name, .. } = disk;

        let mut claim = Claim { disk: &mut file, path, plan, owner, separate, tools: TOOLS };
        let taken = claim.take(&name, self.request.disks.wipe.as_ref())?;
        self.found.retain(|(other, _)| *other != name);
        self.found.push((name.clone(), taken.found));
        let device = claim.partition(&name)?;
        let Claim { plan, owner, .. } = &claim;
        let (kind, size, serial) = (owner.kind, plan.place.data.length, owner.serial.clone());
        if taken.new {
            console::say(format_args!("making data ({kind}) on {device}"));
            let uuid = layout::derived(&uuid::Uuid::nil(), &format!("data {serial}"));
            kind::make(kind, &device, size, &uuid, TOOLS)?;
            sync(Path::new(&device))?;
            claim.finish()?;
        }
        let mut notes = kind::attach(kind, &device, self.request.limits, TOOLS)?;
        match &self.request.disks.wipe {
            Some(wipe) if *wipe == serial => notes.push(format!(
                "{name} (serial number {serial}) belongs to this node: remove wipe from node.toml, it is no longer \
                    needed"
            )),
            Some(wipe) => notes.push(format!(
                "wipe names {wipe}, but data is on {name} (serial number {serial}): remove wipe from node.toml"
            )),
            None => {}
        }
        let mount = matches!(kind, DataKind::Ext4 | DataKind::Xfs).then(|| DATA_MOUNT.to_owned());
        Ok(Data::Ready { disk: name, serial, device, kind, size, mount, created: taken.new, notes })
    }

    /// The separate disk that is meant. Where several could be, each is inspected at.
    fn choose(&mut self, system: &Disk) -> anyhow::Result<Disk> {
        let wanted = self.request.disks.serial.clone();
        let there = disks::wait_for_others(&system.name, wanted.as_ref());
        if wanted.is_some() || there.len() < 2 {
            return disks::named(there, wanted.as_ref(), system).map_err(|reason| anyhow!(reason));
        }
        let mut inspected = Vec::new();
        for disk in there {
            let standing = self.inspect(&disk).unwrap_or_else(|error| Standing::Unusable(format!("{error:#}")));
            self.found.push((disk.name.clone(), standing.words().to_owned()));
            inspected.push(Inspected { disk, standing });
        }
        disks::choose(inspected, self.request.disks.wipe.as_ref()).map_err(|reason| anyhow!(reason))
    }

    fn inspect(&self, disk: &Disk) -> anyhow::Result<Standing> {
        let Opened { mut file, path, plan, owner } = self.open(disk, true)?;
        let verdict = verdict::judge(&mut file, &path, &plan.place, &owner, &plan.writes, None, TOOLS)?;
        let words = verdict.to_string();
        Ok(match verdict {
            Verdict::Ours | Verdict::Unfinished => Standing::Ours(words),
            Verdict::Blank { .. } => Standing::Blank(words),
            Verdict::Erase(_) | Verdict::Refused(_) => Standing::Holds(words),
        })
    }

    /// Opens a disk for reading and writing and finds the place for `data` on it. A separate one must not be in use.
    fn open(&self, disk: &Disk, separate: bool) -> anyhow::Result<Opened> {
        let Disk { name, serial, .. } = disk;
        let serial = serial
            .clone()
            .with_context(|| format!("{name} has no serial number to identify it by: it is left alone"))?;
        ensure!(
            !disk.read_only,
            "{name} (serial number {serial}) is read-only: nothing can be kept there, and nothing on it was changed"
        );
        let path = Path::new("/dev").join(name);
        let open = |flags: i32| File::options().read(true).write(true).custom_flags(flags).open(&path);
        let opened = if separate { open(libc::O_EXCL).and_then(|_| open(0)) } else { open(0) };
        let mut file = opened.map_err(|error| match error.kind() {
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => anyhow!("{name} is read-only"),
            ErrorKind::ResourceBusy => anyhow!("{name} is in use: it is left alone"),
            _ => anyhow!("opening {name} (serial number {serial}): {error}"),
        })?;
        let size = block::size(&file).with_context(|| format!("measuring {name}"))?;
        let plan = if separate {
            plan::separate(size, block::logical_block_size(&file)?, &serial)
        } else {
            plan::rest(&mut file, size)
        };
        let plan = plan.with_context(|| format!("there is no room for data on {name} (serial number {serial})"))?;
        let owner = self.request.owner(serial, &plan);
        Ok(Opened { file, path, plan, owner })
    }
}

impl Request {
    pub fn owner(&self, serial: Serial, plan: &Plan) -> Owner {
        Owner {
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            serial,
            kind: self.disks.data,
            offset: plan.place.data.offset,
            length: plan.place.data.length,
        }
    }
}

fn sync(device: &Path) -> anyhow::Result<()> {
    File::open(device).and_then(|file| file.sync_all()).with_context(|| format!("flushing {}", device.display()))
}

impl Claim<'_, File> {
    /// The device node of `data`. The kernel may still have the partitions that were there before.
    fn partition(&self, name: &str) -> anyhow::Result<String> {
        let Plan { place, number, .. } = &self.plan;
        match node::partition(name, *number, place.data) {
            Err(_) if self.separate => {
                block::reread_partitions(&*self.disk)
                    .with_context(|| format!("letting the kernel read the partition table of {name}"))?;
                node::partition(name, *number, place.data)
            }
            other => other,
        }
    }
}
