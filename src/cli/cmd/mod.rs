//! The subcommands, one file each.

pub(crate) mod call;
pub(crate) mod cert_ca;
pub(crate) mod cert_inspect;
pub(crate) mod cert_issue;
pub(crate) mod config;
pub(crate) mod db;
pub(crate) mod demo;
pub(crate) mod forget;
pub(crate) mod kill;
pub(crate) mod monitor;
pub(crate) mod nodes;
pub(crate) mod ping;
pub(crate) mod policy;
pub(crate) mod run;
pub(crate) mod secret;
pub(crate) mod send;
pub(crate) mod spawn;
pub(crate) mod trace;
