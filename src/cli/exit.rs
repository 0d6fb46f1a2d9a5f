//! Exit codes, and the failure that carries one.

use std::{fmt, process::ExitCode};

/// What the exit codes mean, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  no such port, node, function or entry
  4  the node cannot be reached, or its link was lost
  5  not within the timeout
  6  refused: authentication or policy
  7  the port died
  8  configuration: a file, an ID, a key or an address is wrong

Data goes to the standard output, all else to the standard error. NO_COLOR is honoured.";

/// See [`HELP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unreachable = 4,
    Timeout = 5,
    Refused = 6,
    Died = 7,
    Config = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error on its way to the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for Failure {}

/// What a subcommand returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl fmt::Display) -> Self {
        Failure {
            exit,
            error: anyhow::anyhow!("{text}"),
        }
    }
}

/// An error without a code of its own is 1.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure {
            exit: Exit::Failed,
            error,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

/// Gives errors an exit code and a context.
pub(crate) trait OrExit<T> {
    /// `exit` with the error and its causes.
    fn or_exit(self, exit: Exit) -> Outcome<T>;
    /// Likewise, with what was being done before it.
    fn or_exit_in(self, exit: Exit, doing: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Outcome<T> {
        self.map_err(|error| Failure {
            exit,
            error: error.into(),
        })
    }
    fn or_exit_in(self, exit: Exit, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure {
            exit,
            error: error.into().context(doing.to_string()),
        })
    }
}
