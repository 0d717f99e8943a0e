//! Kernel and device trees from Debian's package `linux-image-<release>`.
//!
//! Debian's arm64 vmlinuz is a raw Image; the firmware and QEMU both take it gzipped.

use super::devicetree::{DeviceTreeError, reserve_mailbox, set_clkreq};
use crate::format::fat::FatFile;
use crate::format::gzip;
use crate::tree::{Content, Kind, Package};
use contract::hash::Digest;
use contract::names::KERNEL;
use std::sync::Arc;

/// Device trees that go into every image: the CM4 on its IO board, and the Raspberry Pi 4 Model B.
pub const DEVICE_TREE: &str = "bcm2711-rpi-cm4-io.dtb";
pub const PI4_DEVICE_TREE: &str = "bcm2711-rpi-4-b.dtb";
const DEVICE_TREES: [&str; 2] = [DEVICE_TREE, PI4_DEVICE_TREE];
/// How hard to pack. Higher levels cost seconds and gain little.
const GZIP_LEVEL: u32 = 4;

/// A kernel package that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("{package} is not a kernel package: it has {found} files boot/vmlinuz-*, not one")]
    NoKernel { package: String, found: usize },
    #[error("{package} has no file {path}")]
    Missing { package: String, path: String },
    #[error("reading {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is not an arm64 kernel image: {why}")]
    NotArm64 { path: String, why: &'static str },
    #[error(transparent)]
    DeviceTree(#[from] DeviceTreeError),
    #[error("packing the kernel: {0}")]
    Pack(#[from] flate2::CompressError),
}

/// A kernel package that has what an image needs.
#[derive(Clone, Debug)]
pub struct Kernel<'p> {
    pub package: &'p Package,
    /// As `uname -r` says it.
    pub release: String,
    path: String,
}

impl<'p> Kernel<'p> {
    /// # Errors
    /// When the package holds no kernel, or more than one.
    pub fn find(package: &'p Package) -> Result<Kernel<'p>, KernelError> {
        let kernels: Vec<&str> =
            package.entries.keys().filter_map(|path| path.strip_prefix("boot/vmlinuz-")).collect();
        let [release] = kernels[..] else {
            return Err(KernelError::NoKernel { package: package.to_string(), found: kernels.len() });
        };
        Ok(Kernel { package, release: release.to_owned(), path: format!("boot/vmlinuz-{release}") })
    }

    /// The kernel's own bytes, checked.
    ///
    /// # Errors
    /// When it cannot be read, or is not a raw arm64 Image.
    pub fn image(&self) -> Result<Arc<[u8]>, KernelError> {
        let bytes = read(self.content(&self.path)?, &self.path)?;
        check(&bytes).map_err(|why| KernelError::NotArm64 { path: self.path.clone(), why })?;
        Ok(bytes)
    }

    /// SHA-256 of the kernel's own bytes.
    ///
    /// # Errors
    /// When it is missing.
    pub fn digest(&self) -> Result<Digest, KernelError> {
        Ok(self.content(&self.path)?.digest())
    }

    /// The packed kernel as a file of the boot partition.
    ///
    /// # Errors
    /// As [`Kernel::image`].
    pub fn packed(&self) -> Result<FatFile, KernelError> {
        Ok(FatFile { path: KERNEL.to_owned(), bytes: gzip::compress(&self.image()?, GZIP_LEVEL)?.into() })
    }

    /// The device trees as files of the boot partition; `clkreq` says how PCIe treats that signal, when not as the kernel
    /// does.
    ///
    /// # Errors
    /// When one is missing, or cannot be read as one.
    pub fn device_trees(&self, clkreq: Option<&str>) -> Result<Vec<FatFile>, KernelError> {
        let file = |name: &str| {
            let path = format!("usr/lib/linux-image-{}/broadcom/{name}", self.release);
            let mut bytes = reserve_mailbox(name, &read(self.content(&path)?, &path)?)?;
            if let Some(mode) = clkreq {
                bytes = set_clkreq(name, &bytes, mode)?;
            }
            Ok(FatFile { path: name.to_owned(), bytes: bytes.into() })
        };
        DEVICE_TREES.into_iter().map(file).collect()
    }

    /// The config that it was built with.
    ///
    /// # Errors
    /// When the package does not have it.
    pub fn config(&self) -> Result<Arc<[u8]>, KernelError> {
        let path = format!("boot/config-{}", self.release);
        read(self.content(&path)?, &path)
    }

    fn content(&self, path: &str) -> Result<&'p Content, KernelError> {
        match self.package.entries.get(path).map(|entry| &entry.kind) {
            Some(Kind::File(content)) => Ok(content),
            _ => Err(KernelError::Missing { package: self.package.to_string(), path: path.to_owned() }),
        }
    }
}

fn read(content: &Content, path: &str) -> Result<Arc<[u8]>, KernelError> {
    content.to_bytes().map_err(|source| KernelError::Read { path: path.to_owned(), source })
}

/// Checks the head of an arm64 Image (kernel's Documentation/arch/arm64/booting.rst, section 4).
fn check(image: &[u8]) -> Result<(), &'static str> {
    let Some(head) = image.first_chunk::<64>() else { return Err("it is shorter than its headerer") };
    if head[56..60] != *b"ARM\x64" {
        return Err("its magic number is wrong");
    }
    if head[24] & 1 != 0 {
        return Err("it is big-endian");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_little_endian_arm64_image_is_a_kernel() {
        let mut image = vec![0; 100];
        image[56..60].copy_from_slice(b"ARM\x64");
        assert_eq!(check(&image), Ok(()));
        assert!(check(&image[..63]).is_err());
        image[24] = 1;
        assert!(check(&image).is_err());
        image[24] = 0;
        image[56] ^= 1;
        assert!(check(&image).is_err());
    }
}
