//! Configuration: files with profiles, the environment, and what a program says, one over the other.
//!
//! See [the manual](crate::manual::configuration) for the files and their keys.
#![cfg_attr(not(feature = "cli"), allow(dead_code))] // the command shows and edits it

pub(crate) mod apply;
pub(crate) mod edit;
#[cfg(test)]
mod edit_tests;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod keys;
pub(crate) mod layers;
mod limits;
pub(crate) mod profile;
#[cfg(test)]
mod profile_tests;
#[cfg(test)]
mod tests;
pub(crate) mod value;

pub use error::{ConfigError, ConfigFault, ConfigOrigin};
pub use profile::ProfileBuilder;

/// The profile of a node that is given none: the host's name.
pub(crate) fn host_profile() -> String {
    super::host::name()
}
