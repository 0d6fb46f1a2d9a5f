//! What the commands on a CA share: where it is, its passphrase, kinds of keys, lifetimes, names of files.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};

use crate::{
    CaDirectory, CertificateAuthority, IssuedCertificate, KeyKind, NodeId, Passphrase,
    cli::{
        exit::{Exit, Failure, OrExit, Outcome},
        output::Output,
    },
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const VARIABLE: &str = "PORTMESH_CA_PASSPHRASE";

/// The CA that a command works with.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "CA")]
pub(crate) struct CaArgs {
    /// Where the CA is
    #[arg(long, value_name = "DIR", default_value = "ca")]
    pub(crate) dir: PathBuf,
    /// A file with the passphrase of the CA's key, that only you can read. Without it the variable
    /// PORTMESH_CA_PASSPHRASE is read, and without that you are asked. It is never a flag: every user of a host sees the
    /// flags of a process
    #[arg(long, value_name = "FILE", env = "PORTMESH_CA_PASSPHRASE_FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl CaArgs {
    pub(crate) fn directory(&self) -> CaDirectory {
        CaDirectory::new(&self.dir)
    }

    /// The directory of a CA that is there.
    pub(crate) fn existing(&self) -> Outcome<CaDirectory> {
        let directory = self.directory();
        if directory.exists() {
            return Ok(directory);
        }
        let text = format!(
            "there is no CA in {}: say where it is with --dir, or make one with `portmesh-cert ca init`",
            self.dir.display()
        );
        Err(Failure::new(Exit::Config, text))
    }

    /// The CA with its key.
    pub(crate) fn open(&self) -> Outcome<CertificateAuthority> {
        let passphrase = self.passphrase()?;
        self.existing()?
            .open(passphrase.as_ref())
            .or_exit(Exit::Config)
    }

    /// The passphrase of a CA that is there; `None` where it needs none.
    pub(crate) fn passphrase(&self) -> Outcome<Option<Passphrase>> {
        if !self.existing()?.is_encrypted().or_exit(Exit::Config)? {
            return Ok(None);
        }
        if let Some(given) = given(self.passphrase_file.as_deref())? {
            return Ok(Some(given));
        }
        let what = format!("the CA's key in {}", self.dir.display());
        ask(&format!("Passphrase of {what}: "))?
            .map(Some)
            .ok_or_else(|| {
                let text = format!(
                    "{what} is encrypted: give its passphrase with --passphrase-file FILE or in {VARIABLE}, or run \
                     this in a terminal, where it is asked for"
                );
                Failure::new(Exit::Config, text)
            })
    }
}

/// A passphrase for a key that is about to be encrypted.
pub(crate) fn new_passphrase(file: Option<&Path>, variable: bool) -> Outcome<Passphrase> {
    let given = match file {
        None if !variable => None,
        file => given(file)?,
    };
    if let Some(given) = given {
        given.check().or_exit(Exit::Config)?;
        return Ok(given);
    }
    let Some(first) = ask("New passphrase of the CA's key: ")? else {
        let text = format!(
            "the CA's key is encrypted with a passphrase: give one with --passphrase-file FILE or in {VARIABLE}, or run \
             this in a terminal, where it is asked for; or choose --no-encryption"
        );
        return Err(Failure::new(Exit::Config, text));
    };
    first.check().or_exit(Exit::Config)?;
    match ask("The same again: ")? {
        Some(again) if again == first => Ok(first),
        _ => Err(Failure::new(
            Exit::Config,
            "the two passphrases differ; nothing was written",
        )),
    }
}

/// From the file, else from the environment.
fn given(file: Option<&Path>) -> Outcome<Option<Passphrase>> {
    if let Some(file) = file {
        return Passphrase::from_file(file).or_exit(Exit::Config).map(Some);
    }
    match std::env::var(VARIABLE) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(Passphrase::new(text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::new(
            Exit::Config,
            format!("{VARIABLE} is not text in UTF-8"),
        )),
    }
}

/// Asks at the terminal, without an echo; `None` where there is none.
fn ask(prompt: &str) -> Outcome<Option<Passphrase>> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let text =
        rpassword::prompt_password(prompt).or_exit_in(Exit::Config, "asking for a passphrase")?;
    Ok(Some(Passphrase::new(text)))
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Small and quick
    Ed25519,
    /// ECDSA on P-256, for hardware and tools without Ed25519
    P256,
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> KeyKind {
        match kind {
            Kind::Ed25519 => KeyKind::Ed25519,
            Kind::P256 => KeyKind::P256,
        }
    }
}

/// How long a certificate is valid.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LifeArgs {
    /// For how many days it is valid; never longer than its CA
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

impl LifeArgs {
    pub(crate) fn life(self) -> Duration {
        DAY * self.days
    }
}

/// What a file is called where no name was given: the last part of the node's ID, with that ending.
pub(crate) fn file_for(node: &NodeId, ending: &str, flag: &str) -> Outcome<PathBuf> {
    let last = node.as_str().rsplit('/').next().unwrap_or_default();
    if last.is_empty() || last.starts_with('.') {
        let text = format!("say where to write it: {flag} FILE");
        return Err(Failure::new(Exit::Usage, text));
    }
    Ok(PathBuf::from(format!("{last}.{ending}")))
}

/// Refused before anything is made or asked for.
pub(crate) fn check_free(file: &Path, force: bool) -> Outcome {
    if !force && file.symlink_metadata().is_ok() {
        let text = format!(
            "{} exists already and is not overwritten; choose another name, or say --force",
            file.display()
        );
        return Err(Failure::new(Exit::Config, text));
    }
    Ok(())
}

/// Keeps a copy of what was issued with the CA, and says what else of that node is valid.
pub(crate) fn record(
    directory: &CaDirectory,
    issued: &IssuedCertificate,
    out: Output,
) -> Outcome<Vec<Json>> {
    let mut others = directory.issued().or_exit(Exit::Config)?;
    others.retain(|other| other.node == *issued.node() && other.is_valid());
    directory.record(issued).or_exit(Exit::Config)?;
    for other in &others {
        out.chat(format!(
            "{} has another valid certificate, serial {}, until {}. That is as it should be if it is renewed; else revoke \
             it: portmesh-cert revoke --serial {}",
            other.node,
            other.serial,
            other.expires(),
            other.serial
        ));
    }
    let json = |other: &crate::ca::Issued| json!({"serial": other.serial.to_string(), "expires": other.expires()});
    Ok(others.iter().map(json).collect())
}

/// What is said of every new certificate.
pub(crate) fn told(
    file: &Path,
    cluster: &str,
    issued: &IssuedCertificate,
    others: Vec<Json>,
) -> (String, Json) {
    let file = file.display().to_string();
    let human = format!(
        "{file}: {} of the mesh {cluster}, serial {}, valid until {}, to be renewed from {} on",
        issued.node(),
        issued.serial(),
        issued.expires(),
        issued.renewal_advised()
    );
    let json = json!({
        "file": file, "node": issued.node(), "cluster": cluster, "serial": issued.serial().to_string(),
        "expires": issued.expires(), "renew_from": issued.renewal_advised(), "other_valid": others,
    });
    (human, json)
}
