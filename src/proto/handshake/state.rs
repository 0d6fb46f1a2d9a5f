//! The states of both sides. Each is consumed by the step that leaves it: a finished or failed one cannot be used again.

use super::{
    GREETING_BYTES_MAX, HandshakeError, Local, Mode, Role, Secret, SecretId, Secrets, TAG_BYTES,
    greeting::{Greeting, Pick},
    keys::{Bound, Keys, Tag},
    negotiate,
};
use crate::proto::{id::NodeId, naming};

/// The connection that a handshake runs over, as TLS has left it.
#[derive(Debug, Clone)]
pub struct Channel {
    /// How membership is proved on it.
    pub mode: Mode,
    /// 32 bytes that only the two ends of this connection know.
    pub exporter: [u8; 32],
    /// SHA-256 of our SubjectPublicKeyInfo.
    pub own_key: [u8; 32],
    /// SHA-256 of the peer's.
    pub peer_key: [u8; 32],
    /// Certificate mode: the node that the verified certificate names.
    pub certified: Option<NodeId>,
}

/// What both sides know at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreed {
    /// What the peer told of itself; its ID is proven.
    pub peer: Greeting,
    /// Version and format.
    pub pick: Pick,
    /// The features that both have, sorted.
    pub features: Vec<String>,
    /// Secret mode: which of the accepted secrets both have.
    pub secret: Option<SecretId>,
}

/// What both roles carry from state to state.
struct Common {
    local: Local,
    channel: Channel,
    bound: Bound,
}

impl Common {
    fn new(role: Role, local: &Local, channel: Channel) -> Result<Self, HandshakeError> {
        if channel.own_key == channel.peer_key {
            return Err(HandshakeError::OwnKey);
        }
        if channel.mode == Mode::Certificate && channel.certified.is_none() {
            return Err(HandshakeError::NoCertifiedName);
        }
        let bound = Bound::new(role, channel.exporter, channel.own_key, channel.peer_key);
        Ok(Common {
            local: local.clone(),
            channel,
            bound,
        })
    }

    fn keys(&self, secret: &[u8; 32]) -> Result<Keys, HandshakeError> {
        Keys::new(secret, &self.local.cluster)
    }

    /// Reads the greeting, after its tag was verified, and refuses whoever may not be a peer.
    fn peer(&self, greeting: &[u8]) -> Result<Greeting, HandshakeError> {
        let peer = Greeting::parse(greeting)?;
        if peer.mode != self.channel.mode {
            return Err(HandshakeError::WrongMode {
                ours: self.channel.mode,
                theirs: peer.mode,
            });
        }
        if peer.cluster != self.local.cluster {
            return Err(HandshakeError::WrongCluster {
                ours: self.local.cluster.clone(),
                theirs: peer.cluster,
            });
        }
        if peer.node == self.local.node {
            return Err(HandshakeError::OwnId(peer.node));
        }
        if let (Mode::Certificate, Some(certified)) = (self.channel.mode, &self.channel.certified)
            && *certified != peer.node
        {
            return Err(HandshakeError::CertificateNamesAnother {
                claimed: peer.node,
                certified: certified.clone(),
            });
        }
        if let Some(key) = naming::certified_key(&peer.node)
            && key != self.channel.peer_key
        {
            return Err(HandshakeError::NotItsKey(peer.node));
        }
        Ok(peer)
    }
}

/// Greeting and tag of an AUTH1 or AUTH2.
fn split(frame: &[u8]) -> Result<(&[u8], &[u8; TAG_BYTES]), HandshakeError> {
    let wrong = HandshakeError::Length(frame.len());
    let Some((header, rest)) = frame.split_first_chunk::<2>() else {
        return Err(wrong);
    };
    if super::auth_bytes_after(*header)? != rest.len() {
        return Err(wrong);
    }
    rest.split_last_chunk().ok_or(wrong)
}

