//! The command `portmesh-cert` and its subcommands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{args::OutputArgs, cmd, end, exit, output::Output};

/// The certificates of a Portmesh mesh: a CA, and one file for each node
#[derive(Debug, Parser)]
#[command(name = "portmesh-cert", version, after_help = exit::HELP, max_term_width = 110)]
struct CertCli {
    #[command(subcommand)]
    command: CertCommand,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
enum CertCommand {
    Ca(cmd::cert_ca::Args),
    Issue(cmd::cert_issue::Args),
    Csr(cmd::cert_csr::Args),
    Sign(cmd::cert_sign::Args),
    Assemble(cmd::cert_assemble::Args),
    Renew(cmd::cert_renew::Args),
    List(cmd::cert_list::Args),
    Revoke(cmd::cert_revoke::Args),
    Crl(cmd::cert_crl::Args),
    Bundle(cmd::cert_bundle::Args),
    Inspect(cmd::cert_inspect::Args),
    Verify(cmd::cert_verify::Args),
}

/// The command `portmesh-cert`.
pub fn main() -> ExitCode {
    let cli = CertCli::parse();
    let out = Output::new(cli.output.json, cli.output.quiet);
    let outcome = match cli.command {
        CertCommand::Ca(args) => cmd::cert_ca::run(args, out),
        CertCommand::Issue(args) => cmd::cert_issue::run(args, out),
        CertCommand::Csr(args) => cmd::cert_csr::run(args, out),
        CertCommand::Sign(args) => cmd::cert_sign::run(args, out),
        CertCommand::Assemble(args) => cmd::cert_assemble::run(args, out),
        CertCommand::Renew(args) => cmd::cert_renew::run(args, out),
        CertCommand::List(args) => cmd::cert_list::run(args, out),
        CertCommand::Revoke(args) => cmd::cert_revoke::run(args, out),
        CertCommand::Crl(args) => cmd::cert_crl::run(args, out),
        CertCommand::Bundle(args) => cmd::cert_bundle::run(args, out),
        CertCommand::Inspect(args) => cmd::cert_inspect::run(args, out),
        CertCommand::Verify(args) => cmd::cert_verify::run(args, out),
    };
    end(outcome, out)
}
