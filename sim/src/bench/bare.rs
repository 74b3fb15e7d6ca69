//! The executor alone: calls from four machines to a fifth, a task for each message, a timeout for each call.

use crate::world::{Fate, on_fresh_thread};
use madsim::runtime::{Handle, NodeHandle};
use std::ops::Range;
use std::time::Duration;

const CALLERS: u32 = 4;
/// As on the links of the simulated world.
const LATENCY: Range<Duration> = Duration::from_micros(200)..Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(2);

/// Carries that many messages, two a call, evenly over `lasts` of simulated time.
pub fn carry(seed: u64, messages: u64, lasts: Duration) -> Result<(), String> {
    let calls = u32::try_from(messages / 2 / u64::from(CALLERS)).map_err(|e| e.to_string())?.max(1);
    on_fresh_thread(seed, move || async move {
        let fate = Fate::current();
        let handle = Handle::current();
        let server = handle.create_node().name("server").build();
        let caller = |_| handle.create_node().build().spawn(call(fate.clone(), server.clone(), calls, lasts));
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        for caller in callers {
            caller.await.expect("nothing fails");
        }
    })
}

async fn call(fate: Fate, server: NodeHandle, calls: u32, lasts: Duration) {
    let began = fate.now();
    for call in 0..calls {
        fate.sleep_until(began + lasts * call / calls).await;
        let reply = server.spawn(request(fate.clone(), server.clone()));
        fate.timeout(PATIENCE, reply).await.expect("nothing is lost").expect("nothing fails");
    }
}

async fn request(fate: Fate, server: NodeHandle) {
    fate.sleep(fate.draw(LATENCY)).await;
    server.spawn(async move { fate.sleep(fate.draw(LATENCY)).await }).await.expect("nothing fails");
}
