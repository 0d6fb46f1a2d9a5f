//! What a comparison says: figures found in lines, ratios round by round, their spread, and whether an aim is reached.

use std::collections::BTreeSet;

use portmesh::cli::spread;
use serde_json::{Value as Json, json};

use super::plan::{Aim, Ours, Theirs};

/// The JSON objects among the lines of an output.
pub(crate) fn lines(output: &str) -> Vec<Json> {
    let lines = output.lines().map(serde_json::from_str::<Json>);
    lines.flatten().filter(Json::is_object).collect()
}

fn says(line: &Json, name: &str, text: &str) -> bool {
    match line.get(name) {
        Some(Json::String(said)) => said == text,
        Some(Json::Number(said)) => text
            .parse()
            .is_ok_and(|number| said.as_f64() == Some(number)),
        _ => false,
    }
}

/// A positive number.
fn number(line: &Json, name: &str) -> Option<f64> {
    let number = line.get(name)?.as_f64();
    number.filter(|number| *number > 0.0 && number.is_finite())
}

/// CPU of both sides for each unit, where the line tells of both.
fn cpu(line: &Json) -> Option<f64> {
    Some(number(line, "tx_cpu_ns")? + number(line, "rx_cpu_ns")?)
}

/// The version of TLS and the suite that lines name, each once.
fn secured(lines: &[Json]) -> BTreeSet<String> {
    let modes = lines.iter().filter_map(|line| line.get("mode")?.as_str());
    let tls = modes.filter(|mode| mode.starts_with("TLS"));
    tls.map(|mode| mode.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Whether the links of both are secured alike; says how they are where they are not.
pub(crate) fn alike(ours: &[Json], theirs: &[Json]) -> Result<(), String> {
    let (ours, theirs) = (secured(ours), secured(theirs));
    match ours == theirs && ours.len() == 1 {
        true => Ok(()),
        false => Err(format!(
            "that is not like with like: Portmesh has {ours:?}, and the peer {theirs:?}"
        )),
    }
}

/// A figure, and the CPU that it took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub(crate) value: f64,
    pub(crate) cpu: Option<f64>,
}

/// Portmesh's figure among the lines; what is wrong where there is none.
pub(crate) fn ours(lines: &[Json], ours: &Ours) -> Result<Found, String> {
    let of_format =
        |line: &&Json| line.get("format").is_none() || says(line, "format", ours.format);
    let mut of_bench = lines.iter().filter(|line| says(line, "bench", ours.bench));
    let line = of_bench.find(of_format);
    let line = line.ok_or_else(|| format!("there is no {} in {}", ours.bench, ours.format))?;
    let value = number(line, ours.figure);
    Ok(Found {
        value: value.ok_or_else(|| format!("{} has no {}", ours.bench, ours.figure))?,
        cpu: cpu(line),
    })
}

/// Another program's, in Portmesh's unit.
pub(crate) fn theirs(lines: &[Json], theirs: &Theirs) -> Result<Found, String> {
    let fits = |line: &&Json| {
        let said = theirs.says.iter();
        says(line, "bench", theirs.bench)
            && said.copied().all(|(name, text)| says(line, name, text))
    };
    // a program may say first why it has no figure, and give one after
    let mut fitting = lines.iter().filter(fits);
    let found = fitting
        .clone()
        .find(|line| number(line, theirs.figure).is_some());
    if let Some(line) = found {
        let cpu = cpu(line).map(|cpu| cpu * theirs.cpu_scale);
        return Ok(Found {
            value: number(line, theirs.figure).unwrap_or(f64::NAN) * theirs.scale,
            cpu: cpu.filter(|cpu| *cpu > 0.0),
        });
    }
    let note = fitting.find_map(|line| line.get("note")?.as_str());
    let what = format!("{} {:?}", theirs.bench, theirs.says);
    Err(match note {
        Some(note) => format!("no figure for {what}: {note}"),
        None => format!("no figure for {what}"),
    })
}

impl Aim {
    /// Whether the number is good enough; `None` where nothing is to be reached.
    pub(crate) fn reached(self, number: f64) -> Option<bool> {
        match self {
            Aim::AtLeast(least) => Some(number >= least),
            Aim::AtMost(most) => Some(number <= most),
            Aim::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Aim::AtLeast(least) => format!("≥ {}", short(least)),
            Aim::AtMost(most) => format!("≤ {}", short(most)),
            Aim::None => String::new(),
        }
    }
}

/// Figures of both, round by round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) both: Vec<(Found, Found)>,
}

/// One line of the result.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    /// The other program; `None` where Portmesh is measured by itself.
    pub(crate) peer: Option<String>,
    /// Which of its figures.
    pub(crate) detail: String,
    pub(crate) rounds: usize,
    pub(crate) ours: f64,
    pub(crate) theirs: f64,
    /// Ours through theirs: lowest, median, highest. Without a peer: our figure.
    pub(crate) ratio: (f64, f64, f64),
    /// The same for the CPU of both sides, the median.
    pub(crate) cpu_ratio: Option<f64>,
    pub(crate) aim: Aim,
}

