//! The protocol on tokio: tasks, timers, queues, mailboxes.

pub mod transport;