fn join(greeting: &[u8], tag: &[u8; TAG_BYTES]) -> Result<Vec<u8>, HandshakeError> {
    let n = u16::try_from(greeting.len())
        .ok()
        .filter(|n| (1..=GREETING_BYTES_MAX).contains(&usize::from(*n)))
        .ok_or(HandshakeError::Length(greeting.len()))?;
    Ok([&n.to_be_bytes(), greeting, tag].concat())
}

/// Has sent AUTH1 and waits for AUTH2.
pub struct Initiator {
    common: Common,
    keys: Keys,
    secret: Option<SecretId>,
    g_i: Vec<u8>,
    t_i: [u8; TAG_BYTES],
}

impl Initiator {
    /// Begins; the bytes are AUTH1. `secret` is the current one, needed in secret mode only.
    ///
    /// # Errors
    /// When the channel cannot be used: own key, no secret in secret mode, no name in certificate mode.
    pub fn start(
        local: &Local,
        channel: Channel,
        secret: Option<&Secret>,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let common = Common::new(Role::Initiator, local, channel)?;
        let (keys, secret) = match common.channel.mode {
            Mode::Secret => {
                let secret = secret.ok_or(HandshakeError::NoSecret)?;
                (common.keys(secret.bytes())?, Some(secret.id()))
            }
            Mode::Certificate => (common.keys(&common.channel.exporter)?, None),
        };
        let g_i = common.local.greeting(common.channel.mode, None);
        let t_i = Tag::Auth1(&g_i).make(&keys, &common.bound);
        let frame = join(&g_i, &t_i)?;
        let this = Initiator {
            common,
            keys,
            secret,
            g_i,
            t_i,
        };
        Ok((this, frame))
    }

    /// Takes AUTH2, header included. `expect`: the node that the dial was for.
    ///
    /// # Errors
    /// Every refusal of [`HandshakeError`]; the connection is to be closed.
    pub fn handle_auth2(
        self,
        frame: &[u8],
        expect: Option<&NodeId>,
    ) -> Result<InitiatorVerified, HandshakeError> {
        let (g_r, t_r) = split(frame)?;
        let Initiator {
            common,
            keys,
            secret,
            g_i,
            t_i,
        } = self;
        if !Tag::Auth2(&g_i, &t_i, g_r).verify(&keys, &common.bound, t_r) {
            return Err(HandshakeError::BadTag(common.channel.mode));
        }
        let peer = common.peer(g_r)?;
        if let Some(wanted) = expect.filter(|w| **w != peer.node) {
            return Err(HandshakeError::Unexpected {
                wanted: wanted.clone(),
                found: peer.node,
            });
        }
        let pick = negotiate::pick(&common.local, &peer, true)?;
        if peer.pick.as_ref() != Some(&pick) {
            return Err(HandshakeError::PickDiffers {
                ours: pick.to_string(),
                theirs: peer
                    .pick
                    .map_or_else(|| "nothing".to_owned(), |p| p.to_string()),
            });
        }
        let ready = Tag::Ready(&g_i, &t_i, g_r, t_r).make(&keys, &common.bound);
        let features = negotiate::features(&common.local, &peer);
        Ok(InitiatorVerified {
            agreed: Agreed {
                peer,
                pick,
                features,
                secret,
            },
            ready,
        })
    }
}

/// Has verified AUTH2: the peer is proven. Nothing has been told to it since AUTH1.
pub struct InitiatorVerified {
    agreed: Agreed,
    ready: [u8; TAG_BYTES],
}

impl InitiatorVerified {
    /// Who the responder is.
    pub fn peer(&self) -> &Greeting {
        &self.agreed.peer
    }

    /// Goes on with it; the bytes are READY.
    pub fn finish(self) -> (Agreed, [u8; TAG_BYTES]) {
        (self.agreed, self.ready)
    }
}

/// Waits for AUTH1.
pub struct Responder {
    common: Common,
    /// One for each accepted secret.
    keys: Vec<(Keys, Option<SecretId>)>,
}

