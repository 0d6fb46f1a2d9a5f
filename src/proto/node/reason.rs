//! How reasons travel.

use bytes::Bytes;

use crate::proto::{
    codec::Format,
    limits::Limits,
    link::frame::{REASON_BYTES_MAX, cut},
    message::{Message, Reason},
    value::Value,
};

/// What stands for a reason that cannot travel: its tag, and why the rest is missing.
fn shortened(reason: &Reason) -> Reason {
    let tag = reason.tag().map_or("die", |tag| cut(tag, 128));
    Reason(vec![
        Value::from(tag),
        Value::from("the rest of the reason is too long or not encodable"),
    ])
}

/// An empty list in CBOR: what nearly all ports die with.
pub(super) const NORMAL: &[u8] = &[0x80];

/// The reason in its CBOR form, shortened where it is too long or has no encoding.
pub(crate) fn encode(reason: &Reason, limits: &Limits) -> Message {
    if reason.is_normal() {
        return Message::from_wire(Bytes::from_static(NORMAL), Format::cbor());
    }
    let encode = |reason: &Reason| Message::encode_args(reason, limits).ok();
    encode(reason)
        .filter(|message| message.encoded_len() <= REASON_BYTES_MAX)
        .or_else(|| encode(&shortened(reason)))
        .unwrap_or_else(|| {
            // an empty list, where the limits do not even let a tag pass
            Message::from_wire(Bytes::from_static(NORMAL), Format::cbor())
        })
}

/// The reason as it goes over a link of that format.
pub(crate) fn encode_as(reason: &Reason, format: &Format, limits: &Limits) -> Bytes {
    encode(reason, limits)
        .in_format(format, limits)
        .or_else(|_| encode(&shortened(reason), limits).in_format(format, limits))
        .unwrap_or_default()
}
