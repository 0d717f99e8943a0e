//! TLS_CHACHA20_POLY1305_SHA256 (RFC 8446, RFC 8439): how records are encrypted and what they are hashed with.

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit as _, Tag};
use hmac::{Hmac, Mac as _};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, NONCE_LEN, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError,
    make_tls13_aad,
};
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::crypto::{CipherSuiteCommon, hash, hmac as keyed};
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite,
    Tls13CipherSuite,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Bytes of a tag and of a hash.
const TAG: usize = 16;
const HASH: usize = 32;

pub(super) const SUITE: SupportedCipherSuite = SupportedCipherSuite::Tls13(&Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        hash_provider: &Hashing,
        confidentiality_limit: u64::MAX,
    },
    hkdf_provider: &HkdfUsingHmac(&Hashing),
    aead_alg: &Encryption,
    quic: None,
});

struct Encryption;

pub(super) struct Cipher {
    cipher: ChaCha20Poly1305,
    iv: Iv,
}

impl Cipher {
    pub(super) fn new(key: &AeadKey, iv: Iv) -> Cipher {
        let mut bytes = Zeroizing::new(Key::default());
        // rustls gives as many as `key_len` says.
        bytes.iter_mut().zip(key.as_ref()).for_each(|(to, from)| *to = *from);
        Cipher { cipher: ChaCha20Poly1305::new(&bytes), iv }
    }

    pub(super) fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        Nonce::new(&self.iv, number).0
    }

    /// Encrypts the record of this number in place; `aad` is what is not secret and must not change either.
    pub(super) fn seal(&self, number: u64, aad: &[u8], bytes: &mut [u8]) -> Result<Tag, Error> {
        let nonce = self.nonce(number).into();
        self.cipher.encrypt_inout_detached(&nonce, aad, bytes.into()).map_err(|_| Error::EncryptError)
    }

    /// Decrypts the record of this number in place, when no one has changed it.
    pub(super) fn open(&self, number: u64, aad: &[u8], bytes: &mut [u8], tag: &Tag) -> Result<(), Error> {
        let nonce = self.nonce(number).into();
        self.cipher.decrypt_inout_detached(&nonce, aad, bytes.into(), tag).map_err(|_| Error::DecryptError)
    }
}

impl Tls13AeadAlgorithm for Encryption {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Cipher::new(&key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Cipher::new(&key, iv))
    }

    fn key_len(&self) -> usize {
        32
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok(ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv })
    }
}

impl MessageEncrypter for Cipher {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, number: u64) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&[u8::from(message.typ)]);
        let tag = self.seal(number, &make_tls13_aad(length), payload.as_mut())?;
        payload.extend_from_slice(&tag);
        // RFC 8446, 5.1: every record says it were of TLS 1.2.
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        length + 1 + TAG
    }
}

impl MessageDecrypter for Cipher {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut message.payload;
        let length = payload.len();
        let plain = length.checked_sub(TAG).ok_or(Error::DecryptError)?;
        let (body, tag) = payload.split_at_mut_checked(plain).ok_or(Error::DecryptError)?;
        let tag = Tag::try_from(&*tag).map_err(|_| Error::DecryptError)?;
        self.open(number, &make_tls13_aad(length), body, &tag)?;
        payload.truncate(plain);
        message.into_tls13_unpadded_message()
    }
}

/// SHA-256, also with a key.
pub(super) struct Hashing;

struct Sum(Sha256);

impl hash::Hash for Hashing {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(Sum(Sha256::new()))
    }

    fn hash(&self, bytes: &[u8]) -> hash::Output {
        hash::Output::new(&Sha256::digest(bytes))
    }

    fn output_len(&self) -> usize {
        HASH
    }

    fn algorithm(&self) -> hash::HashAlgorithm {
        hash::HashAlgorithm::SHA256
    }
}

impl hash::Context for Sum {
    fn fork_finish(&self) -> hash::Output {
        hash::Output::new(&self.0.clone().finalize())
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(Sum(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> hash::Output {
        hash::Output::new(&self.0.finalize())
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

struct Keyed(Hmac<Sha256>);

impl keyed::Hmac for Hashing {
    fn with_key(&self, key: &[u8]) -> Box<dyn keyed::Key> {
        // A key of any length will do: longer ones are hashed, shorter ones filled up (RFC 2104).
        let keyed = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key);
        Box::new(Keyed(keyed.unwrap_or_else(|_| <Hmac<Sha256> as hmac::KeyInit>::new(&Default::default()))))
    }

    fn hash_output_len(&self) -> usize {
        HASH
    }
}

impl keyed::Key for Keyed {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> keyed::Tag {
        let mut mac = self.0.clone();
        mac.update(first);
        middle.iter().for_each(|piece| mac.update(piece));
        mac.update(last);
        keyed::Tag::new(&mac.finalize().into_bytes())
    }

    fn tag_len(&self) -> usize {
        HASH
    }
}
