//! What two greetings have in common. Both sides compute it, from the same bytes.

use super::{HandshakeError, Local, greeting::Greeting, greeting::Pick};

/// The highest common version, then the first of the initiator's formats that the responder has.
pub(super) fn pick(
    local: &Local,
    peer: &Greeting,
    we_initiate: bool,
) -> Result<Pick, HandshakeError> {
    let version = local
        .versions
        .iter()
        .filter(|v| peer.versions.contains(v))
        .max()
        .ok_or_else(|| HandshakeError::NoCommonVersion {
            ours: local.versions.clone(),
            theirs: peer.versions.clone(),
        })?;
    let (first, second) = if we_initiate {
        (&local.formats, &peer.formats)
    } else {
        (&peer.formats, &local.formats)
    };
    let format = first.iter().find(|f| second.contains(f)).ok_or_else(|| {
        HandshakeError::NoCommonFormat {
            ours: local.formats.clone(),
            theirs: peer.formats.clone(),
        }
    })?;
    Ok(Pick {
        version: *version,
        format: format.clone(),
    })
}

/// The features that both have, sorted.
pub(super) fn features(local: &Local, peer: &Greeting) -> Vec<String> {
    let mut common: Vec<String> = local
        .features
        .iter()
        .filter(|f| peer.features.contains(f))
        .cloned()
        .collect();
    common.sort();
    common
}
