//! RENEW: a new secret or certificate, proved over a link that is up. Bound to its TLS connection as the handshake was.
//!
//! ```text
//! body     u8 1 || u8 answers || tag                            a secret; answers is 0 or 1
//!          u8 2 || u16 scheme || u16 n || signature             a certificate, with those of CAs above it
//!               || for each certificate: u16 n || DER
//! tag      M(K, "portmesh1-N", EKM, hI, hR, answers)            K: K_I or K_R of the secret, by who sends it
//! signed   "portmesh1 renew certificate " || "I" or "R" || EKM, hI, hR, the certificate, each with its u32 length
//! ```
//!
//! What is signed is of no use on another connection (EKM), from the other side (I, R), with another certificate, or as
//! anything else that such a key signs: TLS begins what it signs with 64 spaces, X.509 with a SEQUENCE. As everywhere in
//! the handshake, hI and hR are the keys that the TLS connection began with.

use super::{
    Channel, HandshakeError, Role, Secret, Secrets, TAG_BYTES,
    keys::{Bound, Keys, Tag},
};

const SECRET: u8 = 1;
const CERTIFICATE: u8 = 2;
/// A node's certificate and those of CAs above it.
const CHAIN_MAX: usize = 5;

/// What proofs over one link are bound to. Has no `Debug` of it.
#[derive(Clone)]
pub struct Binding {
    role: Role,
    cluster: String,
    bound: Bound,
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Binding(..)")
    }
}

impl Binding {
    /// Of a connection, for this side of it.
    pub fn new(channel: &Channel, role: Role, cluster: &str) -> Self {
        Binding {
            role,
            cluster: cluster.to_owned(),
            bound: Bound::new(role, channel.exporter, channel.own_key, channel.peer_key),
        }
    }

    /// The body of a RENEW that proves that this side has the secret. `answers`: it answers the peer's.
    ///
    /// # Errors
    /// [`HandshakeError::Config`] when the library derives no key.
    pub fn prove(&self, secret: &Secret, answers: bool) -> Result<Vec<u8>, HandshakeError> {
        let keys = Keys::new(secret.bytes(), &self.cluster)?;
        let tag = Tag::Renew(self.role, answers).make(&keys, &self.bound);
        Ok(Renew::Secret { answers, tag: &tag }.encode())
    }

    /// Which of the secrets the peer has proved that it has.
    pub fn find<'s>(
        &self,
        secrets: &'s Secrets,
        answers: bool,
        tag: &[u8; TAG_BYTES],
    ) -> Option<&'s Secret> {
        let wanted = Tag::Renew(self.role.other(), answers);
        // all are tried, so that the time does not tell which one it was
        let mut found = None;
        for secret in secrets.iter() {
            if let Ok(keys) = Keys::new(secret.bytes(), &self.cluster)
                && wanted.verify(&keys, &self.bound, tag)
            {
                found = Some(secret);
            }
        }
        found
    }

    /// What this side signs with the key of its new certificate.
    pub fn own_words(&self, certificate: &[u8]) -> Vec<u8> {
        self.words(self.role, certificate)
    }

    /// What the peer has to have signed with the key of that certificate.
    pub fn peer_words(&self, certificate: &[u8]) -> Vec<u8> {
        self.words(self.role.other(), certificate)
    }

    fn words(&self, by: Role, certificate: &[u8]) -> Vec<u8> {
        let label: &[u8] = match by {
            Role::Initiator => b"portmesh1 renew certificate I",
            Role::Responder => b"portmesh1 renew certificate R",
        };
        self.bound.input(label, &[certificate])
    }
}

/// The body of a RENEW.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renew<'a> {
    /// The sender has that secret.
    Secret {
        /// Whether it answers one: then it is not answered.
        answers: bool,
        /// See [`Binding::find`].
        tag: &'a [u8; TAG_BYTES],
    },
    /// The sender has that certificate.
    Certificate {
        /// How it is signed: a SignatureScheme of TLS 1.3.
        scheme: u16,
        /// See [`Binding::peer_words`].
        signature: &'a [u8],
        /// The certificate, and those of CAs above it. Never empty.
        chain: Vec<&'a [u8]>,
    },
}

impl<'a> Renew<'a> {
    /// As bytes. What is longer than 65,535 bytes, which no certificate is, is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Renew::Secret { answers, tag } => {
                out.extend([SECRET, u8::from(*answers)]);
                out.extend(*tag);
            }
            Renew::Certificate {
                scheme,
                signature,
                chain,
            } => {
                out.push(CERTIFICATE);
                out.extend(scheme.to_be_bytes());
                for part in std::iter::once(signature).chain(chain) {
                    let part = part.get(..usize::from(u16::MAX)).unwrap_or(part);
                    out.extend((part.len() as u16).to_be_bytes());
                    out.extend(part);
                }
            }
        }
        out
    }

    /// From bytes. Nothing in it has been verified.
    ///
    /// # Errors
    /// What is wrong with its form, for the text of a CLOSE.
    pub fn decode(body: &'a [u8]) -> Result<Self, &'static str> {
        let (kind, rest) = body.split_first().ok_or("a RENEW without a body")?;
        match *kind {
            SECRET => match rest.split_first() {
                Some((answers @ (0 | 1), tag)) => Ok(Renew::Secret {
                    answers: *answers == 1,
                    tag: tag.try_into().map_err(|_| "a RENEW with a bad tag")?,
                }),
                _ => Err("a RENEW of a secret that neither asks nor answers"),
            },
            CERTIFICATE => {
                let short = "a RENEW that ends within a certificate";
                let (scheme, mut rest) = rest.split_first_chunk::<2>().ok_or(short)?;
                let signature = take(&mut rest).ok_or(short)?;
                let mut chain = Vec::new();
                while !rest.is_empty() {
                    if chain.len() >= CHAIN_MAX {
                        return Err("a RENEW with too many certificates");
                    }
                    chain.push(take(&mut rest).ok_or(short)?);
                }
                if chain.is_empty() {
                    return Err("a RENEW without a certificate");
                }
                Ok(Renew::Certificate {
                    scheme: u16::from_be_bytes(*scheme),
                    signature,
                    chain,
                })
            }
            _ => Err("a RENEW of an unknown kind"),
        }
    }
}

