//! Packages made for tests, well formed and otherwise.

use std::io::{Read as _, Write as _};

use microdc::lock::LockedPackage;

/// A tar header and what follows it, padded.
pub struct TarEntry {
    pub path: String,
    pub kind: u8,
    pub mode: u32,
    pub link: String,
    pub content: Vec<u8>,
}

pub fn file(path: &str, content: &[u8]) -> TarEntry {
    TarEntry { path: path.into(), kind: b'0', mode: 0o644, link: String::new(), content: content.to_vec() }
}

pub fn other(path: &str, kind: u8, link: &str) -> TarEntry {
    TarEntry { path: path.into(), kind, mode: 0o755, link: link.into(), content: Vec::new() }
}

/// Written by hand, since a good writer would not write what a bad package holds.
pub fn tar(entries: &[TarEntry]) -> Vec<u8> {
    let mut bytes = tar_without_end(entries);
    bytes.extend([0; 1024]);
    bytes
}

pub fn tar_without_end(entries: &[TarEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, entry.path.as_bytes());
        put(100, format!("{:07o}\0", entry.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", entry.content.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[entry.kind]);
        put(157, entry.link.as_bytes());
        put(257, b"ustar\x0000root\0");
        put(297, b"root\0");
        put(329, b"0000001\0");
        put(337, b"0000002\0");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(header);
        bytes.extend(&entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut packed).unwrap();
    packed
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).bytes());
        bytes.extend(*content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

pub fn control(name: &str, version: &str, fields: &str) -> Vec<u8> {
    let text = format!("Package: {name}\nVersion: {version}\nArchitecture: arm64\n{fields}Description: for a test\n");
    tar(&[other("./", b'5', ""), file("./control", text.as_bytes()), file("./conffiles", b"/etc/demo.conf\n")])
}

/// A package of `entries`.
pub fn deb(name: &str, version: &str, fields: &str, entries: &[TarEntry]) -> Vec<u8> {
    with_control(&control(name, version, fields), entries)
}

/// A package of `entries` with a script that runs behind its installation.
pub fn deb_with_script(name: &str, version: &str, fields: &str, script: &str, entries: &[TarEntry]) -> Vec<u8> {
    let mut control = control(name, version, fields);
    control.truncate(control.len() - 1024);
    control.extend(tar(&[file("./postinst", script.as_bytes())]));
    with_control(&control, entries)
}

fn with_control(control: &[u8], entries: &[TarEntry]) -> Vec<u8> {
    let (control, data) = (xz(control), xz(&tar(entries)));
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", &control), ("data.tar.xz", &data)])
}

pub fn locked(name: &str, version: &str, bytes: &[u8]) -> LockedPackage {
    LockedPackage {
        name: name.into(),
        version: version.into(),
        architecture: "arm64".into(),
        suite: "trixie".into(),
        component: "main".into(),
        path: format!("pool/main/{name}_{version}_arm64.deb"),
        size: bytes.len() as u64,
        sha256: contract::hash::Digest::of(bytes),
    }
}
