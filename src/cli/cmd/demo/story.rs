//! What the demo tells, each line with its time, and what it has checked.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::cli::output::{Output, millis};

/// See the module.
pub(super) struct Story {
    out: Output,
    began: Instant,
    failed: Vec<String>,
    checked: u32,
}

impl Story {
    pub(super) fn begin(out: Output) -> Self {
        Story {
            out,
            began: Instant::now(),
            failed: Vec::new(),
            checked: 0,
        }
    }

    /// Since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Something happened. `json` has the same, under its name.
    pub(super) fn tell(&self, event: &str, human: impl std::fmt::Display, json: Json) {
        let at = self.began.elapsed();
        let mut object = json!({"at_ms": millis(at), "event": event});
        if let (Some(object), Json::Object(more)) = (object.as_object_mut(), json) {
            object.extend(more);
        }
        let head = self
            .out
            .bold(&format!("{:8.3} s  {event:<9}", at.as_secs_f64()));
        self.out.data(format!("{head} {human}"), &object);
    }

    /// Something must be so; it is told either way.
    pub(super) fn check(&mut self, holds: bool, what: impl std::fmt::Display) {
        let what = what.to_string();
        self.checked += 1;
        let mark = if holds { "ok" } else { "NOT SO" };
        self.tell(
            "check",
            format!("{mark}: {what}"),
            json!({"ok": holds, "what": what}),
        );
        if !holds {
            self.failed.push(what);
        }
    }

    /// How many checks were made, and which failed.
    pub(super) fn verdict(self) -> (u32, Vec<String>, Duration) {
        (self.checked, self.failed, self.began.elapsed())
    }
}