impl Responder {
    /// Begins. `secrets` are needed in secret mode only.
    ///
    /// # Errors
    /// When the channel cannot be used: own key, no secret in secret mode, no name in certificate mode.
    pub fn start(
        local: &Local,
        channel: Channel,
        secrets: Option<&Secrets>,
    ) -> Result<Self, HandshakeError> {
        let common = Common::new(Role::Responder, local, channel)?;
        let keys = match common.channel.mode {
            Mode::Secret => secrets
                .ok_or(HandshakeError::NoSecret)?
                .iter()
                .map(|s| Ok((common.keys(s.bytes())?, Some(s.id()))))
                .collect::<Result<_, HandshakeError>>()?,
            Mode::Certificate => vec![(common.keys(&common.channel.exporter)?, None)],
        };
        Ok(Responder { common, keys })
    }

    /// Takes AUTH1, header included.
    ///
    /// # Errors
    /// Every refusal of [`HandshakeError`]; the connection is to be closed without a word.
    pub fn handle_auth1(self, frame: &[u8]) -> Result<ResponderVerified, HandshakeError> {
        let (g_i, t_i) = split(frame)?;
        let Responder { common, keys } = self;
        // All are tried, so that the time does not tell which one it was.
        let mut matching = None;
        for k in keys {
            if Tag::Auth1(g_i).verify(&k.0, &common.bound, t_i) {
                matching = Some(k);
            }
        }
        let (keys, secret) = matching.ok_or(HandshakeError::BadTag(common.channel.mode))?;
        let peer = common.peer(g_i)?;
        let pick = negotiate::pick(&common.local, &peer, false)?;
        let features = negotiate::features(&common.local, &peer);
        Ok(ResponderVerified {
            agreed: Agreed {
                peer,
                pick,
                features,
                secret,
            },
            g_i: g_i.to_vec(),
            t_i: *t_i,
            common,
            keys,
        })
    }
}

/// Has verified AUTH1: the initiator is proven to be a member and on this connection, unless what it sent is repeated
/// by somebody who has all of this connection's keys; READY settles that too.
pub struct ResponderVerified {
    agreed: Agreed,
    common: Common,
    keys: Keys,
    g_i: Vec<u8>,
    t_i: [u8; TAG_BYTES],
}

impl ResponderVerified {
    /// Who the initiator is.
    pub fn peer(&self) -> &Greeting {
        &self.agreed.peer
    }

    /// Goes on with it; the bytes are AUTH2.
    ///
    /// # Errors
    /// [`HandshakeError::Length`] if the own greeting were too long, which [`Local::new`] has ruled out.
    pub fn answer(self) -> Result<(ResponderAnswered, Vec<u8>), HandshakeError> {
        let Self {
            agreed,
            common,
            keys,
            g_i,
            t_i,
        } = self;
        let g_r = common
            .local
            .greeting(common.channel.mode, Some(agreed.pick.clone()));
        let t_r = Tag::Auth2(&g_i, &t_i, &g_r).make(&keys, &common.bound);
        let frame = join(&g_r, &t_r)?;
        let answered = ResponderAnswered {
            agreed,
            common,
            keys,
            g_i,
            t_i,
            g_r,
            t_r,
        };
        Ok((answered, frame))
    }
}

/// Has sent AUTH2 and waits for READY.
pub struct ResponderAnswered {
    agreed: Agreed,
    common: Common,
    keys: Keys,
    g_i: Vec<u8>,
    t_i: [u8; TAG_BYTES],
    g_r: Vec<u8>,
    t_r: [u8; TAG_BYTES],
}

impl ResponderAnswered {
    /// Takes READY.
    ///
    /// # Errors
    /// [`HandshakeError::BadTag`]; the connection is to be closed.
    pub fn handle_ready(self, tag: &[u8]) -> Result<Agreed, HandshakeError> {
        let ready = Tag::Ready(&self.g_i, &self.t_i, &self.g_r, &self.t_r);
        if ready.verify(&self.keys, &self.common.bound, tag) {
            Ok(self.agreed)
        } else {
            Err(HandshakeError::BadTag(self.common.channel.mode))
        }
    }
}
