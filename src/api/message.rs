//! What comes out of a message: any serde type, or the message as it is.

use serde::de::DeserializeOwned;

use crate::proto::{
    limits::Limits,
    message::{DecodeError, Message},
};

/// What a message can be taken as: any serde type, and [`Message`] itself, undecoded.
///
/// Implemented for every `DeserializeOwned`: a tuple takes the list, an enum its tag and fields, anything else the
/// only value of a list of one.
pub trait FromMessage: Sized {
    /// The whole message.
    ///
    /// # Errors
    /// The message is not such a one.
    fn from_message(message: Message, limits: &Limits) -> Result<Self, DecodeError>;
    /// Likewise, and gives the message back where it is not such a one.
    ///
    /// # Errors
    /// As for [`Self::from_message`].
    fn or_message(message: Message, limits: &Limits) -> Result<Self, (DecodeError, Message)> {
        Self::from_message(message.clone(), limits).map_err(|error| (error, message))
    }
    /// What follows the tag. ([`Message`] is the whole even so.)
    ///
    /// # Errors
    /// The rest of the message is not such a one.
    fn from_args(message: Message, limits: &Limits) -> Result<Self, DecodeError>;
}

impl<T: DeserializeOwned> FromMessage for T {
    fn from_message(message: Message, limits: &Limits) -> Result<Self, DecodeError> {
        message.decode(limits)
    }
    fn or_message(message: Message, limits: &Limits) -> Result<Self, (DecodeError, Message)> {
        message.decode(limits).map_err(|error| (error, message))
    }
    fn from_args(message: Message, limits: &Limits) -> Result<Self, DecodeError> {
        message.decode_args(limits)
    }
}

impl FromMessage for Message {
    fn from_message(message: Message, _: &Limits) -> Result<Self, DecodeError> {
        Ok(message)
    }
    fn from_args(message: Message, _: &Limits) -> Result<Self, DecodeError> {
        Ok(message)
    }
}
