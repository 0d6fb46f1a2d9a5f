//! What is printed: data to the standard output, as text or as one JSON object a line; chatter to the standard error.

use std::io::{IsTerminal, Write};

use serde_json::Value as Json;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Output {
            json,
            quiet,
            color: !json && !no_color && std::io::stdout().is_terminal(),
        }
    }

    /// Whether data is printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// One piece of data, in either form. The two must say the same.
    pub(crate) fn data(&self, human: impl std::fmt::Display, json: &Json) {
        let mut out = std::io::stdout().lock();
        // a reader that has gone away is no reason to fail
        let _ = if self.json {
            writeln!(out, "{json}")
        } else {
            writeln!(out, "{human}")
        };
        let _ = out.flush();
    }

    /// For people only.
    pub(crate) fn chat(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Always, on the standard error.
    pub(crate) fn error(&self, exit: u8, text: impl std::fmt::Display) {
        let mut err = std::io::stderr().lock();
        let _ = if self.json {
            let text = text.to_string();
            writeln!(err, "{}", serde_json::json!({"error": text, "exit": exit}))
        } else {
            writeln!(err, "portmesh: {}", plain(text))
        };
    }

    /// The text in bold where that can be seen.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.color {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// Milliseconds with three digits behind the point.
pub(crate) fn millis(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Without what is below a millisecond, for a time that may be told.
pub(crate) fn whole_millis(time: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// A text that others may have written, on one line and without the terminal's magic, or marks that turn the order round.
pub(crate) fn plain(text: impl std::fmt::Display) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| match c.is_control() || turns(c) {
        true => '\u{fffd}',
        false => c,
    };
    text.to_string().chars().map(shown).collect()
}

/// `1 port`, `2 ports`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Rows of a table as lines, each column as wide as its widest cell.
pub(crate) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let plain_row = |row: &Vec<String>| Vec::from_iter(row.iter().map(plain));
    let rows = Vec::from_iter(rows.iter().map(plain_row));
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_plays_no_tricks_on_the_terminal() {
        let said = "a\u{1b}[2Jb\r\nc\u{7}\u{9b}1m\u{202e}d\u{2066}\u{200f}é";
        let shown = plain(said);
        assert_eq!(shown.replace('\u{fffd}', ""), "a[2Jbc1mdé");
        assert_eq!(shown.chars().count(), said.chars().count());
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rows = [row(&["a", "long", "x"]), row(&["b\nd", "é", ""])];
        assert_eq!(aligned(&rows), ["a    long  x", "b\u{fffd}d  é"]);
        assert!(aligned(&[]).is_empty());
    }
}
