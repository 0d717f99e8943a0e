//! Parses a server's response: which bytes, of which version of the file, or a redirect. Text from the network becomes
//! checked types here.

use ureq::http::{HeaderMap, Uri, header};

/// What says that a file is still the same one: its strong entity tag, else the time of its last change.
pub(super) fn version(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(header::ETAG).or_else(|| text(header::LAST_MODIFIED)).map(str::to_owned)
}

/// Where a redirect leads.
///
/// # Errors
/// Why no one goes there.
pub fn redirect(from: &str, to: &str) -> Result<String, String> {
    let to = to.trim();
    let refused = |why: &str| format!("it redirects to {:?}, {why}", to.chars().take(200).collect::<String>());
    let base: Uri = from.parse().map_err(|_| refused("from an address that cannot be understood"))?;
    let (Some(scheme), Some(host)) = (base.scheme_str(), base.authority()) else {
        return Err(refused("from an address that is incomplete"));
    };
    let target = match to.split_once(':') {
        // A scheme has no slash before its colon (RFC 3986, 3.1).
        Some((name, _)) if !name.contains(['/', '?', '#']) => to.to_owned(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{host}{to}"),
        _ => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{host}{folder}/{to}")
        }
    };
    check(&target).map_err(|why| refused(&why))?;
    Ok(target)
}

/// Whether an address can be asked.
///
/// # Errors
/// Why not.
pub fn check(url: &str) -> Result<(), String> {
    let lower = url.to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Err("which is neither http nor https".to_owned());
    }
    match url.parse::<Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        _ => Err("which is not a valid address".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn redirects_lead_to_web_servers_and_nowhere_else() {
        let from = "http://a.example:80/dir/file?x=1";
        for (to, wanted) in [
            ("https://b.example/f", "https://b.example/f"),
            ("//b.example/f", "http://b.example/f"),
            ("/f:1", "http://a.example:80/f:1"),
            ("other", "http://a.example:80/dir/other"),
        ] {
            assert_eq!(redirect(from, to).unwrap(), wanted);
        }
        for to in
            ["file:///etc/passwd", "FILE:/etc/passwd", "ftp://a/b", "javascript:x", "http://", "http:/x", "data:,x"]
        {
            assert!(redirect(from, to).is_err(), "{to}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(from in ".{0,40}", to in ".{0,40}") {
            let _ = redirect(&from, &to);
            let _ = redirect("http://a/b", &to);
        }
    }
}
