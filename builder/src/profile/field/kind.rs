//! The kinds of keys: how the values of several files are merged.

use super::{Field, File, Keys, Kind, Merge};
use crate::profile::diagnostic::Place;
use crate::profile::spanned::Spanned;
use crate::profile::value::{Located, Value};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A value that may be said.
#[derive(Debug)]
pub struct One<T>(PhantomData<T>);

/// A value that a whole profile says.
#[derive(Debug)]
pub struct Need<T>(PhantomData<T>);

/// Adds up, in the order of the includes, the file's own entries last.
#[derive(Debug)]
pub struct List<T>(PhantomData<T>);

/// Named entries: a file overrides what it includes, whole entry by whole entry.
#[derive(Debug)]
pub struct Entries<T>(PhantomData<T>);

/// A table of keys.
#[derive(Debug)]
pub struct Table<T>(PhantomData<T>);

/// Tables of keys by name.
#[derive(Debug)]
pub struct Tables<T>(PhantomData<T>);

/// Applies only to its own file, and is not merged.
#[derive(Debug)]
pub struct PerFile<T>(PhantomData<T>);

impl<T: Value> Field for One<T> {
    type Written = Option<Spanned<T::Written>>;
    type Layer = Option<Located<T::Is>>;
    type Whole = Option<Located<T::Is>>;
    const KIND: Kind = Kind::One;

    fn include(
        into: &mut Self::Layer,
        from: Self::Layer,
        own: Option<&Self::Written>,
        at: &str,
        merge: &mut Merge<'_>,
    ) {
        let Some(second) = from else { return };
        match into {
            Some(first) => {
                if first.value != second.value && own.is_none_or(Option::is_none) {
                    merge.contradiction(at, &first.place, &second.place);
                }
            }
            None => *into = Some(second),
        }
    }

    fn over(into: &mut Self::Layer, own: &Self::Written, file: &File<'_>, merge: &mut Merge<'_>) {
        let Some(own) = own else { return };
        let read = merge.read(file.place(own), T::read("", own.get_ref(), file.folder));
        *into = read.or(into.take());
    }

    fn whole(layer: Self::Layer, _: &str, _: &mut Vec<String>) -> Option<Self::Whole> {
        Some(layer)
    }
}

impl<T: Value> Field for Need<T> {
    type Written = <One<T> as Field>::Written;
    type Layer = <One<T> as Field>::Layer;
    type Whole = Located<T::Is>;
    const KIND: Kind = Kind::One;

    fn include(
        into: &mut Self::Layer,
        from: Self::Layer,
        own: Option<&Self::Written>,
        at: &str,
        merge: &mut Merge<'_>,
    ) {
        One::<T>::include(into, from, own, at, merge);
    }

    fn over(into: &mut Self::Layer, own: &Self::Written, file: &File<'_>, merge: &mut Merge<'_>) {
        One::<T>::over(into, own, file, merge);
    }

    fn whole(layer: Self::Layer, at: &str, missing: &mut Vec<String>) -> Option<Self::Whole> {
        if layer.is_none() {
            missing.push(at.to_owned());
        }
        layer
    }
}

impl<T: Value> Field for List<T> {
    type Written = Vec<Spanned<T::Written>>;
    type Layer = Vec<Located<T::Is>>;
    type Whole = Vec<Located<T::Is>>;
    const KIND: Kind = Kind::List;

    fn include(into: &mut Self::Layer, from: Self::Layer, _: Option<&Self::Written>, _: &str, _: &mut Merge<'_>) {
        into.extend(from);
    }

    fn over(into: &mut Self::Layer, own: &Self::Written, file: &File<'_>, merge: &mut Merge<'_>) {
        let read =
            |item: &Spanned<T::Written>| merge.read(file.place(item), T::read("", item.get_ref(), file.folder));
        into.extend(own.iter().filter_map(read));
    }

    fn whole(layer: Self::Layer, _: &str, _: &mut Vec<String>) -> Option<Self::Whole> {
        Some(layer)
    }
}

impl<T: Value> Field for Entries<T> {
    type Written = BTreeMap<Spanned<String>, T::Written>;
    type Layer = BTreeMap<String, Located<T::Is>>;
    type Whole = BTreeMap<String, Located<T::Is>>;
    const KIND: Kind = Kind::Entries;

