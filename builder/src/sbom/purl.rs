//! Package URLs (ECMA-427).

use contract::hash::Digest;
use std::fmt::Write as _;

/// `pkg:deb/debian/NAME@VERSION?arch=…&distro=…`. The suites of one release share its name.
#[must_use]
pub fn debian(name: &str, version: &str, architecture: &str, suite: &str) -> String {
    let release = suite.split('-').next().unwrap_or(suite);
    let (name, version) = (encoded(&name.to_lowercase()), encoded(version));
    format!("pkg:deb/debian/{name}@{version}?arch={}&distro={}", encoded(architecture), encoded(release))
}

/// `pkg:golang/PATH@VERSION`. A version that Go did not know is left out.
#[must_use]
pub fn go(path: &str, version: &str) -> String {
    let path = path.to_lowercase().split('/').map(encoded).collect::<Vec<_>>().join("/");
    match version {
        "" | "(devel)" => format!("pkg:golang/{path}"),
        version => format!("pkg:golang/{path}@{}", encoded(version)),
    }
}

/// `pkg:cargo/NAME@VERSION`.
#[must_use]
pub fn cargo(name: &str, version: &str) -> String {
    format!("pkg:cargo/{}@{}", encoded(name), encoded(version))
}

/// What has no kind of its own: named by its bytes, and by where they come from.
#[must_use]
pub fn generic(name: &str, version: Option<&str>, url: Option<&str>, sha256: Digest) -> String {
    let version = version.map(|version| format!("@{}", encoded(version))).unwrap_or_default();
    let url = url.map(|url| format!("&download_url={}", encoded(url))).unwrap_or_default();
    format!("pkg:generic/{}{version}?checksum=sha256:{sha256}{url}", encoded(name))
}

/// Percent-encodes all but letters, digits, `.-_~` and the colon.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_as_the_standard_has_them() {
        assert_eq!(
            debian("libstdc++6", "1:2.41-12+deb13u4~x", "arm64", "trixie-security"),
            "pkg:deb/debian/libstdc%2B%2B6@1:2.41-12%2Bdeb13u4~x?arch=arm64&distro=trixie"
        );
        assert_eq!(
            go("github.com/Azure/x", "v1.0.0+incompatible"),
            "pkg:golang/github.com/azure/x@v1.0.0%2Bincompatible"
        );
        assert_eq!(go("example.org/x", "(devel)"), "pkg:golang/example.org/x");
        assert_eq!(cargo("serde_json", "1.0.1"), "pkg:cargo/serde_json@1.0.1");
        let digest = Digest::of(b"");
        assert_eq!(
            generic("k3s", Some("v1"), Some("https://x/a b"), digest),
            format!("pkg:generic/k3s@v1?checksum=sha256:{digest}&download_url=https:%2F%2Fx%2Fa%20b")
        );
    }
}
