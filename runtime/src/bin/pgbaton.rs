//! `pgbaton`: monitor, keepers and the commands of an operator.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgbaton::cli::main()
}
