//! Values of keys: what a file says, and what it is read as.

use super::diagnostic::Place;
use super::quantity::{Bytes, Milliseconds};
use contract::plain_name::PlainName;
use contract::role::{ProfileName, Role};
use std::path::{Path, PathBuf};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub value: T,
    pub place: Place,
}

/// What is wrong with a value, and what to do.
pub type Mistake = (String, Option<String>);

/// A value of a key.
pub trait Value {
    type Written;
    type Is: PartialEq;

    /// Reads what was written; `name` is an entry's, and `folder` the one of the file that says it.
    ///
    /// # Errors
    /// When it can be nothing of its kind.
    fn read(name: &str, written: &Self::Written, folder: &Path) -> Result<Self::Is, Mistake>;
}

/// Values that are what is written.
macro_rules! plain {
    ($($type:ty)*) => {
        $( impl $crate::profile::value::Value for $type {
            type Written = $type;
            type Is = $type;

            fn read(_: &str, written: &$type, _: &std::path::Path) -> Result<$type, $crate::profile::value::Mistake> {
                Ok(written.clone())
            }
        } )*
    };
}

pub(super) use plain;

plain! { bool u32 u64 String Bytes Milliseconds PlainName Role ProfileName }

/// A file, from the folder of the file that names it.
#[derive(Debug)]
pub enum FileBeside {}

impl Value for FileBeside {
    type Written = String;
    type Is = PathBuf;

    fn read(_: &str, written: &String, folder: &Path) -> Result<PathBuf, Mistake> {
        Ok(folder.join(written))
    }
}

/// The folder of an overlay: a path beginning with `.` or `/`, or a name in the nearest `overlays/` above the file.
#[derive(Debug)]
pub enum Overlay {}

impl Value for Overlay {
    type Written = String;
    type Is = PathBuf;

    fn read(_: &str, overlay: &String, folder: &Path) -> Result<PathBuf, Mistake> {
        if overlay.starts_with(['.', '/']) {
            let path = folder.join(overlay);
            return if path.is_dir() {
                Ok(path)
            } else {
                Err((format!("there is no folder {}", path.display()), None))
            };
        }
        let absolute =
            folder.canonicalize().map_err(|error| (format!("cannot read {}: {error}", folder.display()), None))?;
        let mut above = absolute.ancestors().map(|above| above.join("overlays").join(overlay));
        above.find(|path| path.is_dir()).ok_or_else(|| {
            (format!("there is no overlay {overlay:?}: no folder overlays/{overlay} here or above"), None)
        })
    }
}
