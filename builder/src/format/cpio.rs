//! The initramfs archive: cpio "newc" (kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
//! Everything belongs to root, every time is 0, inode numbers count up.

/// What an entry is.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    Directory,
    File(&'a [u8]),
    Symlink(&'a str),
    CharDevice { major: u32, minor: u32 },
}

/// An archive being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an entry: `path` without leading slash, after its directory; `mode` the permission bits.
    pub fn add(&mut self, path: &str, mode: u32, what: What<'_>) {
        let (kind, data, (major, minor)): (u32, &[u8], _) = match what {
            What::Directory => (0o040_000, &[], (0, 0)),
            What::File(bytes) => (0o100_000, bytes, (0, 0)),
            What::Symlink(target) => (0o120_000, target.as_bytes(), (0, 0)),
            What::CharDevice { major, minor } => (0o020_000, &[], (major, minor)),
        };
        self.entries += 1;
        let links = if matches!(what, What::Directory) { 2 } else { 1 };
        self.entry(path, [self.entries, kind | mode, 0, 0, links, 0, data.len() as u32, 0, 0, major, minor], data);
    }

    /// The whole archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    /// `fields`: inode, mode, uid, gid, links, time, size, device major and minor, rdev major and minor.
    fn entry(&mut self, path: &str, fields: [u32; 11], data: &[u8]) {
        self.bytes.extend(b"070701");
        let name_length = path.len() as u32 + 1;
        for field in fields.into_iter().chain([name_length, 0]) {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
