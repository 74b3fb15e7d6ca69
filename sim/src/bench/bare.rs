//! The executor alone: calls from four machines to a fifth, a task for each message, a timeout for each call.

use crate::world::on_fresh_thread;
use madsim::rand::{Rng, thread_rng};
use madsim::runtime::{Handle, NodeHandle};
use madsim::time::{Instant, sleep, sleep_until, timeout};
use std::time::Duration;

const CALLERS: u32 = 4;
/// As the links of the simulated world.
const LATENCY_US: std::ops::Range<u64> = 200..1000;
const PATIENCE: Duration = Duration::from_secs(2);

/// Carries that many messages, two a call, evenly over `lasts` of simulated time.
pub fn carry(seed: u64, messages: u64, lasts: Duration) -> Result<(), String> {
    let calls = u32::try_from(messages / 2 / u64::from(CALLERS)).map_err(|e| e.to_string())?.max(1);
    on_fresh_thread(seed, move || async move {
        let handle = Handle::current();
        let server = handle.create_node().name("server").build();
        let callers = (0..CALLERS).map(|_| {
            let server = server.clone();
            handle.create_node().build().spawn(async move {
                let began = Instant::now();
                for call in 0..calls {
                    sleep_until(began + lasts * call / calls).await;
                    let reply = server.spawn(request(server.clone()));
                    timeout(PATIENCE, reply).await.expect("nothing is lost").expect("nothing fails");
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.expect("nothing fails");
        }
    })
}

async fn request(server: NodeHandle) {
    sleep(latency()).await;
    server.spawn(async { sleep(latency()).await }).await.expect("nothing fails");
}

fn latency() -> Duration {
    Duration::from_micros(thread_rng().gen_range(LATENCY_US))
}
