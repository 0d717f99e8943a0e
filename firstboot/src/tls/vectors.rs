//! The algorithms against the examples of their RFCs.

use super::record::{Cipher, Hashing};
use super::{EcdsaP256, Ed25519, Exchange};
use rustls::crypto::ActiveKeyExchange as _;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::crypto::hash::Hash as _;
use rustls::crypto::hmac::Hmac as _;
use rustls::crypto::tls13::{Hkdf as _, HkdfUsingHmac};
use rustls::pki_types::SignatureVerificationAlgorithm;
use zeroize::Zeroizing;

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(char::is_whitespace, "")).unwrap()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    bytes(text).try_into().unwrap()
}

fn cipher(key: &str, iv: &str) -> Cipher {
    Cipher::new(&AeadKey::from(array::<32>(key)), Iv::new(array(iv)))
}

/// RFC 8446, section 7.1: `HkdfLabel`.
fn label(length: u16, name: &str, context: &[u8]) -> Vec<u8> {
    let name = format!("tls13 {name}");
    [&length.to_be_bytes()[..], &[name.len() as u8], name.as_bytes(), &[context.len() as u8], context].concat()
}

#[test]
fn records_are_encrypted_as_in_rfc_8439() {
    // Section 2.8.2.
    let cipher =
        cipher("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", "070000004041424344454647");
    let plain =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen \
                  would be it.";
    let sealed = bytes(
        "d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6 3dbea45e8ca9671282fafb69da92728b
         1a71de0a9e060b2905d6a5b67ecd3b36 92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc
         3ff4def08e4b7a9de576d26586cec64b 6116",
    );
    let aad = bytes("50515253c0c1c2c3c4c5c6c7");
    let mut record = plain.to_vec();
    let tag = cipher.seal(0, &aad, &mut record).unwrap();
    assert_eq!((&record, tag.to_vec()), (&sealed, bytes("1ae10b594f09e26a7e902ecbd0600691")));
    cipher.open(0, &aad, &mut record, &tag).unwrap();
    assert_eq!(record, plain);
    for changed in 0..3 {
        let (mut record, mut aad, mut tag) = (sealed.clone(), aad.clone(), tag);
        match changed {
            0 => record[5] ^= 1,
            1 => aad[5] ^= 1,
            _ => tag[5] ^= 1,
        }
        assert!(cipher.open(0, &aad, &mut record, &tag).is_err(), "{changed}");
    }
}

#[test]
fn keys_and_nonces_are_made_as_in_rfc_9001() {
    // Appendix A.5: the key schedule of TLS 1.3 with this very suite.
    let secret = bytes("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b");
    let hkdf = HkdfUsingHmac(&Hashing);
    let okm = rustls::crypto::tls13::OkmBlock::new(&secret);
    let expander = hkdf.expander_for_okm(&okm);
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    expander.expand_slice(&[&label(32, "quic key", b"")], &mut key).unwrap();
    expander.expand_slice(&[&label(12, "quic iv", b"")], &mut iv).unwrap();
    assert_eq!(hex::encode(key), "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8");
    assert_eq!(hex::encode(iv), "e0459b3474bdd0e44a41c144");

    let number = 654_360_564;
    let cipher = Cipher::new(&AeadKey::from(key), Iv::new(iv));
    assert_eq!(hex::encode(cipher.nonce(number)), "e0459b3474bdd0e46d417eb0");
    let mut packet = [1];
    let tag = cipher.seal(number, &bytes("4200bff4"), &mut packet).unwrap();
    assert_eq!(hex::encode([&packet[..], &tag].concat()), "655e5cd55c41f69080575d7999c25a5bfb");
}

#[test]
fn the_key_schedule_begins_as_in_rfc_8448() {
    // Section 3: "derive secret for handshake"; the early secret is that of no pre-shared key.
    let early = HkdfUsingHmac(&Hashing).extract_from_zero_ikm(None);
    let nothing = Hashing.hash(b"");
    let derived = early.expand_block(&[&label(32, "derived", nothing.as_ref())]);
    let wanted = "6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba";
    assert_eq!(hex::encode(derived.as_ref()), wanted);
}

#[test]
fn keyed_hashes_are_those_of_rfc_4231() {
    // Cases 2 and 6: a short key, and one longer than a block.
    let jefe = Hashing.with_key(b"Jefe").sign(&[b"what do ya want ", b"for nothing?"]);
    let wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex::encode(jefe.as_ref()), wanted);
    let long = Hashing.with_key(&[0xaa; 131]).sign(&[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
    let wanted = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
    assert_eq!(hex::encode(long.as_ref()), wanted);
}

#[test]
fn two_sides_agree_on_the_secret_of_rfc_7748_and_a_point_of_small_order_is_refused() {
    // Section 6.1.
    let alice = || {
        let secret = array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        Box::new(Exchange::with(Zeroizing::new(secret)))
    };
    let bob = array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let bob = Box::new(Exchange::with(Zeroizing::new(bob)));
    let theirs = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    assert_eq!(hex::encode(alice().pub_key()), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    assert_eq!(bob.pub_key(), theirs);
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    assert_eq!(hex::encode(bob.complete(alice().pub_key()).unwrap().secret_bytes()), shared);
    assert_eq!(hex::encode(alice().complete(&theirs).unwrap().secret_bytes()), shared);
    for order in [&[0; 32][..], &[&[1][..], &[0; 31]].concat(), &theirs[..31], b""] {
        assert!(alice().complete(order).is_err(), "{order:?}");
    }
}

/// The signature holds, and does not for another message, key or signature.
fn verifies(algorithm: &dyn SignatureVerificationAlgorithm, key: &[u8], message: &[u8], signature: &[u8]) {
    algorithm.verify_signature(key, message, signature).unwrap();
    for part in 0..3 {
        let mut parts = [key.to_vec(), message.to_vec(), signature.to_vec()];
        *parts[part].last_mut().unwrap() ^= 1;
        let [key, message, signature] = &parts;
        assert!(algorithm.verify_signature(key, message, signature).is_err(), "{part}");
    }
}

#[test]
fn signatures_are_those_of_rfc_6979_and_rfc_8032() {
    // RFC 6979, A.2.5, with SHA-256; the signature as DER (RFC 3279, 2.2.3).
    let key = bytes(
        "04 60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6
            7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    );
    let signature = bytes(
        "3046 022100 efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716
              022100 f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    );
    verifies(&EcdsaP256, &key, b"sample", &signature);
    // RFC 8032, 7.1, test 2.
    let key = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let signature = bytes(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    );
    verifies(&Ed25519, &key, &[0x72], &signature);
}
