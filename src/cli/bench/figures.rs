//! A result: its figures, as one JSON object like those of the benchmarks of other systems, and as a line for people.

use std::{fmt::Write, time::Duration};

use serde_json::{Map, Value as Json};

/// One result.
#[derive(Debug)]
pub struct Line {
    bench: String,
    /// How the link is secured, and the format.
    mode: String,
    format: String,
    value: f64,
    unit: &'static str,
    more: Vec<(&'static str, f64)>,
}

impl Line {
    /// A figure that was not measured over a link.
    pub fn new(bench: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Line {
            bench: bench.into(),
            mode: "local".to_owned(),
            format: String::new(),
            value,
            unit,
            more: Vec::new(),
        }
    }

    /// The median round is the value.
    pub fn of_rounds(bench: impl Into<String>, rounds: &[f64], unit: &'static str) -> Self {
        let (lowest, median, highest) = spread(rounds);
        Line::new(bench, median, unit)
            .with("lowest", lowest)
            .with("best", highest)
            .with("rounds", rounds.len() as f64)
    }

    /// p50 is the value, in microseconds.
    pub fn of_times(bench: impl Into<String>, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Line::new(bench, micros(percentile(&times, 0.50)), "us_p50")
            .with("p99_us", micros(percentile(&times, 0.99)))
            .with("max_us", micros(percentile(&times, 1.0)))
            .with("rounds", times.len() as f64)
    }

    /// Over such a link.
    pub fn over(mut self, security: &str, format: &str) -> Self {
        self.mode = format!("{security} {format}").trim_end().to_owned();
        format.clone_into(&mut self.format);
        self
    }

    /// With a further figure.
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.more.push((name, value));
        self
    }

    /// With further figures.
    pub fn with_all(mut self, more: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        self.more.extend(more);
        self
    }

    /// What was measured.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// A figure that was given; NaN where there is none of that name.
    pub fn figure(&self, name: &str) -> f64 {
        let mut more = self.more.iter();
        more.find(|(known, _)| *known == name)
            .map_or(f64::NAN, |(_, value)| *value)
    }

    /// With the number of threads in each process.
    pub fn json(&self, threads: u16) -> Json {
        let mut line = Map::new();
        line.insert("peer".into(), "portmesh".into());
        line.insert("bench".into(), self.bench.as_str().into());
        line.insert("mode".into(), self.mode.as_str().into());
        if !self.format.is_empty() {
            line.insert("format".into(), self.format.as_str().into());
        }
        line.insert("value".into(), rounded(self.value));
        line.insert("unit".into(), self.unit.into());
        line.insert("threads".into(), threads.into());
        for (name, value) in &self.more {
            line.insert((*name).into(), rounded(*value));
        }
        Json::Object(line)
    }

    /// For people.
    pub fn text(&self) -> String {
        let (bench, format, unit) = (&self.bench, &self.format, self.unit);
        let value = grouped(&rounded(self.value));
        let mut text = format!("{bench:<36} {format:<4} {value:>12} {unit:<7}");
        for (name, value) in &self.more {
            let _ = write!(text, "  {name} {}", grouped(&rounded(*value)));
        }
        text
    }
}

/// The first line of the text.
pub(super) fn heading(threads: u16) -> String {
    format!(
        "{:<36} {:<4} {:>12} {:<7}  further figures (threads in each process: {threads})",
        "what", "", "value", "unit"
    )
}

fn rounded(value: f64) -> Json {
    let value = if value.abs() >= 1000.0 {
        value.round()
    } else {
        (value * 1000.0).round() / 1000.0
    };
    if value.fract() == 0.0 && value.abs() < 9e15 {
        (value as i64).into()
    } else {
        value.into()
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: &Json) -> String {
    let Some(number) = number.as_i64().filter(|number| number.abs() >= 10_000) else {
        return number.to_string();
    };
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lowest, median and highest; NaN where there are none.
pub fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let last = sorted.len().saturating_sub(1);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => f64::midpoint(at(middle.saturating_sub(1)), at(middle)),
        _ => at(middle),
    };
    (at(0), median, at(last))
}

/// Of sorted times; zero where there are none.
pub(super) fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), (1.0, 2.5, 4.0));
        assert_eq!(spread(&[7.0]), (7.0, 7.0, 7.0));
        assert!(spread(&[]).1.is_nan());
    }

    #[test]
    fn percentiles_are_of_the_samples() {
        let times: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!(percentile(&times, 0.5), Duration::from_micros(50));
        assert_eq!(percentile(&times, 0.99), Duration::from_micros(99));
        assert_eq!(percentile(&times, 1.0), Duration::from_micros(100));
        assert_eq!(
            percentile(times.get(..2).unwrap_or_default(), 0.99),
            Duration::from_micros(2)
        );
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn both_forms_say_the_same() {
        let line = Line::of_rounds("x", &[1_234_567.4, 2.5, 3e6], "msg/s")
            .over("TLS1.3", "cbor")
            .with("tx_cpu_ns", 12.34567);
        let json = line.json(2);
        assert_eq!(json["value"], 1_234_567);
        assert_eq!(json["lowest"], 2.5);
        assert_eq!(json["tx_cpu_ns"], 12.346);
        assert_eq!(json["mode"], "TLS1.3 cbor");
        let text = line.text();
        for part in [
            "x ",
            "cbor",
            "1,234,567 msg/s",
            "lowest 2.5",
            "tx_cpu_ns 12.346",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(grouped(&(-1_000_000).into()), "-1,000,000");
    }
}
