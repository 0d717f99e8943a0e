//! Why a bundle was refused.

use super::frame::FrameError;
use contract::bundle::BundleError;
use contract::layout::MIB;
use contract::manifest::Which;
use contract::role::Incompatible;
use contract::tree::TreeError;
use contract::update::Release;

/// A bundle that was not taken. The running slot is as it was; the standby slot cannot boot unless it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The bundle is of the release that runs, and has so many blocks: there is nothing to do.
    #[error("{} is already running", release.version)]
    AlreadyRunning { release: Release, blocks: u64 },
    #[error("the bundle is refused")]
    Bundle(#[from] BundleError),
    #[error("the bundle is refused: {0}")]
    Incompatible(#[from] Incompatible),
    #[error(
        "the bundle is refused: its rollback index is {found}, and this node has committed {lowest} already; use --force to install it anyway"
    )]
    Rollback { found: u64, lowest: u64 },
    #[error("the bundle is refused: version {version} has failed here: {reason}; --force tries it again")]
    FailedBefore { version: String, reason: String },
    #[error(
        "the bundle is refused: its {image} image needs {needed} bytes ({} MiB), and this node's partition has {found} ({} MiB): \
         leave something out of the image, or flash this node again{}",
        needed.div_ceil(MIB), found / MIB,
        if *image == Which::Root { " with an image whose profile sets `[disk] root` larger" } else { "" }
    )]
    TooLarge { image: Which, needed: u64, found: u64 },
    #[error("the bundle is refused: the upper levels of the {image} image's tree")]
    Upper { image: Which, source: TreeError },
    #[error("the bundle's leaves {block} of the {image} image do not match the signed root hash")]
    Leaves { image: Which, block: u64 },
    #[error("frame {frame} of the {image} image cannot be unpacked")]
    Unpack { image: Which, frame: u64, source: FrameError },
    #[error("frame {frame} of the {image} image does not match the signed root hash, at block {block}")]
    Frame { image: Which, frame: u64, block: u64 },
    #[error("the stream ends in the bundle's {what}, after {bytes} bytes")]
    Ended { what: &'static str, bytes: u64 },
    #[error("the stream ends early in the bundle's {what}, after {bytes} bytes")]
    Broken { what: &'static str, bytes: u64, source: std::io::Error },
    #[error("the stream continues after the bundle's end, at {0} bytes")]
    Longer(u64),
    #[error("the file on the server has {found} bytes, but the bundle's header says {said}")]
    Length { found: u64, said: u64 },
    #[error("the bundle cannot be fetched: {0}")]
    Server(String),
    #[error("none of the {count} URLs has an installable bundle: {reasons}")]
    Servers { count: usize, reasons: String },
    #[error("no single server has both the bundle's index and its frames")]
    Scattered,
    #[error("cannot {doing}")]
    Disk { doing: &'static str, source: std::io::Error },
    #[error("the standby slot's trailer reads back differently from what was written: do not trust its disk")]
    ReadBack,
}

impl InstallError {
    /// Whose fault it is.
    pub(super) fn fault(&self) -> Fault {
        match self {
            InstallError::Ended { .. } | InstallError::Broken { .. } => Fault::Connection,
            InstallError::Server(_) | InstallError::Servers { .. } => Fault::Servers,
            InstallError::Disk { .. } | InstallError::ReadBack => Fault::Node,
            _ => Fault::Bundle,
        }
    }
}

/// Whose fault an [`InstallError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection's: it may be better the next time.
    Connection,
    /// Every server's that has this bundle, each with its reason already.
    Servers,
    /// This node's own: no other server helps.
    Node,
    /// That of what the server has: another one may have something else.
    Bundle,
}

/// Says what was being done to the disk.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, InstallError>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, InstallError> {
        self.map_err(|source| InstallError::Disk { doing, source })
    }
}
