//! `portmesh demo`: the main job on real input, with a worker killed in the middle of it.

mod lines;
mod plan;
mod stage;
mod story;
mod texts;
mod words;
mod worker;

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

pub(crate) use self::worker::{NodeArgs, run_node};
use self::{stage::Stage, story::Story};
use crate::cli::{
    exit::{Exit, Failure, Outcome},
    output::{Output, millis},
};

const CLUSTER: &str = "demo";

/// Count words on a mesh of four processes, kill one of them meanwhile, and check that nothing is missing
///
/// Starts a seed and three workers on loopback with a throw-away CA, finds the workers in the database, spawns counting ports
/// on them, kills one worker with SIGKILL while it holds unfinished lines, hears of it through its monitors, hands the lost
/// lines to another, and compares the total with a plain count. All that is told was measured; ends with 0 only if all of it was so.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Texts to count [default: the project's own]
    files: Vec<PathBuf>,
    /// Use a shared secret instead of certificates
    #[arg(long)]
    secret: bool,
    /// Format of messages
    #[arg(long, default_value = "cbor")]
    format: FormatName,
    /// Send all links through a proxy that is told the targets at this address
    #[arg(long, hide = true, value_name = "HOST:PORT")]
    proxy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    Cbor,
    Json,
}

impl FormatName {
    fn as_str(self) -> &'static str {
        match self {
            FormatName::Cbor => "cbor",
            FormatName::Json => "json",
        }
    }
}

pub(crate) async fn run(args: Args, out: Output) -> Outcome {
    let texts = texts::read(&args.files)?;
    let batches = lines::batches(&texts.lines);
    if words::count(texts.lines.iter().map(String::as_str)).is_empty() {
        return Err(Failure::new(Exit::Config, "there are no words to count"));
    }
    let mut story = Story::begin(out);
    story.tell(
        "texts",
        format!(
            "{} lines in {} batches: {}",
            texts.lines.len(),
            batches.len(),
            texts.source
        ),
        json!({"lines": texts.lines.len(), "batches": batches.len(), "source": texts.source}),
    );
    let counts = {
        let play = async {
            let mut stage = Stage::set(&args, &mut story).await?;
            let counts = stage.play(&batches, &mut story).await?;
            stage.clear(&mut story).await?;
            Ok::<_, Failure>(counts)
        };
        tokio::select! {
            counts = play => counts?,
            // dropping the play kills its processes
            _ = tokio::signal::ctrl_c() => {
                return Err(Failure::new(Exit::Failed, "interrupted"));
            }
        }
    };
    let plain = words::count(texts.lines.iter().map(String::as_str));
    story.tell(
        "total",
        format!(
            "{} words, {} different; most often: {}",
            words::sum(&counts),
            counts.len(),
            words::top(&counts, 5)
                .iter()
                .map(|(word, n)| format!("{word} {n}"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        json!({"words": words::sum(&counts), "different": counts.len(), "top": words::top(&counts, 5)}),
    );
    story.check(
        counts == plain,
        format!(
            "a plain count in this process finds the same {} words",
            words::sum(&plain)
        ),
    );
    let (checked, failed, took) = story.verdict();
    if !failed.is_empty() {
        let text = format!(
            "{} of {checked} checks failed: {}",
            failed.len(),
            failed.join("; ")
        );
        return Err(Failure::new(Exit::Failed, text));
    }
    out.data(
        format!(
            "All {checked} checks passed in {:.1} s.",
            took.as_secs_f64()
        ),
        &json!({"event": "passed", "checks": checked, "ms": millis(took)}),
    );
    Ok(())
}
