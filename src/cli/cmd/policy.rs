//! `portmesh policy`: check a policy, ask it, show the defaults.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::{
    NodeId, Operation, Policy,
    api::policy::{Question, Verdict},
    cli::{
        exit::{Exit, Failure, OrExit, Outcome},
        output::{Output, counted},
    },
};

/// Policies: who may do what on a node
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read a policy, and say what is wrong in it or to be thought of; ends with 8 where it is none
    Check {
        /// The policy, a TOML file
        file: PathBuf,
    },
    /// Ask a policy what it says; ends with 0 for allowed and 6 for denied
    ///
    /// Prints what was decided, and the rule that decided it with its line.
    Test(TestArgs),
    /// Print the defaults as TOML: those that are built in, or those of a policy
    Show {
        /// The policy, a TOML file
        file: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// The policy, a TOML file
    file: PathBuf,
    /// The ID of the node that asks
    #[arg(long, value_name = "NODE")]
    node: NodeId,
    /// What proved that ID: certificate or secret [default: both, where they make no difference]
    #[arg(long, value_name = "PROOF", value_parser = ["certificate", "secret"])]
    proof: Option<String>,
    /// The name of the secret that it has used
    #[arg(long, value_name = "NAME", conflicts_with = "proof")]
    secret: Option<String>,
    /// The operation: send (call), monitor, kill, spawn, db_read, db_write, global, relay, admin
    #[arg(value_parser = operation)]
    operation: Operation,
    /// What it is done to: the name of a function or a family; for a port what is known of it: node-port, spawned,
    /// family:NAME (it is registered there), port:NAME [default: a port of which nothing is known]
    target: Vec<String>,
}

fn operation(text: &str) -> Result<Operation, String> {
    Operation::named(text).ok_or_else(|| {
        let names = Operation::ALL.map(Operation::name);
        format!("there are {}", names.join(", "))
    })
}

/// The policy in a file.
pub(crate) fn read(file: &Path) -> Outcome<Policy> {
    Policy::from_toml_file(file).or_exit(Exit::Config)
}

pub(crate) fn run(args: Args, out: Output) -> Outcome {
    match args.command {
        Command::Check { file } => check(&file, out),
        Command::Test(args) => test(&args, out),
        Command::Show { file } => {
            let policy = file.as_deref().map(read).transpose()?.unwrap_or_default();
            let text = policy.defaults_toml();
            out.data(text.trim_end(), &json!({"toml": text}));
            Ok(())
        }
    }
}

fn check(file: &Path, out: Output) -> Outcome {
    let policy = read(file)?;
    let advice = policy.advice();
    let rules = policy.rules().len();
    let name = file.display();
    let mut lines = vec![format!(
        "{name}: a policy with {}",
        counted(rules as u64, "rule", "rules")
    )];
    let told = advice
        .iter()
        .map(|advice| format!("{name}:{}: {}", advice.line, advice.text));
    lines.extend(told);
    let told: Vec<Json> = advice
        .iter()
        .map(|advice| json!({"line": advice.line, "text": advice.text}))
        .collect();
    out.data(
        lines.join("\n"),
        &json!({"file": name.to_string(), "rules": rules, "advice": told}),
    );
    Ok(())
}

fn test(args: &TestArgs, out: Output) -> Outcome {
    let policy = read(&args.file)?;
    let question = Question::new(args.operation, &args.target)
        .map_err(|text| Failure::new(Exit::Usage, text))?;
    let verdict = verdict(args, &policy, &question)?;
    let what = args.target.join(" ");
    let (node, operation) = (&args.node, args.operation);
    let word = match verdict.allowed {
        true => "allowed",
        false => "denied",
    };
    let space = if what.is_empty() { "" } else { " " };
    let mut by = format!("by {}", verdict.by);
    if let Some(matched) = &verdict.matched {
        by += &format!(": {matched}");
    } else if !verdict.allowed {
        by += ", which do not name it";
    }
    out.data(
        format!("{word}: {node} {operation}{space}{what}, {by}"),
        &json!({
            "allowed": verdict.allowed, "node": node, "operation": operation.name(), "target": args.target,
            "by": verdict.by.to_string(), "rule": verdict.rule, "line": verdict.line, "matched": verdict.matched,
        }),
    );
    match verdict.allowed {
        true => Ok(()),
        false => Err(Failure::new(Exit::Refused, "denied")),
    }
}

fn verdict(args: &TestArgs, policy: &Policy, question: &Question) -> Outcome<Verdict> {
    let by = |proof: &str| {
        let secret = args.secret.as_deref();
        question.ask(policy, &args.node, proof, secret)
    };
    match (&args.proof, &args.secret) {
        (Some(proof), _) => Ok(by(proof)),
        (None, Some(_)) => Ok(by("secret")),
        (None, None) => {
            let (certificate, secret) = (by("certificate"), by("secret"));
            if certificate != secret {
                return Err(Failure::new(
                    Exit::Usage,
                    "that depends on what proved the node: give --proof certificate or --proof secret",
                ));
            }
            Ok(certificate)
        }
    }
}
