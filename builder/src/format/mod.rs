//! Writers of what is on the disk: each format in its own file, each checked by an independent tool.
//!
//! - [`ext4`] the root file system · [`verity`] its hash tree
//! - [`fat`] writes FAT volumes, [`fat_read`] reads them · [`gpt`] the partition table of an image ·
//!   [`disk_table`] that of any disk that holds our slots
//! - [`cpio`] the initramfs archive · [`gzip`] the kernel's wrapping · [`derive`] ids that follow from the inputs

pub mod cpio;
pub mod cpio_read;
pub mod derive;
pub mod disk_table;
pub mod ext4;
pub mod fat;
pub mod fat_read;
pub mod fat_type;
pub mod gpt;
pub mod gzip;
pub mod verity;
