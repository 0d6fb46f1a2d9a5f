//! The composite: what the parts of the core are to one peer ([`Peer`](peer::Peer): outbound half and monitors, behind one short
//! lock) and to one link ([`Session`](session::Session): inbound half, in the link's own task).

mod held;
pub mod peer;
pub(crate) mod reason;
mod run;
pub mod session;
mod watched;

#[cfg(test)]
mod tests;
