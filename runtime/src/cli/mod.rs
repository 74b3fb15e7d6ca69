//! The command line: options are parsed, converted to what they mean, then run.

pub mod accept;
pub mod ask;
pub mod config_file;
pub mod create;
pub mod drop;
pub mod enable;
pub mod enable_monitor;
pub mod failure;
pub mod follow;
pub mod log;
pub mod maintenance;
pub mod options;
pub mod out;
pub mod perform;
pub mod run;
pub mod settings;
pub mod show;
pub mod ssl;
pub mod status;
pub mod stop;
pub mod table;

use clap::{ArgAction, Parser, Subcommand};
use failure::{Code, Failure};
use std::process::ExitCode;

/// Automatic failover for PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "pgbaton", version, max_term_width = 120, disable_help_subcommand = true)]
struct Cli {
    /// Says more: -vv for DEBUG, -vvv for TRACE.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Says nothing but errors.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Prints results as JSON.
    #[arg(long, short = 'J', global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a monitor, a Postgres node or a formation.
    #[command(subcommand)]
    Create(create::Create),
    /// Runs the service of a node or a monitor.
    Run(run::Run),
    /// Stops a service; a node hands its role over first.
    Stop(stop::Stop),
    /// Makes a running service read its configuration again.
    Reload(stop::Reload),
    /// Says whether the service and Postgres run here.
    Status(status::Status),
    /// Shows what the monitor and this machine know.
    #[command(subcommand)]
    Show(show::Show),
    /// Moves the primary role.
    #[command(subcommand)]
    Perform(perform::Perform),
    /// Turns something on.
    #[command(subcommand)]
    Enable(enable::Enable),
    /// Turns something off.
    #[command(subcommand)]
    Disable(enable::Disable),
    /// Prints a setting that the monitor keeps.
    #[command(subcommand)]
    Get(settings::Get),
    /// Changes a setting that the monitor keeps.
    #[command(subcommand)]
    Set(settings::Set),
    /// Looks into or changes the configuration file of a service on this machine.
    #[command(subcommand)]
    Config(config_file::Config),
    /// Drops a node, a formation or the monitor.
    #[command(subcommand)]
    Drop(drop::Drop),
    /// Decides what only a person can decide.
    #[command(subcommand)]
    Accept(accept::Accept),
    /// Prints the version.
    Version,
}

/// The whole program: parses the arguments of this process and runs them.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return refuse_arguments(&e),
    };
    log::start(match cli.quiet {
        true => log::Volume::Quiet,
        false => log::Volume::Verbose(cli.verbose),
    });
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return finish(Err(Failure::new(Code::Internal, e, "look at the limits of this user"))),
    };
    let outcome = runtime.block_on(execute(cli.command, cli.json));
    // What still runs in the background, such as a name lookup, must not hold the process up.
    runtime.shutdown_background();
    finish(outcome)
}

async fn execute(command: Command, json: bool) -> Result<(), Failure> {
    match command {
        Command::Create(create) => create.run().await,
        Command::Run(run) => run.run().await,
        Command::Stop(stop) => stop.run(),
        Command::Reload(reload) => reload.run(),
        Command::Status(status) => status.run(json),
        Command::Show(show) => show.run(json).await,
        Command::Perform(perform) => perform.run(json).await,
        Command::Enable(enable) => enable.run(json).await,
        Command::Disable(disable) => disable.run(json).await,
        Command::Get(get) => get.run(json).await,
        Command::Set(set) => set.run(json).await,
        Command::Config(config) => config.run(json),
        Command::Drop(drop) => drop.run(json).await,
        Command::Accept(accept) => accept.run().await,
        Command::Version => match json {
            true => out::json(&serde_json::json!({ "pgbaton": env!("CARGO_PKG_VERSION") })),
            false => out::line(concat!("pgbaton ", env!("CARGO_PKG_VERSION"))),
        },
    }
}

fn finish(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            failure.code.into()
        }
    }
}

/// `--help` and `--version` come this way too. clap's own code for bad arguments is 2, which means a bad
/// configuration here.
fn refuse_arguments(e: &clap::Error) -> ExitCode {
    let _reader_gone = e.print();
    match e.exit_code() {
        0 => ExitCode::SUCCESS,
        _ => Code::Arguments.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_has_no_contradictions() {
        Cli::command().debug_assert();
    }
}
