//! TLS and the handshake through real sockets: first what must work, then everything that must not.

mod accepted;
mod attack;
mod authority;
mod fixtures;
mod last_words;
mod members;
mod nodes;
mod rotation;
mod strangers;
mod support;