/// What is compared, as it is shown.
pub(crate) fn what(ours: &Ours) -> String {
    let figure = match ours.figure {
        "value" => String::new(),
        figure => format!(" {figure}"),
    };
    let format = if ours.row == "idle" { "" } else { ours.format };
    format!("{}{figure} {format}", ours.bench)
        .trim_end()
        .to_owned()
}

/// The unit of such a figure.
pub(crate) fn unit(ours: &Ours) -> &'static str {
    match (ours.figure, ours.row) {
        ("p99_us", _) => "µs",
        ("per_second", _) => "/s",
        ("value", "small" | "small_8x8") => "msg/s",
        ("value", "flight") => "call/s",
        ("value", "bulk") => "MB/s",
        ("value", "handshake") => "link/s",
        ("value", "idle") => "bytes",
        ("value", _) => "µs",
        _ => "",
    }
}

impl Rounds {
    /// `None` where no round gave both figures.
    pub(crate) fn verdict(
        &self,
        ours: &Ours,
        peer: &str,
        detail: String,
        aim: Aim,
    ) -> Option<Verdict> {
        let of = |pick: fn(&(Found, Found)) -> f64| self.both.iter().map(pick).collect::<Vec<_>>();
        let ratios = of(|(ours, theirs)| ours.value / theirs.value);
        let cpu = self.both.iter();
        let cpu = cpu.filter_map(|(ours, theirs)| Some(ours.cpu? / theirs.cpu?));
        let cpu: Vec<f64> = cpu.collect();
        (!ratios.is_empty()).then(|| Verdict {
            what: what(ours),
            unit: unit(ours),
            peer: Some(peer.to_owned()),
            detail,
            rounds: ratios.len(),
            ours: spread(&of(|(ours, _)| ours.value)).1,
            theirs: spread(&of(|(_, theirs)| theirs.value)).1,
            ratio: spread(&ratios),
            cpu_ratio: (!cpu.is_empty()).then(|| spread(&cpu).1),
            aim,
        })
    }
}

/// Of Portmesh by itself; `None` where there is no figure.
pub(crate) fn own(ours: &Ours, values: &[f64], aim: Aim) -> Option<Verdict> {
    let all = spread(values);
    (!values.is_empty()).then(|| Verdict {
        what: what(ours),
        unit: unit(ours),
        peer: None,
        detail: String::new(),
        rounds: values.len(),
        ours: all.1,
        theirs: f64::NAN,
        ratio: all,
        cpu_ratio: None,
        aim,
    })
}

/// Three digits, or all before the point.
pub(crate) fn short(number: f64) -> String {
    let digits = match number.abs() {
        1000.0.. => {
            let whole = format!("{number:.0}");
            let mut text = String::new();
            for (at, digit) in whole.chars().enumerate() {
                if at > 0 && (whole.len() - at) % 3 == 0 && !text.ends_with('-') {
                    text.push(',');
                }
                text.push(digit);
            }
            return text;
        }
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{number:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

impl Verdict {
    /// Whether the median is good enough.
    pub(crate) fn reached(&self) -> Option<bool> {
        self.aim.reached(self.ratio.1)
    }

    pub(crate) fn json(&self) -> Json {
        let mut line = json!({
            "what": self.what, "portmesh": self.ours, "unit": self.unit, "rounds": self.rounds,
        });
        let (lowest, median, highest) = self.ratio;
        let mut set = |name: &str, value: Json| {
            if let Some(line) = line.as_object_mut() {
                line.insert(name.to_owned(), value);
            }
        };
        if let Some(peer) = &self.peer {
            set("peer", json!(peer));
            set("peer_figure", json!(self.detail));
            set("peer_value", json!(self.theirs));
            set("ratio", json!(median));
            set("ratio_lowest", json!(lowest));
            set("ratio_highest", json!(highest));
        } else {
            set("lowest", json!(lowest));
            set("highest", json!(highest));
        }
        if let Some(cpu) = self.cpu_ratio {
            set("cpu_ratio", json!(cpu));
        }
        if let Some(reached) = self.reached() {
            set("aim", json!(self.aim.text()));
            set("reached", json!(reached));
        }
        line
    }

    /// A row of [`HEAD`]'s table.
    pub(crate) fn markdown(&self) -> String {
        let (lowest, median, highest) = self.ratio;
        let (peer, theirs, ratio) = match &self.peer {
            Some(peer) => {
                let ratio = format!(
                    "**{}** ({}–{})",
                    short(median),
                    short(lowest),
                    short(highest)
                );
                let detail = match self.detail.as_str() {
                    "" => peer.clone(),
                    detail => format!("{peer} {detail}"),
                };
                (detail, short(self.theirs), ratio)
            }
            None => (
                String::new(),
                String::new(),
                format!("({}–{})", short(lowest), short(highest)),
            ),
        };
        let reached = match self.reached() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let cpu = self.cpu_ratio.map(short).unwrap_or_default();
        format!(
            "| {} | {} {} | {peer} | {theirs} | {ratio} | {cpu} | {} | {reached} | {} |",
            self.what,
            short(self.ours),
            self.unit,
            self.aim.text(),
            self.rounds,
        )
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "\
| what | Portmesh | beside | its figure | Portmesh / it (lowest–highest) | CPU of both sides / its | aim | reached | rounds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |";
