//! The key schedule and the three tags.

use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{HandshakeError, Role, TAG_BYTES};

const SALT: &[u8] = b"portmesh secret v1";
const LABEL_I: &[u8] = b"portmesh1-I";
const LABEL_R: &[u8] = b"portmesh1-R";
const LABEL_F: &[u8] = b"portmesh1-F";
const LABEL_N: &[u8] = b"portmesh1-N";

/// The keys of both roles, from one secret (or, in certificate mode, from the exporter alone).
#[derive(Clone)]
pub(super) struct Keys {
    initiator: hmac::Key,
    responder: hmac::Key,
}

impl Keys {
    pub(super) fn new(secret: &[u8; 32], cluster: &str) -> Result<Self, HandshakeError> {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        let key = |role: &[u8]| {
            let mut bytes = Zeroizing::new([0; 32]);
            prk.expand(&[role, &[0], cluster.as_bytes()], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(bytes.as_mut_slice()))
                .map_err(|_| HandshakeError::Config("no key can be derived".into()))?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()))
        };
        Ok(Keys {
            initiator: key(b"portmesh1 initiator")?,
            responder: key(b"portmesh1 responder")?,
        })
    }
}

/// What both sides have in common before the first byte: the exporter, and the digests of both keys.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    pub(super) exporter: [u8; 32],
    pub(super) initiator_key: [u8; 32],
    pub(super) responder_key: [u8; 32],
}

impl Bound {
    pub(super) fn new(
        role: Role,
        exporter: [u8; 32],
        own_key: [u8; 32],
        peer_key: [u8; 32],
    ) -> Self {
        let (initiator_key, responder_key) = match role {
            Role::Initiator => (own_key, peer_key),
            Role::Responder => (peer_key, own_key),
        };
        Bound {
            exporter,
            initiator_key,
            responder_key,
        }
    }

    /// `label || for each part: u32be length || part`.
    pub(super) fn input(&self, label: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let fixed: [&[u8]; 3] = [&self.exporter, &self.initiator_key, &self.responder_key];
        let mut out = label.to_vec();
        for part in fixed.iter().chain(parts) {
            out.extend((part.len() as u32).to_be_bytes());
            out.extend(*part);
        }
        out
    }
}

/// A tag to be made or verified: of which message, over what.
pub(super) enum Tag<'a> {
    /// AUTH1 over the initiator's greeting.
    Auth1(&'a [u8]),
    /// AUTH2 over greeting and tag of AUTH1 and the responder's greeting.
    Auth2(&'a [u8], &'a [u8], &'a [u8]),
    /// READY over all of them.
    Ready(&'a [u8], &'a [u8], &'a [u8], &'a [u8]),
    /// RENEW from that side; whether it answers one.
    Renew(Role, bool),
}

impl Tag<'_> {
    fn parts<'k>(&self, keys: &'k Keys, bound: &Bound) -> (&'k hmac::Key, Vec<u8>) {
        match *self {
            Tag::Auth1(g_i) => (&keys.initiator, bound.input(LABEL_I, &[g_i])),
            Tag::Auth2(g_i, t_i, g_r) => (&keys.responder, bound.input(LABEL_R, &[g_i, t_i, g_r])),
            Tag::Ready(g_i, t_i, g_r, t_r) => {
                (&keys.initiator, bound.input(LABEL_F, &[g_i, t_i, g_r, t_r]))
            }
            Tag::Renew(by, answers) => {
                let key = match by {
                    Role::Initiator => &keys.initiator,
                    Role::Responder => &keys.responder,
                };
                (key, bound.input(LABEL_N, &[&[u8::from(answers)]]))
            }
        }
    }

    pub(super) fn make(&self, keys: &Keys, bound: &Bound) -> [u8; TAG_BYTES] {
        let (key, input) = self.parts(keys, bound);
        let mut out = [0; TAG_BYTES];
        for (to, from) in out.iter_mut().zip(hmac::sign(key, &input).as_ref()) {
            *to = *from;
        }
        out
    }

    /// In constant time.
    pub(super) fn verify(&self, keys: &Keys, bound: &Bound, tag: &[u8]) -> bool {
        let (key, input) = self.parts(keys, bound);
        hmac::verify(key, &input, tag).is_ok()
    }
}
