//! The small message of `portmesh bench` in frames of a length and a body, in both formats.

use portmesh::cli::measure::{BODY, SMALL};
use serde::{Deserialize, Serialize};

use super::Res;

/// Where it goes; as long as the ID of a port.
const TO: &str = "bench/server@raw/sink#000001";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Format {
    Cbor,
    Json,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Cbor => "cbor",
            Format::Json => "json",
        }
    }

    /// Appends one frame.
    pub(super) fn put(self, n: u64, out: &mut Vec<u8>) -> Res<()> {
        let at = out.len();
        out.extend([0; LENGTH_BYTES]);
        match self {
            Format::Cbor => minicbor::Encoder::new(&mut *out)
                .array(4)?
                .str(TO)?
                .str(SMALL)?
                .u64(n)?
                .str(BODY)?
                .ok()?,
            Format::Json => serde_json::to_writer(&mut *out, &(TO, SMALL, n, BODY))?,
        }
        let bytes = u32::try_from(out.len() - at - LENGTH_BYTES)?;
        if let Some(length) = out.get_mut(at..at + LENGTH_BYTES) {
            length.copy_from_slice(&bytes.to_be_bytes());
        }
        Ok(())
    }
}

const LENGTH_BYTES: usize = 4;
/// A frame that holds nothing: that was all of this round.
pub(super) const END: [u8; LENGTH_BYTES] = [0; LENGTH_BYTES];

/// A message of which nothing is borrowed.
pub(super) type All = (String, String, u64, String);
/// What a handler of Portmesh gets of it.
pub(super) type Arguments = (u64, String);

/// As it stands in the bytes.
fn borrowed(bytes: &[u8]) -> Res<(&str, &str, u64, &str)> {
    let mut decoder = minicbor::Decoder::new(bytes);
    if decoder.array()? != Some(4) {
        return Err("that is no list of four".into());
    }
    Ok((
        decoder.str()?,
        decoder.str()?,
        decoder.u64()?,
        decoder.str()?,
    ))
}

/// What is read of a message.
pub(super) trait Owned: Send + Sync + Sized + 'static {
    fn cbor(bytes: &[u8]) -> Res<Self>;
    fn json(bytes: &[u8]) -> Res<Self>;
    fn body(&self) -> &str;
}

impl Owned for All {
    fn cbor(bytes: &[u8]) -> Res<Self> {
        let (to, tag, n, body) = borrowed(bytes)?;
        Ok((to.to_owned(), tag.to_owned(), n, body.to_owned()))
    }
    fn json(bytes: &[u8]) -> Res<Self> {
        Ok(serde_json::from_slice(bytes)?)
    }
    fn body(&self) -> &str {
        &self.3
    }
}

impl Owned for Arguments {
    fn cbor(bytes: &[u8]) -> Res<Self> {
        let (_, _, n, body) = borrowed(bytes)?;
        Ok((n, body.to_owned()))
    }
    fn json(bytes: &[u8]) -> Res<Self> {
        let (_, _, n, body): (&str, &str, u64, String) = serde_json::from_slice(bytes)?;
        Ok((n, body))
    }
    fn body(&self) -> &str {
        &self.1
    }
}

/// The whole frames at the beginning of some bytes; what is left of them is the beginning of the next.
pub(super) struct Frames<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (frame, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.0 = rest;
        Some(frame)
    }
}
