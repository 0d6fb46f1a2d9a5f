//! What nodes say to each other about the database: the payload of a DB frame, one message each.
//!
//! On the wire a message is a list: its name, then its fields in order (see [`message`](crate::proto::message)).

use serde::{Deserialize, Serialize};

use super::{
    item::Item,
    name::{Family, Key, WriteRefused},
};
use crate::proto::{
    close::CloseReason,
    id::{Incarnation, NodeId},
    limits::Limits,
    message::{EncodeError, Message},
};

/// A shard that is known up to a version.
pub type Known = (NodeId, Incarnation, u64);

/// Whether a [`Wire::Chunk`] counts by itself. For a reader below a floor several count together, with the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It counts as soon as it is there.
    Whole,
    /// The first of several.
    First,
    /// One of several.
    Part,
    /// The last of several.
    Last,
    /// The first and the last.
    Only,
}

/// Changes of one shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// 0, or the subscription that it answers.
    pub sub: u64,
    /// Whose.
    pub owner: NodeId,
    /// The life of its owner.
    pub life: Incarnation,
    /// It goes on from this version,
    pub from: u64,
    /// to this one.
    pub to: u64,
    /// Whether it counts at once.
    pub stage: Stage,
    /// The changes, by family.
    pub items: Vec<(Family, Vec<Item>)>,
    /// For readers below a floor: the numbers of the entries up to `from` that are still there. What is not named goes.
    pub alive: Vec<(Family, Vec<u64>)>,
}

/// Asks for a family, or one key of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Its name on this link, above 0.
    pub sub: u64,
    /// The family.
    pub family: Family,
    /// Only this key.
    pub key: Option<Key>,
    /// What is there now, and no more.
    pub once: bool,
    /// What the asker has.
    pub known: Vec<Known>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    // --- between global nodes ---
    /// I take you for a global node; here is my clock, in milliseconds since 1970.
    Accept(u64),
    /// I do not, and will answer no more than for any other node.
    Decline(String),
    /// What I have of shards. `last`: that was all of it, begin.
    Known {
        /// Of these shards.
        shards: Vec<Known>,
        /// Whether it was all.
        last: bool,
    },

    // --- both ---
    /// Changes.
    Chunk(Chunk),
    /// All that was there when you asked (subscription 0: when the link began) has been sent.
    Synced(u64),

    // --- to a home ---
    /// Be my home: how many homes this life of mine had, this one included, and the version of my shard.
    Attach {
        /// How many.
        counter: u64,
        /// The version.
        version: u64,
    },
    /// Be my home no longer.
    Detach,
    /// I want to know of that.
    Subscribe(Subscribe),
    /// No longer.
    Unsubscribe(u64),

    // --- from a home ---
    /// I am your home. I have that much of your shard; here is my clock, in milliseconds since 1970.
    Attached {
        /// The version.
        version: u64,
        /// The clock.
        wall_ms: u64,
    },
    /// Your shard is taken up to that version, but for what was refused.
    Applied(u64),
    /// That change of yours is not taken.
    Refused {
        /// Its number.
        seq: u64,
        /// Why.
        why: WriteRefused,
    },
    /// You may not read that: the subscription is none.
    Denied {
        /// The subscription.
        sub: u64,
        /// What it may not, for people.
        text: String,
    },
    /// For that subscription, that life of a node owns nothing any more.
    Gone {
        /// The subscription.
        sub: u64,
        /// The node.
        owner: NodeId,
        /// Its life.
        life: Incarnation,
    },
    /// Other global nodes, with the addresses that they tell.
    Globals(Vec<(NodeId, Vec<String>)>),
    /// You are not the only one who owns that key: all who do, the one that shows first.
    Conflict {
        /// The family.
        family: Family,
        /// The key.
        key: Key,
        /// The owners.
        owners: Vec<NodeId>,
    },
}

impl Wire {
    /// As the payload of a frame.
    ///
    /// # Errors
    /// It is too large for a message.
    pub fn encode(&self, limits: &Limits) -> Result<Message, EncodeError> {
        Message::encode(self, limits)
    }

    /// From the payload of a frame.
    ///
    /// # Errors
    /// It is not one of these: close the link with that.
    pub fn decode(message: &Message, limits: &Limits) -> Result<Self, CloseReason> {
        message
            .decode(limits)
            .map_err(|error| CloseReason::Protocol(format!("a DB frame that is none: {error}")))
    }
}

/// The vectors of `tests/vectors/db.json`, which another implementation wrote (`make_db.py`).
#[cfg(test)]
mod vectors {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::collections::BTreeSet;

    use serde_json::Value as Json;

    use super::Wire;
    use crate::proto::{codec::Format, limits::Limits, message::Message};

    const VECTORS: &str = include_str!("../../../tests/vectors/db.json");

    /// The two forms of a vector: as CBOR, and as JSON.
    fn forms(vector: &Json) -> [Message; 2] {
        let digits = vector["cbor"].as_str().unwrap().as_bytes().chunks(2);
        let cbor: Vec<u8> = digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect();
        let json = vector["json"].as_str().unwrap().as_bytes().to_vec();
        [
            Message::from_wire(cbor.into(), Format::cbor()),
            Message::from_wire(json.into(), Format::json()),
        ]
    }

    #[test]
    fn every_message_is_on_the_wire_what_the_vectors_say() {
        let vectors: Json = serde_json::from_str(VECTORS).unwrap();
        let limits = Limits::default();
        let mut names = BTreeSet::new();
        for vector in vectors["messages"].as_array().unwrap() {
            let [cbor, json] = forms(vector);
            let name = vector["message"].as_str().unwrap();
            assert_eq!(cbor.tag(&limits).unwrap().as_deref(), Some(name));
            let wire = Wire::decode(&cbor, &limits).unwrap();
            assert_eq!(Wire::decode(&json, &limits).unwrap(), wire);
            let encoded = wire.encode(&limits).unwrap();
            assert_eq!(encoded.bytes(), cbor.bytes(), "{wire:?}");
            let written = encoded.in_format(&Format::json(), &limits).unwrap();
            assert_eq!(written, *json.bytes(), "{wire:?}");
            names.insert(name.to_owned());
        }
        assert_eq!(names.len(), 16, "{names:?}");
    }

    #[test]
    fn what_the_vectors_say_is_no_message_is_none() {
        let vectors: Json = serde_json::from_str(VECTORS).unwrap();
        let limits = Limits::default();
        let refused = vectors["refused"].as_array().unwrap();
        assert!(refused.len() > 20);
        for vector in refused {
            for message in forms(vector) {
                let read = Wire::decode(&message, &limits);
                assert!(read.is_err(), "{}: {read:?}", vector["why"]);
            }
        }
    }
}
