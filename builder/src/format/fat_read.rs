//! Reads FAT16 and FAT32 volumes. The bytes are untrusted: nothing in them is trusted, and no loop of clusters is
//! followed twice.

use super::fat_type::FatType;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Largest directory and file that are read, in bytes.
const LARGEST_DIRECTORY: usize = 2 * 1024 * 1024;
const LARGEST_FILE: u64 = 512 * 1024 * 1024;

/// A volume that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FatReadError {
    #[error("no FAT volume: {0}")]
    NoVolume(&'static str),
    #[error("the FAT volume is damaged: {0}")]
    Damaged(&'static str),
    #[error("reading the FAT volume: {0}")]
    Read(#[from] io::Error),
}

/// Where a volume's bytes come from.
pub trait Source {
    /// # Errors
    /// When there are not so many bytes, or they cannot be read.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for &[u8] {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let here = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(here.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A volume that is in a file from `offset` on.
#[derive(Clone, Copy, Debug)]
pub struct InFile<'f> {
    pub file: &'f File,
    pub offset: u64,
}

impl Source for InFile<'_> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let at = self.offset.checked_add(at).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_exact_at(buffer, at)
    }
}

/// A volume whose head was read and makes sense.
pub struct Reader<S> {
    source: S,
    fat_type: FatType,
    clusters: u64,
    cluster_size: u64,
    fat_at: u64,
    /// FAT16: where the root directory lies and its length. FAT32: its first cluster, and 0.
    root: (u64, u64),
    data_at: u64,
}

/// An entry of a directory.
struct Found {
    name: String,
    directory: bool,
    cluster: u64,
    size: u64,
}

impl<S: Source> Reader<S> {
    /// # Errors
    /// When the first sector is not that of a FAT16 or FAT32 volume.
    pub fn open(source: S) -> Result<Reader<S>, FatReadError> {
        let mut head = [0; 512];
        source.read_at(&mut head, 0)?;
        if head[510..] != [0x55, 0xaa] {
            return Err(FatReadError::NoVolume("its first sector has no signature"));
        }
        let sector = u64::from(u16_at(&head, 11));
        let (per_cluster, reserved) = (u64::from(head[13]), u64::from(u16_at(&head, 14)));
        if !(sector.is_power_of_two() && (512..=4096).contains(&sector) && per_cluster.is_power_of_two()) {
            return Err(FatReadError::NoVolume("its sector or cluster size is invalid"));
        }
        let fats = u64::from(head[16]);
        let root_length = u64::from(u16_at(&head, 17)) * 32;
        let either = |short: u16, long: u32| if short == 0 { u64::from(long) } else { short.into() };
        let sectors = either(u16_at(&head, 19), u32_at(&head, 32));
        let fat_sectors = either(u16_at(&head, 22), u32_at(&head, 36));
        let root_at = reserved + fats * fat_sectors;
        let data_sector = root_at + root_length.div_ceil(sector);
        let data = sectors.checked_sub(data_sector).filter(|_| fats > 0 && reserved > 0 && fat_sectors > 0);
        let clusters = data.ok_or(FatReadError::NoVolume("its sizes contradict each other"))? / per_cluster;
        let fat_type = FatType::of_clusters(clusters);
        let root = match fat_type {
            FatType::Fat12 => return Err(FatReadError::NoVolume("it is FAT12, which microdc never writes")),
            FatType::Fat16 => (root_at * sector, root_length),
            FatType::Fat32 => (u32_at(&head, 44).into(), 0),
        };
        Ok(Reader {
            source,
            fat_type,
            clusters,
            cluster_size: per_cluster * sector,
            fat_at: reserved * sector,
            root,
            data_at: data_sector * sector,
        })
    }

    #[must_use]
    pub fn fat_type(&self) -> FatType {
        self.fat_type
    }

