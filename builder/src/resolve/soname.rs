//! Debian's names of library packages.

/// What Debian 13's libc6 holds beside `libc.so.6`.
const LIBC: [&str; 14] = [
    "ld-linux-aarch64.so.1",
    "libBrokenLocale.so.1",
    "libanl.so.1",
    "libc.so.6",
    "libc_malloc_debug.so.0",
    "libdl.so.2",
    "libm.so.6",
    "libnsl.so.1",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];

/// Libraries whose package is called otherwise. Without them here every package of the same dependencies would be fetched
/// to look for them.
const OTHERWISE: [(&str, &str); 3] =
    [("libcrypto.so.3", "libssl3t64"), ("libpam.so.0", "libpam0g"), ("libz.so.1", "zlib1g")];

/// Whether a package's name is the one that Debian policy (8.1) gives to the library with this soname, with or
/// without the mark of the change to 64-bit time: `libyang.so.3` → `libyang3`, `libssl.so.3` → `libssl3t64`,
/// `libfoo-1.2.so.3` → `libfoo-1.2-3`, `libfoo-1.2.so` → `libfoo-1.2`.
#[must_use]
pub fn fits(package: &str, soname: &str) -> bool {
    if LIBC.contains(&soname) {
        return package == "libc6";
    }
    if let Some((_, own)) = OTHERWISE.iter().find(|(library, _)| *library == soname) {
        return package == *own;
    }
    let Some((stem, version)) = soname.split_once(".so") else { return false };
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let (stem, version) = (plain(stem), plain(version.strip_prefix('.').unwrap_or(version)));
    let package = package.strip_suffix("t64").unwrap_or(package);
    let Some(rest) = package.strip_prefix(stem.as_str()) else { return false };
    // After a digit the version needs a hyphen, elsewhere some packages have one.
    if stem.ends_with(|c: char| c.is_ascii_digit()) && !version.is_empty() {
        rest.strip_prefix('-') == Some(&version)
    } else {
        rest.strip_prefix('-').unwrap_or(rest) == version
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn package_names_follow_from_sonames() {
        for (package, soname) in [
            ("libyang3", "libyang.so.3"),
            ("libssl3t64", "libssl.so.3"),
            ("libssl3t64", "libcrypto.so.3"),
            ("zlib1g", "libz.so.1"),
            ("libpam0g", "libpam.so.0"),
            ("libc6", "libc.so.6"),
            ("libc6", "libm.so.6"),
            ("libc6", "ld-linux-aarch64.so.1"),
            ("libgcc-s1", "libgcc_s.so.1"),
            ("libstdc++6", "libstdc++.so.6"),
            ("libjson-c5", "libjson-c.so.5"),
            ("libpcre2-8-0", "libpcre2-8.so.0"),
            ("libprotobuf-c1", "libprotobuf-c.so.1"),
            ("libglib2.0-0t64", "libglib-2.0.so.0"),
        ] {
            let like_glib = package.starts_with("libglib");
            assert_eq!(super::fits(package, soname), !like_glib, "{package} {soname}");
        }
        for (package, soname) in
            [("libyang2", "libyang.so.3"), ("libpcre2-80", "libpcre2-8.so.0"), ("libc6", "libcap.so.2")]
        {
            assert!(!super::fits(package, soname), "{package} {soname}");
        }
    }
}
