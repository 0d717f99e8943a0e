//! Where `data` goes, and the partition table that it needs. Read-only.

use super::place::{MIN_DATA, Place, Writes};
use crate::disk::gpt::{Entry, Table};
use crate::disk::layout::derived;
use crate::disk::table;
use anyhow::{Context as _, bail, ensure};
use contract::layout::{ALIGN, Extent, Partition};
use contract::node::Serial;
use std::io::{Read, Seek, SeekFrom};
use uuid::Uuid;

/// A place, and its table.
#[derive(Debug)]
pub struct Plan {
    pub place: Place,
    /// Number of the partition `data`.
    pub number: u32,
    /// On a separate disk both copies of the table; on the system disk what is missing in it.
    pub writes: Writes,
}

/// A whole separate disk of `size` bytes with logical blocks of `block` bytes.
///
/// # Errors
/// When it is too small, or its blocks are of another size than 512 or 4096 bytes.
pub fn separate(size: u64, block: u32, serial: &Serial) -> anyhow::Result<Plan> {
    ensure!(matches!(block, 512 | 4096), "its logical blocks have {block} bytes; only 512 and 4096 are supported");
    let data = table::data_extent(size).filter(|data| data.length >= MIN_DATA);
    let data = data.with_context(|| format!("it has {size} bytes, too few: data needs {MIN_DATA}"))?;
    let copies = table::copies(size, block.into(), serial).context("no partition table fits")?;
    let place = Place { extent: Extent { offset: 0, length: size }, marker: table::MARKER, data, size };
    Ok(Plan { place, number: table::NUMBER, writes: copies.into() })
}

/// The rest of the system disk of `size` bytes, behind `state`. The marker stands between both.
///
/// # Errors
/// When `state` is not there, too little is left, or something else is there in the table.
pub fn rest(disk: &mut (impl Read + Seek + ?Sized), size: u64) -> anyhow::Result<Plan> {
    let table = Table::read(disk, size)?;
    let state = table.find(Partition::State).context("its partition table has no state, which lies before data")?;
    let marker = state.extent.end();
    let offset = marker + ALIGN;
    let end = Table::usable_end(size) / ALIGN * ALIGN;
    let length = end.saturating_sub(offset);
    ensure!(length >= MIN_DATA, "{length} bytes remain after state, too few: data needs {MIN_DATA}");
    let data = Extent { offset, length };
    let place = Place { extent: Extent { offset: marker, length: end - marker }, marker, data, size };

    let entry = Entry {
        number: Partition::Data.number(),
        type_guid: Uuid::parse_str(Partition::Data.type_guid()).unwrap_or_default(),
        guid: derived(&table.disk_guid, "partition data"),
        extent: data,
        name: Partition::Data.name().to_owned(),
    };
    let writes = match table.find(Partition::Data) {
        Some(found) if found.extent == data => Vec::new(),
        Some(found) => bail!("its partition data lies at {:?}, not at {data:?}: it is left alone", found.extent),
        None => {
            let wanted = table.with(&entry, size).context("another partition follows state")?;
            let mut head = vec![0; Table::HEAD_LEN];
            disk.seek(SeekFrom::Start(0))?;
            disk.read_exact(&mut head)?;
            wanted.writes(size, &head).into_iter().map(|write| (write.offset, write.bytes)).collect()
        }
    };
    Ok(Plan { place, number: entry.number, writes })
}
