//! Ports: the mailbox.

pub mod mailbox;