    fn include(
        into: &mut Self::Layer,
        from: Self::Layer,
        own: Option<&Self::Written>,
        at: &str,
        merge: &mut Merge<'_>,
    ) {
        for (name, second) in from {
            match into.get(&name) {
                None => drop(into.insert(name, second)),
                Some(first) => {
                    let decided = own.is_some_and(|own| own.contains_key(name.as_str()));
                    if first.value != second.value && !decided {
                        merge.contradiction(&format!("{at}.{name}"), &first.place, &second.place);
                    }
                }
            }
        }
    }

    fn over(into: &mut Self::Layer, own: &Self::Written, file: &File<'_>, merge: &mut Merge<'_>) {
        for (name, written) in own {
            if let Some(read) = merge.read(file.place(name), T::read(name.get_ref(), written, file.folder)) {
                into.insert(name.get_ref().clone(), read);
            }
        }
    }

    fn whole(layer: Self::Layer, _: &str, _: &mut Vec<String>) -> Option<Self::Whole> {
        Some(layer)
    }
}

impl<T: Keys> Field for Table<T> {
    type Written = Option<T>;
    type Layer = T::Layer;
    type Whole = T::Whole;
    const KIND: Kind = Kind::Table;

    fn include(
        into: &mut Self::Layer,
        from: Self::Layer,
        own: Option<&Self::Written>,
        at: &str,
        merge: &mut Merge<'_>,
    ) {
        T::include(into, from, own.and_then(Option::as_ref), at, merge);
    }

    fn over(into: &mut Self::Layer, own: &Self::Written, file: &File<'_>, merge: &mut Merge<'_>) {
        if let Some(own) = own {
            T::over(into, own, file, merge);
        }
    }

    fn whole(layer: Self::Layer, at: &str, missing: &mut Vec<String>) -> Option<Self::Whole> {
        T::whole(layer, at, missing)
    }
}

impl<T: Keys> Field for Tables<T> {
    type Written = BTreeMap<Spanned<String>, T>;
    type Layer = BTreeMap<String, (Place, T::Layer)>;
    type Whole = BTreeMap<String, (Place, T::Whole)>;
    const KIND: Kind = Kind::Tables;

    fn include(
        into: &mut Self::Layer,
        from: Self::Layer,
        own: Option<&Self::Written>,
        at: &str,
        merge: &mut Merge<'_>,
    ) {
        for (name, (place, layer)) in from {
            let own = own.and_then(|own| own.get(name.as_str()));
            let at = format!("{at}.{name}");
            let entry = into.entry(name).or_insert_with(|| (place, T::Layer::default()));
            T::include(&mut entry.1, layer, own, &at, merge);
        }
    }

    fn over(into: &mut Self::Layer, own: &Self::Written, file: &File<'_>, merge: &mut Merge<'_>) {
        for (name, own) in own {
            let new = || (file.place(name), T::Layer::default());
            let entry = into.entry(name.get_ref().clone()).or_insert_with(new);
            T::over(&mut entry.1, own, file, merge);
        }
    }

    fn whole(layer: Self::Layer, at: &str, missing: &mut Vec<String>) -> Option<Self::Whole> {
        let one = |(name, (place, layer)): (String, (Place, T::Layer))| {
            let whole = T::whole(layer, &format!("{at}.{name}"), missing)?;
            Some((name, (place, whole)))
        };
        // Every missing key is noted, not the first alone.
        layer.into_iter().map(one).collect::<Vec<_>>().into_iter().collect()
    }
}

impl<T> Field for PerFile<T> {
    type Written = T;
    type Layer = ();
    type Whole = ();
    const KIND: Kind = Kind::PerFile;

    fn include(_: &mut (), (): (), _: Option<&T>, _: &str, _: &mut Merge<'_>) {}

    fn over(_: &mut (), _: &T, _: &File<'_>, _: &mut Merge<'_>) {}

    fn whole((): (), _: &str, _: &mut Vec<String>) -> Option<()> {
        Some(())
    }
}

/// The names of the files that are included.
#[derive(Debug)]
pub enum Includes {}

impl Field for Includes {
    type Written = Vec<Spanned<String>>;
    type Layer = ();
    type Whole = ();
    const KIND: Kind = Kind::Includes;

    fn include(_: &mut (), (): (), _: Option<&Self::Written>, _: &str, _: &mut Merge<'_>) {}

    fn over(_: &mut (), _: &Self::Written, _: &File<'_>, _: &mut Merge<'_>) {}

    fn whole((): (), _: &str, _: &mut Vec<String>) -> Option<()> {
        Some(())
    }
}