    /// Where the first cluster begins, in bytes.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.data_at
    }

    #[must_use]
    pub fn clusters(&self) -> u64 {
        self.clusters
    }

    /// Every file by its path, and its length in bytes.
    ///
    /// # Errors
    /// When a directory is damaged.
    pub fn list(&self) -> Result<BTreeMap<String, u64>, FatReadError> {
        let mut files = BTreeMap::new();
        self.walk(&mut |path, found| {
            files.insert(path.to_owned(), found.size);
        })?;
        Ok(files)
    }

    /// The bytes of a file, or nothing when there is none. Names are compared as FAT does, without case.
    ///
    /// # Errors
    /// When the directory or the file is damaged.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FatReadError> {
        let mut wanted = None;
        self.walk(&mut |here, found| {
            if here.eq_ignore_ascii_case(path) {
                wanted = Some((found.cluster, found.size));
            }
        })?;
        let Some((cluster, size)) = wanted else { return Ok(None) };
        if size > LARGEST_FILE {
            return Err(FatReadError::Damaged("a file is longer than the volume"));
        }
        let mut bytes = if size == 0 { Vec::new() } else { self.chain(cluster, size)? };
        if (bytes.len() as u64) < size {
            return Err(FatReadError::Damaged("a file's clusters end before the file"));
        }
        bytes.truncate(size as usize);
        Ok(Some(bytes))
    }

    fn walk(&self, each: &mut dyn FnMut(&str, &Found)) -> Result<(), FatReadError> {
        let mut waiting = vec![(String::new(), None)];
        let mut seen = 0;
        while let Some((folder, cluster)) = waiting.pop() {
            seen += 1;
            if seen > 1000 {
                return Err(FatReadError::Damaged("its directories have no end"));
            }
            let bytes = match (cluster, self.fat_type) {
                (Some(cluster), _) => self.chain(cluster, LARGEST_DIRECTORY as u64)?,
                (None, FatType::Fat32) => self.chain(self.root.0, LARGEST_DIRECTORY as u64)?,
                (None, _) => {
                    let mut bytes = vec![0; self.root.1 as usize];
                    self.source.read_at(&mut bytes, self.root.0)?;
                    bytes
                }
            };
            for found in entries(&bytes) {
                let path = format!("{folder}{}", found.name);
                if found.directory {
                    waiting.push((format!("{path}/"), Some(found.cluster)));
                } else {
                    each(&path, &found);
                }
            }
        }
        Ok(())
    }

    /// The bytes of a chain of clusters, no more of them than `length` needs.
    fn chain(&self, first: u64, length: u64) -> Result<Vec<u8>, FatReadError> {
        let end = match self.fat_type {
            FatType::Fat32 => 0x0fff_fff8,
            _ => 0xfff8,
        };
        let mut bytes = Vec::new();
        let mut cluster = first;
        let mut steps = 0;
        while cluster < end && (bytes.len() as u64) < length {
            steps += 1;
            if cluster < 2 || cluster - 2 >= self.clusters || steps > self.clusters {
                return Err(FatReadError::Damaged("a cluster chain leaves the volume or forms a cycle"));
            }
            let at = bytes.len();
            bytes.resize(at + self.cluster_size as usize, 0);
            self.source.read_at(&mut bytes[at..], self.data_at + (cluster - 2) * self.cluster_size)?;
            cluster = match self.fat_type {
                FatType::Fat32 => {
                    let mut entry = [0; 4];
                    self.source.read_at(&mut entry, self.fat_at + cluster * 4)?;
                    u64::from(u32::from_le_bytes(entry) & 0x0fff_ffff)
                }
                _ => {
                    let mut entry = [0; 2];
                    self.source.read_at(&mut entry, self.fat_at + cluster * 2)?;
                    u16::from_le_bytes(entry).into()
                }
            };
        }
        Ok(bytes)
    }
}

/// The entries of a directory, with their long names where they have one.
fn entries(bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut long: Vec<u16> = Vec::new();
    for entry in bytes.as_chunks::<32>().0 {
        match (entry[0], entry[11]) {
            (0, _) => break,
            (0xe5, _) => long.clear(),
            (order, 0x0f) => {
                // The last part of a long name comes first.
                let mut part: Vec<u16> = [&entry[1..11], &entry[14..26], &entry[28..32]]
                    .concat()
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|pair| u16::from_le_bytes(*pair))
                    .collect();
                if order & 0x40 != 0 {
                    long.clear();
                }
                part.append(&mut long);
                long = part;
            }
            (_, attributes) if attributes & 0x08 != 0 => long.clear(),
            (_, attributes) => {
                let length = long.iter().position(|&unit| unit == 0).unwrap_or(long.len());
                let name = match length {
                    0 => short_name(entry),
                    _ => String::from_utf16_lossy(&long[..length]),
                };
                long.clear();
                if name != "." && name != ".." {
                    found.push(Found {
                        name,
                        directory: attributes & 0x10 != 0,
                        cluster: u64::from(u16_at(entry, 26)) | u64::from(u16_at(entry, 20)) << 16,
                        size: u32_at(entry, 28).into(),
                    });
                }
            }
        }
    }
    found
}

/// A name of the old form: eight and three, with Windows NT's marks for lower case.
fn short_name(entry: &[u8; 32]) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text = String::from_utf8_lossy(bytes).trim_end_matches(' ').to_owned();
        if lower { text.to_ascii_lowercase() } else { text }
    };
    let (stem, extension) = (part(&entry[..8], entry[12] & 0x08 != 0), part(&entry[8..11], entry[12] & 0x10 != 0));
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
