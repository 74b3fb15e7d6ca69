//! `pgbaton-sim`: the simulated world as a command.

mod cli;

/// A run allocates millions of small pieces, each on the thread that frees it again; the C library's allocator takes a
/// seventh of a run for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
