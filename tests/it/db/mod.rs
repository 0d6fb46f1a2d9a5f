//! The database between whole nodes of one process, over the in-memory network.

mod shows;
