//! Results go to stdout, and nothing else does. A reader that closes early (`| head`) is no error.

use super::failure::{Code, Failure};
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Writes text as it is.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        // Who reads has seen enough: what was asked for is done all the same.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(e) => {
            Err(Failure::new(Code::Internal, format!("can't write to stdout: {e}"), "look where it is redirected to"))
        }
    }
}

pub fn line(line: impl std::fmt::Display) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

pub fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).expect("rows are plain data"))
}
