//! How much of what was read is handed on before what follows of it goes out.
//!
//! Where tasks go on with what comes, this side would be at work until all of it is handed on, and only then the other one
//! again: they would take turns. In portions both work at the same time.

/// What of one call of [`Session::handle_bytes`](super::Session::handle_bytes) was handed on, and how much is enough.
#[derive(Debug, Default)]
pub struct Portion {
    /// After so many replies to calls, monitors that fire, and other messages where [`Self::answers`], the rest of what came is
    /// left for the next call, if more than a quarter of it was taken. 0: all of it is taken.
    pub max: usize,
    /// What comes is answered with messages, as it seems.
    pub answers: bool,
    woken: usize,
    handed: u64,
    more: bool,
}

impl Portion {
    /// With that [`Self::max`].
    pub fn of(max: usize) -> Self {
        Portion {
            max,
            ..Portion::default()
        }
    }

    /// What was read begins to be taken.
    pub(super) fn begin(&mut self) {
        (self.woken, self.handed, self.more) = (0, 0, false);
    }

    /// So many messages were handed to a port.
    pub(super) fn hand(&mut self, messages: usize, is_reply: bool) {
        self.handed += messages as u64;
        if is_reply || self.answers {
            self.woken += messages;
        }
    }

    /// A monitor is about to fire.
    pub(super) fn fire(&mut self) {
        self.woken += 1;
    }

    /// Whether it ends here, before all of `len` bytes were taken. `waiting`: messages that were taken and are not handed on yet;
    /// `at`: bytes that were.
    pub(super) fn ends(&mut self, waiting: usize, at: usize, len: usize) -> bool {
        let waiting = if self.answers { waiting } else { 0 };
        self.more =
            self.max > 0 && self.woken + waiting >= self.max && (len / 4..len).contains(&at);
        self.more
    }

    /// How many tasks go on with what was handed on, about, since the last time this was asked for.
    pub fn take_woken(&mut self) -> usize {
        std::mem::take(&mut self.woken)
    }

    /// How many messages were handed on.
    pub fn handed(&self) -> u64 {
        self.handed
    }

    /// Whether complete frames may be left.
    pub fn is_more(&self) -> bool {
        self.more
    }
}
