//! ASCII armour (RFC 9580, section 6) and text signed in the clear (section 7).

use super::bytes::OpenPgpError;
use super::packet::Packets;
use super::signature::Signature;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN PGP ";
const END: &str = "-----END PGP ";
const DASHES: &str = "-----";
const SIGNED_MESSAGE: &str = "SIGNED MESSAGE";
const SIGNATURE: &str = "SIGNATURE";

/// The bytes in every armoured block of a file, one after the other; a file without armour as it is.
///
/// # Errors
/// When a block is damaged.
pub fn unarmor(bytes: &[u8]) -> Result<Vec<u8>, OpenPgpError> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN)) else {
        return Ok(bytes.to_vec());
    };
    let mut lines = text.lines();
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(label) = label(line, BEGIN) {
            all.extend(block(label, &mut lines)?);
        }
    }
    Ok(all)
}

/// `SIGNATURE` of `-----BEGIN PGP SIGNATURE-----`.
fn label<'a>(line: &'a str, front: &str) -> Option<&'a str> {
    line.trim_end().strip_prefix(front)?.strip_suffix(DASHES)
}

/// What follows a block's first line: headers, an empty line, base64, perhaps a checksum, the last line.
///
/// The checksum is not inspected: it protects against no one, and what is damaged does not verify.
fn block<'a>(label_of_begin: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Vec<u8>, OpenPgpError> {
    let mut base64 = String::new();
    let mut in_headers = true;
    for line in lines {
        let line = line.trim();
        if let Some(label) = label(line, END) {
            if label != label_of_begin {
                return Err(OpenPgpError::Armor("a block ends as another kind than it began"));
            }
            return STANDARD.decode(base64).map_err(|_| OpenPgpError::Armor("a line is not base64"));
        }
        let is_header = in_headers && line.contains(": ");
        in_headers = is_header;
        if !is_header && !line.starts_with('=') {
            base64.push_str(line);
        }
    }
    Err(OpenPgpError::Armor("a block has no end"))
}

/// A text signed in the clear.
#[derive(Debug)]
pub struct Cleartext {
    /// What was signed, with `\n` between lines and none behind the last one.
    pub text: String,
    pub signatures: Vec<Result<Signature, OpenPgpError>>,
}

impl Cleartext {
    /// Reads a message that is nothing but a signed text and its signatures.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(message: &str) -> Result<Cleartext, OpenPgpError> {
        let mut lines = message.split('\n');
        if lines.next().and_then(|line| label(line, BEGIN)) != Some(SIGNED_MESSAGE) {
            return Err(OpenPgpError::Armor("its first line is not -----BEGIN PGP SIGNED MESSAGE-----"));
        }
        // The hashes named here are a hint to whoever reads it in one go; each signature says its own.
        for line in lines.by_ref().take_while(|line| !line.trim_end().is_empty()) {
            if !line.starts_with("Hash: ") {
                return Err(OpenPgpError::Armor("a header in front of the text is not \"Hash\""));
            }
        }
        let mut text: Vec<&str> = Vec::new();
        let label = loop {
            let line = lines.next().ok_or(OpenPgpError::Armor("no signature follows the text"))?;
            match line.strip_prefix("- ") {
                Some(escaped) => text.push(signed(escaped)),
                None if line.starts_with('-') => break label(line, BEGIN),
                None => text.push(signed(line)),
            }
        };
        if label != Some(SIGNATURE) {
            return Err(OpenPgpError::Armor("a line of the text begins with a dash that is not escaped"));
        }
        let signatures = block(SIGNATURE, &mut lines)?;
        if lines.any(|line| !line.trim().is_empty()) {
            return Err(OpenPgpError::Armor("something follows the signature"));
        }
        Ok(Cleartext { text: text.join("\n"), signatures: of_packets(&signatures) })
    }
}

/// The detached signatures of a file, armoured or not.
///
/// # Errors
/// When its armour is damaged.
pub fn signatures(bytes: &[u8]) -> Result<Vec<Result<Signature, OpenPgpError>>, OpenPgpError> {
    Ok(of_packets(&unarmor(bytes)?))
}

fn of_packets(bytes: &[u8]) -> Vec<Result<Signature, OpenPgpError>> {
    Packets::new(bytes).map(|packet| packet.and_then(|packet| Signature::of(&packet))).collect()
}

/// What of a line is signed: not the white space at its end.
fn signed(line: &str) -> &str {
    line.trim_end_matches([' ', '\t', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n";

    fn cleartext(text: &str) -> Result<String, String> {
        let message = format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{text}\n{EMPTY}");
        Cleartext::parse(&message).map(|cleartext| cleartext.text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_signed_is_the_text_without_escapes_and_white_space_at_the_ends_of_lines() {
        assert_eq!(cleartext("one \t\r\n- -two\n\n- - three").unwrap(), "one\n-two\n\n- three");
        assert_eq!(cleartext("").unwrap(), "");
    }

    #[test]
    fn nothing_stands_before_between_or_behind() {
        let good = format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\ntext\n{EMPTY}");
        Cleartext::parse(&good).unwrap();
        for bad in [
            format!("Origin: Mallory\n{good}"),
            format!("{good}Origin: Mallory\n"),
            format!("{good}{good}"),
            good.replace("Hash: SHA512", "Origin: Mallory"),
            good.replace("text", "-text"),
            good.replace("END PGP SIGNATURE", "END PGP MESSAGE"),
            good.replace("-----END PGP SIGNATURE-----", ""),
            good.replace("BEGIN PGP SIGNATURE", "BEGIN PGP MESSAGE"),
        ] {
            Cleartext::parse(&bad).unwrap_err();
        }
    }

    #[test]
    fn blocks_are_joined_and_checksums_are_passed_over() {
        let block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: one\n\naGVs\nbG8=\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(unarmor(format!("of Debian\n{block}\n{block}").as_bytes()).unwrap(), b"hellohello");
        assert_eq!(unarmor(b"\x99\x01").unwrap(), b"\x99\x01");
        unarmor(block.replace("aGVs", "a%Vs").as_bytes()).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_text_is_a_message_or_an_error(text in ".{0,200}", lines in "([- =:a-zA-Z0-9\n]{0,80})") {
            for text in [&text, &lines] {
                let _ = cleartext(text);
                let _ = Cleartext::parse(text);
                let _ = unarmor(format!("-----BEGIN PGP SIGNATURE-----\n{text}").as_bytes());
            }
        }
    }
}
