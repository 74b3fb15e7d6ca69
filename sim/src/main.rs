//! `pgbaton-sim`: the simulated world as a command.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
