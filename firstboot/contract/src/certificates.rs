//! Root certificates as programs on Debian look for them: one file of all of them (Go, GnuTLS, curl, Python), and a folder
//! in which OpenSSL finds each by a hash of its subject (`c_rehash(1)`).
//!
//! Debian makes both in a maintainer script, `update-ca-certificates(8)`. Here the builder makes them in the image, and
//! a node adds the certificates of its node config.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// The folder, of links by hash.
pub const FOLDER: &str = "/etc/ssl/certs";
/// The file of all certificates, in [`FOLDER`].
pub const BUNDLE: &str = "ca-certificates.crt";
/// The folders whose `*.crt` files are trusted, as in Debian: those of a package, and those of one's own.
pub const SOURCES: [&str; 2] = ["/usr/share/ca-certificates", "/usr/local/share/ca-certificates"];

/// One certificate is seldom larger than 8 KiB.
const MAX_LENGTH: usize = 64 * 1024;

/// What is wrong with certificates in PEM (RFC 7468).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("it has no certificate; one begins with -----BEGIN CERTIFICATE-----")]
    None,
    #[error("it has a private key; only certificates belong here")]
    PrivateKey,
    #[error("certificate {0} has no line -----END CERTIFICATE-----")]
    Open(usize),
    #[error("certificate {0} is not base64")]
    Base64(usize),
    #[error("certificate {0} is not an X.509 certificate")]
    NotX509(usize),
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    /// What OpenSSL names its link by.
    pub subject_hash: u32,
}

impl Certificate {
    /// The certificates in a PEM file, in order. Text between them is a comment.
    ///
    /// # Errors
    /// When there is none, one cannot be read, or a private key is among them.
    pub fn all(pem: &str) -> Result<Vec<Certificate>, CertificateError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(CertificateError::PrivateKey);
        }
        let mut all = Vec::new();
        for (at, rest) in pem.split("-----BEGIN CERTIFICATE-----").skip(1).enumerate() {
            let number = at + 1;
            let (body, _) = rest.split_once("-----END CERTIFICATE-----").ok_or(CertificateError::Open(number))?;
            let body: String = body.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
            if body.len() > MAX_LENGTH {
                return Err(CertificateError::NotX509(number));
            }
            let der = STANDARD.decode(body).map_err(|_| CertificateError::Base64(number))?;
            let subject_hash = subject(&der).and_then(hash).ok_or(CertificateError::NotX509(number))?;
            all.push(Certificate { der, subject_hash });
        }
        if all.is_empty() { Err(CertificateError::None) } else { Ok(all) }
    }

    /// As PEM, in lines of 64 characters, without comments.
    #[must_use]
    pub fn pem(&self) -> String {
        let body = STANDARD.encode(&self.der);
        let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
        // Base64 is ASCII.
        for line in body.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|&byte| char::from(byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// The name of its link: `4042bcee.0`, or `.1` and so on for others of the same subject.
    #[must_use]
    pub fn link(&self, taken: impl Fn(&str) -> bool) -> String {
        let names = (0..).map(|number: u32| format!("{:08x}.{number}", self.subject_hash));
        names.into_iter().find(|name| !taken(name)).unwrap_or_default()
    }
}

/// An element of DER (X.690): its tag, its content, and what is behind it.
struct Element<'d> {
    tag: u8,
    content: &'d [u8],
    rest: &'d [u8],
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
        rest = behind;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte))
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

/// The content of an element that must have this tag, and what is behind it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|element| element.tag == tag).map(|element| (element.content, element.rest))
}

/// The content of a certificate's subject (RFC 5280, 4.1): a list of sets.
fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, behind) = expect(certificate, SEQUENCE)?;
    if !behind.is_empty() {
        return None;
    }
    let (mut rest, _) = expect(certificate, SEQUENCE)?;
    // The version, [0], is optional; then serial number, algorithm, issuer, validity.
    if element(rest)?.tag == 0xa0 {
        rest = element(rest)?.rest;
    }
    for tag in [0x02, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = expect(rest, tag)?.1;
    }
    expect(rest, SEQUENCE).map(|(subject, _)| subject)
}

/// `X509_NAME_hash_ex(3)`: the first four bytes, little-endian, of SHA-1 over the subject's canonical form.
fn hash(subject: &[u8]) -> Option<u32> {
    let digest = Sha1::digest(canonical(subject)?);
    digest.first_chunk().map(|first| u32::from_le_bytes(*first))
}

/// OpenSSL's canonical form of a name (`x509_name_canon` in crypto/x509/x_name.c): its sets one after the other, every
/// text in UTF-8, in lower case, without spaces around it, and with one space for several.
fn canonical(mut name: &[u8]) -> Option<Vec<u8>> {
    let mut canonical = Vec::new();
    while !name.is_empty() {
        let (mut set, rest) = expect(name, SET)?;
        name = rest;
        let mut members = Vec::new();
        while !set.is_empty() {
            let (pair, rest) = expect(set, SEQUENCE)?;
            set = rest;
            let kind = element(pair)?;
            let value = element(kind.rest)?;
            if kind.tag != 0x06 || !value.rest.is_empty() {
                return None;
            }
            let mut member = encoded(0x06, kind.content);
            match text(value.tag, value.content) {
                Some(text) => member.extend(encoded(0x0c, &folded(&text))),
                None => member.extend(encoded(value.tag, value.content)),
            }
            members.push(encoded(SEQUENCE, &member));
        }
        // DER sorts the members of a set.
        members.sort();
        canonical.extend(encoded(SET, &members.concat()));
    }
    Some(canonical)
}

