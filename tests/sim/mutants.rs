//! Planted faults, one an invariant at least: a simulation that does not catch them proves nothing.
//!
//! They tamper with what passes between the parts, never with the parts themselves.

/// What goes wrong in a run on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    None,
    /// Two messages of a batch change places.
    Reorder,
    /// A message is handled a second time.
    DeliverTwice,
    /// A message vanishes on its way into the mailbox.
    DropSilently,
    /// Monitors of a loss fire after it was acknowledged, those of a lost link after the next one is up.
    FireLate,
    /// A loss is never acknowledged.
    NeverSettle,
    /// A life of a node gives port names away that an earlier one gave.
    ReuseNames,
    /// Mailboxes take everything.
    UnboundedMailbox,
    /// A message goes out in one piece, however large.
    NoFragments,
    /// A monitor is forgotten when it is to fire.
    ForgetMonitor,
    /// A monitor fires again.
    FireTwice,
    /// A kill overtakes the messages before it.
    KillAtOnce,
    /// No link is ever found silent.
    NeverTimeOut,
    /// A link is found silent too early.
    TimeOutEarly,
    /// The init function runs when the port is in use already.
    InitLate,
    /// Both nodes think that they decide.
    BothDecide,
    /// The answer to a probe is not heard.
    ProbeUnheard,
    /// A node hears that its peer agrees to the end of an idle link, when the peer said that it needs it.
    StayUnheard,
    /// The end of a link is not told.
    DownUntold,
}

/// All of them, with the invariant that must catch each.
pub const MUTANTS: &[(Mutant, &str)] = &[
    (Mutant::Reorder, "P1"),
    (Mutant::DeliverTwice, "P1"),
    (Mutant::DropSilently, "P2"),
    (Mutant::FireLate, "M6"),
    (Mutant::NeverSettle, "quiescence"),
    (Mutant::ReuseNames, "P6"),
    (Mutant::UnboundedMailbox, "P8"),
    (Mutant::NoFragments, "P9"),
    (Mutant::ForgetMonitor, "M2"),
    (Mutant::FireTwice, "M2"),
    (Mutant::KillAtOnce, "M4"),
    (Mutant::NeverTimeOut, "M7"),
    (Mutant::TimeOutEarly, "M7"),
    (Mutant::InitLate, "S1"),
    (Mutant::BothDecide, "L1"),
    (Mutant::ProbeUnheard, "L2"),
    (Mutant::StayUnheard, "L1"),
    (Mutant::DownUntold, "L5"),
];
