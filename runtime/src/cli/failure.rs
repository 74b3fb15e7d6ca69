//! How a command fails: with an exit code that scripts may rely on, what is wrong, and what to do about it.

use std::fmt;
use std::process::ExitCode;

/// pg_auto_failover's exit codes, so that scripts written for it go on working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Bad arguments, or a request refused here.
    Arguments = 1,
    /// Bad or missing configuration.
    Config = 2,
    /// Bad state file; for `status`: nothing runs.
    State = 3,
    /// The local Postgres; for `status`: pgbaton runs, Postgres doesn't.
    Postgres = 5,
    /// The monitor can't be reached, or refuses.
    Monitor = 6,
    Reload = 9,
    /// Internal error, or a wait that took too long.
    Internal = 12,
    /// The node was dropped: nothing is to be started again.
    Dropped = 121,
    /// A person is needed: nothing is to be started again.
    Fatal = 122,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub what: String,
    pub remedy: String,
}

impl Failure {
    pub fn new(code: Code, what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure { code, what: what.to_string(), remedy: remedy.to_string() }
    }

    pub fn arguments(what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure::new(Code::Arguments, what, remedy)
    }

    pub fn config(what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure::new(Code::Config, what, remedy)
    }

    pub fn monitor(what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure::new(Code::Monitor, what, remedy)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if self.remedy.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.remedy)
    }
}

impl std::error::Error for Failure {}