/// A text in UTF-8; [`None`] when the tag is not one of a text that has a canonical form.
fn text(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let utf8 = |letters: &mut dyn Iterator<Item = u32>| {
        letters.map(|letter| char::from_u32(letter).unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>()
    };
    match tag {
        // UTF8String.
        0x0c => Some(content.to_vec()),
        // PrintableString, T61String, IA5String, VisibleString: a byte each.
        0x13 | 0x14 | 0x16 | 0x1a => Some(utf8(&mut content.iter().map(|&byte| u32::from(byte))).into_bytes()),
        // UniversalString, BMPString: four and two bytes each.
        0x1c => {
            let (letters, _) = content.as_chunks();
            Some(utf8(&mut letters.iter().map(|&letter| u32::from_be_bytes(letter))).into_bytes())
        }
        0x1e => {
            let (letters, _) = content.as_chunks();
            Some(utf8(&mut letters.iter().map(|&letter| u32::from(u16::from_be_bytes(letter)))).into_bytes())
        }
        _ => None,
    }
}

fn folded(text: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let words = text.split(is_space).filter(|word| !word.is_empty()).map(<[u8]>::to_ascii_lowercase);
    words.collect::<Vec<_>>().join(&b' ')
}

fn encoded(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        short @ 0..=0x7f => der.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|&byte| byte == 0).collect();
            der.push(0x80 | bytes.len() as u8);
            der.extend(bytes);
        }
    }
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A certificate with nothing in it but a subject of these texts, each under its tag.
    fn made(texts: &[(u8, &[u8])]) -> String {
        let sets = texts.iter().map(|(tag, text)| {
            let pair = [encoded(0x06, &[0x55, 0x04, 0x03]), encoded(*tag, text)].concat();
            encoded(SET, &encoded(SEQUENCE, &pair))
        });
        let subject = encoded(SEQUENCE, &sets.collect::<Vec<_>>().concat());
        let empty = encoded(SEQUENCE, &[]);
        let body = [encoded(0x02, &[1]), empty.clone(), empty.clone(), empty.clone(), subject, empty].concat();
        Certificate { der: encoded(SEQUENCE, &encoded(SEQUENCE, &body)), subject_hash: 0 }.pem()
    }

    fn hash_of(texts: &[(u8, &[u8])]) -> u32 {
        Certificate::all(&made(texts)).unwrap()[0].subject_hash
    }

    #[test]
    fn case_spaces_and_the_kind_of_text_do_not_change_the_hash() {
        let plain = hash_of(&[(0x13, b"Example Root")]);
        for same in [
            (0x0c, &b"  example \t ROOT "[..]),
            (0x16, b"Example Root"),
            (0x1e, b"\0E\0x\0a\0m\0p\0l\0e\0 \0R\0o\0o\0t"),
        ] {
            assert_eq!(hash_of(&[same]), plain, "{same:?}");
        }
        assert_ne!(hash_of(&[(0x13, b"ExampleRoot")]), plain);
        // An OCTET STRING is no text: it stays as it is.
        assert_ne!(hash_of(&[(0x04, b"Example Root")]), hash_of(&[(0x04, b"example root")]));
    }

    #[test]
    fn what_is_not_a_certificate_is_refused_by_its_number() {
        let good = made(&[(0x13, b"A")]);
        assert_eq!(Certificate::all(&format!("# comment\n{good}\n{good}")).unwrap().len(), 2);
        for (pem, error) in [
            (String::new(), CertificateError::None),
            (format!("{good}-----BEGIN PRIVATE KEY-----\n"), CertificateError::PrivateKey),
            (format!("{good}-----BEGIN EC PRIVATE KEY-----\n"), CertificateError::PrivateKey),
            (format!("{good}{}", good.replace("-----END", "-----FIN")), CertificateError::Open(2)),
            (format!("{good}{}", good.replace("MA", "!!")), CertificateError::Base64(2)),
            (good.replace("\nM", "\nN"), CertificateError::NotX509(1)),
        ] {
            assert_eq!(Certificate::all(&pem), Err(error), "{pem}");
        }
    }

    /// What `openssl x509 -noout -subject_hash` says.
    #[test]
    fn the_hash_is_openssl_s() {
        let certificate = Certificate::all(include_str!("../tests/ca.pem")).unwrap().remove(0);
        assert_eq!(format!("{:08x}", certificate.subject_hash), "27526d33");
    }

    #[test]
    fn certificates_of_one_subject_get_numbers() {
        let certificate = Certificate::all(&made(&[(0x13, b"A")])).unwrap().remove(0);
        let first = certificate.link(|_| false);
        assert!(first.ends_with(".0"));
        assert_eq!(certificate.link(|name| name == first), first.replace(".0", ".1"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = subject(&bytes).and_then(hash);
            let _ = canonical(&bytes);
            let _ = Certificate::all(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn damage_in_a_certificate_never_panics(at in 0usize..60, byte in any::<u8>()) {
            let mut der = Certificate::all(&made(&[(0x13, b"Example Root")])).unwrap().remove(0).der;
            let length = der.len();
            der[at % length] = byte;
            let _ = subject(&der).and_then(hash);
        }

        #[test]
        fn pem_is_read_back(text in "[a-zA-Z ]{0,80}") {
            let pem = made(&[(0x0c, text.as_bytes())]);
            let read = Certificate::all(&pem).unwrap();
            prop_assert_eq!(read[0].pem(), pem);
        }
    }
}
