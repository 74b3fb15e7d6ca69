//! One run on one fresh thread: the hash keys of std are per thread and count up, so a second run on
//! the same thread would not repeat the first.

use madsim::Config;
use madsim::runtime::Runtime;
use pgbaton_core::mutants;
use std::future::Future;

/// Runs what `make` makes under this seed; a panic anywhere in it is the error.
pub fn on_fresh_thread<T, F>(seed: u64, make: impl FnOnce() -> F + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let plant_here_too = mutants::for_another_thread();
    let run = move || {
        plant_here_too();
        Runtime::with_seed_and_config(seed, Config::default()).block_on(async { make().await })
    };
    let thread = std::thread::Builder::new().name(format!("seed-{seed}"));
    let joined = thread.spawn(run).expect("a thread can be started").join();
    joined.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()))
            .unwrap_or_else(|| "a panic without a text".to_string())
    })
}
