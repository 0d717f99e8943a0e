//! What the table of a profile's keys ([`super::schema`]) is made of.
//!
//! A key is in [`table!`] once, with one of the kinds of [`kind`]. That makes how it is read, its place in the JSON
//! Schema and on the reference page, how parts are merged, where each value came from, what contradicts what, what must
//! be there, and how it is explained.

pub mod kind;

use super::diagnostic::{Diagnostic, FileId, Place, Sources};
use super::spanned::Spanned;
use super::value::{Located, Mistake};
use std::path::Path;

/// A key of a table and its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
}

/// How what several files say about one key becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value stands for itself.
    One,
    /// Adds up.
    List,
    /// Named entries, each of which counts as a whole.
    Entries,
    /// A table, whose keys count one by one.
    Table,
    /// Named tables, in each of which the keys count one by one.
    Tables,
    /// Says something about its file alone.
    PerFile,
    /// Names the files that count.
    Includes,
}

/// A kind of key.
pub trait Field {
    /// As a file says it.
    type Written;
    /// As some files together say it.
    type Layer: Default;
    /// As a whole profile has it.
    type Whole;
    const KIND: Kind;

    /// Adds what an included file says. `own` is what the including file says itself, which decides.
    fn include(
        into: &mut Self::Layer,
        from: Self::Layer,
        own: Option<&Self::Written>,
        at: &str,
        merge: &mut Merge<'_>,
    );

    /// Lays what a file says itself over what it includes.
    fn over(into: &mut Self::Layer, own: &Self::Written, file: &File<'_>, merge: &mut Merge<'_>);

    /// Nothing where something is missing, which is noted.
    fn whole(layer: Self::Layer, at: &str, missing: &mut Vec<String>) -> Option<Self::Whole>;
}

/// A table of keys. Made by [`table!`].
pub trait Keys: Sized {
    type Layer: Default;
    type Whole;
    const KEYS: &'static [Key];

    fn include(into: &mut Self::Layer, from: Self::Layer, own: Option<&Self>, at: &str, merge: &mut Merge<'_>);
    fn over(into: &mut Self::Layer, own: &Self, file: &File<'_>, merge: &mut Merge<'_>);
    fn whole(layer: Self::Layer, at: &str, missing: &mut Vec<String>) -> Option<Self::Whole>;
}

/// The file that says something.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    pub id: FileId,
    /// The folder that it is in.
    pub folder: &'a Path,
}

impl File<'_> {
    fn place<T>(&self, value: &Spanned<T>) -> Place {
        Place { file: self.id, span: value.span() }
    }
}

/// What is found while files are merged.
#[derive(Debug)]
pub struct Merge<'s> {
    pub sources: &'s Sources,
    pub mistakes: Vec<Diagnostic>,
}

impl Merge<'_> {
    fn contradiction(&mut self, what: &str, first: &Place, second: &Place) {
        let message = format!("two included parts contradict each other about {what}");
        let help = Some("decide by setting it in the profile that includes both".to_owned());
        let other = Some((first, "the other says this"));
        self.mistakes.push(Diagnostic::new(self.sources, message, second, "one says this", other, help));
    }

    fn read<T>(&mut self, place: Place, read: Result<T, Mistake>) -> Option<Located<T>> {
        match read {
            Ok(value) => Some(Located { value, place }),
            Err((message, help)) => {
                self.mistakes.push(Diagnostic::new(self.sources, message, &place, "here", None, help));
                None
            }
        }
    }
}

/// A table of keys, as `Written, Layer, Whole { /// What it is for. field: Kind<Value>, ... }`: the types of the table
/// as one file says it, as some files say it, and as a whole profile has it. A field whose key has another name is
/// written `field = "key": ...`.
macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $written:ident, $layer:ident, $whole:ident {
            $( $(#[doc = $doc:literal])* $field:ident $(= $key:literal)? : $kind:ty, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $written {
            $( $(#[doc = $doc])* $(#[serde(rename = $key)])? pub $field: <$kind as $crate::profile::field::Field>::Written, )*
        }

        #[doc = concat!("[`", stringify!($written), "`] as some files together say it.")]
        #[derive(Clone, Debug, Default)]
        pub struct $layer { $( $field: <$kind as $crate::profile::field::Field>::Layer, )* }

        #[doc = concat!("[`", stringify!($written), "`] of a whole profile, each value with its place.")]
        #[derive(Clone, Debug)]
        pub struct $whole { $( $(#[doc = $doc])* pub $field: <$kind as $crate::profile::field::Field>::Whole, )* }

        impl $crate::profile::field::Keys for $written {
            type Layer = $layer;
            type Whole = $whole;
            const KEYS: &'static [$crate::profile::field::Key] = &[$( $crate::profile::field::Key {
                name: $crate::profile::field::name_of!($field $($key)?),
                kind: <$kind as $crate::profile::field::Field>::KIND,
            } ),*];

            fn include(
                into: &mut $layer,
                from: $layer,
                own: Option<&$written>,
                at: &str,
                merge: &mut $crate::profile::field::Merge<'_>,
            ) {
                $(
                    let key = $crate::profile::field::join(at, $crate::profile::field::name_of!($field $($key)?));
                    let own_value = own.map(|own| &own.$field);
                    <$kind as $crate::profile::field::Field>::include(&mut into.$field, from.$field, own_value, &key, merge);
                )*
            }

            fn over(
                into: &mut $layer,
                own: &$written,
                file: &$crate::profile::field::File<'_>,
                merge: &mut $crate::profile::field::Merge<'_>,
            ) {
                $( <$kind as $crate::profile::field::Field>::over(&mut into.$field, &own.$field, file, merge); )*
            }

            fn whole(layer: $layer, at: &str, missing: &mut Vec<String>) -> Option<$whole> {
                // All are asked before any is missed.
                $(
                    let key = $crate::profile::field::join(at, $crate::profile::field::name_of!($field $($key)?));
                    let $field = <$kind as $crate::profile::field::Field>::whole(layer.$field, &key, missing);
                )*
                Some($whole { $( $field: $field?, )* })
            }
        }
    };
}

/// The key of a field.
macro_rules! name_of {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

pub(super) use {name_of, table};

/// A path with one key more.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
