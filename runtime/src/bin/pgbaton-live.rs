//! `pgbaton-live`: plays scenario files with real processes and real Postgres.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgbaton::live::main()
}
