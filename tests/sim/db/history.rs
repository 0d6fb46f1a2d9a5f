//! What happened in a run, in words, and how often each kind of fault and race did.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

#[derive(Debug, Default)]
pub struct History {
    pub lines: Vec<(Duration, String)>,
    pub counts: BTreeMap<&'static str, u64>,
    digest: DefaultHasher,
    /// Messages too, for a run that is to be printed.
    pub is_verbose: bool,
}

impl History {
    pub fn say(&mut self, at: Duration, line: String) {
        self.digest.write(line.as_bytes());
        self.digest.write_u128(at.as_nanos());
        self.lines.push((at, line));
    }

    /// Something that is only told where all is.
    pub fn whisper(&mut self, at: Duration, bytes: &[u8], line: impl FnOnce() -> String) {
        self.digest.write(bytes);
        if self.is_verbose {
            self.lines.push((at, line()));
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }
}