/// What follows a length of two bytes.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (n, behind) = rest.split_first_chunk::<2>()?;
    let (taken, behind) = behind.split_at_checked(u16::from_be_bytes(*n).into())?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::proto::handshake::Mode;

    fn channel(exporter: u8, own: u8, peer: u8) -> Channel {
        Channel {
            mode: Mode::Secret,
            exporter: [exporter; 32],
            own_key: [own; 32],
            peer_key: [peer; 32],
            certified: None,
        }
    }

    /// Both ends of a connection with that exporter.
    fn ends(exporter: u8) -> (Binding, Binding) {
        let end = |own, peer, role| Binding::new(&channel(exporter, own, peer), role, "c");
        (end(1, 2, Role::Initiator), end(2, 1, Role::Responder))
    }

    fn tag(body: &[u8]) -> (bool, [u8; TAG_BYTES]) {
        match Renew::decode(body).unwrap() {
            Renew::Secret { answers, tag } => (answers, *tag),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_is_proved_to_the_other_end_of_this_connection_and_to_nobody_else() {
        let [old, new, wrong] = [1, 2, 3].map(|n| Secret::from_bytes([n; 32]));
        let secrets = Secrets::new(old.clone()).accept(new.clone()).unwrap();
        let (i, r) = ends(7);
        for (from, to) in [(&i, &r), (&r, &i)] {
            for (secret, answers) in [(&old, false), (&new, true)] {
                let (flag, tag) = tag(&from.prove(secret, answers).unwrap());
                assert_eq!(flag, answers);
                assert_eq!(to.find(&secrets, answers, &tag), Some(secret));
                // reflected, as the other thing, on another connection, in another cluster, with another key
                assert_eq!(from.find(&secrets, answers, &tag), None);
                assert_eq!(to.find(&secrets, !answers, &tag), None);
                let (i, r) = ends(8);
                assert_eq!(i.find(&secrets, answers, &tag), None);
                assert_eq!(r.find(&secrets, answers, &tag), None);
                let mut other = to.clone();
                other.cluster = "d".into();
                assert_eq!(other.find(&secrets, answers, &tag), None);
                let other = Binding::new(&channel(7, 2, 9), Role::Responder, "c");
                assert_eq!(other.find(&secrets, answers, &tag), None);
            }
            let (_, tag) = tag(&from.prove(&wrong, false).unwrap());
            assert_eq!(to.find(&secrets, false, &tag), None);
        }
    }

    #[test]
    fn what_a_certificate_signs_names_the_connection_the_side_and_the_certificate() {
        let (i, r) = ends(7);
        assert_eq!(i.own_words(b"c"), r.peer_words(b"c"));
        assert_eq!(r.own_words(b"c"), i.peer_words(b"c"));
        let all = [
            i.own_words(b"c"),
            r.own_words(b"c"),
            i.own_words(b"d"),
            ends(8).0.own_words(b"c"),
            Binding::new(&channel(7, 3, 2), Role::Initiator, "c").own_words(b"c"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(
            all.iter()
                .all(|words| words.starts_with(b"portmesh1 renew"))
        );
    }

    #[test]
    fn a_body_is_read_as_it_was_written_and_no_other_is_read() {
        let tag = [5; TAG_BYTES];
        let certificate = Renew::Certificate {
            scheme: 0x0807,
            signature: &[1; 64],
            chain: vec![&[2; 300], &[3; 1]],
        };
        for renew in [
            Renew::Secret {
                answers: true,
                tag: &tag,
            },
            Renew::Secret {
                answers: false,
                tag: &tag,
            },
            certificate,
        ] {
            let body = renew.encode();
            assert_eq!(Renew::decode(&body), Ok(renew.clone()));
            for end in 0..body.len() {
                let cut = Renew::decode(body.get(..end).unwrap());
                // a shorter chain is one too
                assert_ne!(cut, Ok(renew.clone()), "{end}");
            }
            let longer = [body.as_slice(), &[0]].concat();
            assert!(Renew::decode(&longer).is_err());
        }
        let long = Renew::Certificate {
            scheme: 1,
            signature: &[],
            chain: vec![&[0]; CHAIN_MAX + 1],
        };
        for body in [
            vec![],
            vec![0],
            vec![3, 0],
            vec![1, 2],
            long.encode(),
            vec![2, 0, 0, 0, 0],
        ] {
            assert!(Renew::decode(&body).is_err(), "{body:?}");
        }
    }
}
