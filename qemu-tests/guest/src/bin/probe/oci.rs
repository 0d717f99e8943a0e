//! A container image (OCI image layout in a tar archive) with nothing in it but this program: what a test imports instead
//! of fetching one.

use contract::hash::Digest;
use std::fs;
use std::io;

/// Where the program is in the image.
const PROGRAM: &str = "probe";

/// Makes the image `name` as `file`.
pub fn image(name: &str, file: &str) -> io::Result<()> {
    let program = fs::read("/proc/self/exe")?;
    let layer = archive(&[(PROGRAM, 0o755, &program)]);
    let layer_digest = Digest::of(&layer);
    let config = format!(
        r#"{{"architecture":"arm64","os":"linux","config":{{"Entrypoint":["/{PROGRAM}"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{layer_digest}"]}}}}"#
    );
    let config_digest = Digest::of(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{layer_digest}","size":{}}}]}}"#,
        config.len(),
        layer.len()
    );
    let manifest_digest = Digest::of(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{manifest_digest}","size":{},"platform":{{"architecture":"arm64","os":"linux"}},"annotations":{{"io.containerd.image.name":"{name}"}}}}]}}"#,
        manifest.len()
    );
    let blob = |digest: Digest| format!("blobs/sha256/{digest}");
    let files = [
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ("index.json".to_owned(), index.as_bytes()),
        (blob(manifest_digest), manifest.as_bytes()),
        (blob(config_digest), config.as_bytes()),
        (blob(layer_digest), &layer),
    ];
    let files: Vec<(&str, u32, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), 0o644, *bytes)).collect();
    fs::write(file, archive(&files))
}

/// A tar archive of plain files: name, mode, content (POSIX.1-1988, "ustar").
fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(*content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
