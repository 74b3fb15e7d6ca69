//! Watches the servers and keepers of a run from outside, and writes down when something that the checkers want to know
//! happened: from the servers' logs, the keepers' logs and the deaths of postmasters. It works on a thread of its own,
//! so that it is as prompt on a busy machine as what it watches.

mod keeper_log;
mod node;
mod seen;
mod server_log;
mod tail;

use seen::What;
pub use seen::{Seen, events, opens_anew};
pub use server_log::Names;

use crate::postgres::{DirWatch, ProcessWatch};
use anyhow::{Context, Result};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use node::Node;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Where a node leaves its traces.
#[derive(Debug, Clone)]
pub struct Place {
    pub name: String,
    pub pgdata: PathBuf,
    pub keeper_log: PathBuf,
    /// The log of a server that was started by hand.
    pub by_hand_log: PathBuf,
}

#[derive(Debug)]
pub struct Witness {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Vec<Seen>>>,
}

impl Witness {
    pub fn start(places: Vec<Place>) -> Result<Witness> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("witness".into());
        let thread = thread.spawn(move || runtime.block_on(watch(places, stopped)))?;
        Ok(Witness { stop, thread })
    }

    /// All it has seen, by time.
    pub fn finish(self) -> Result<Vec<Seen>> {
        let _ended_already = self.stop.send(());
        self.thread.join().ok().context("the witness has panicked")?
    }
}

async fn watch(places: Vec<Place>, mut stopped: oneshot::Receiver<()>) -> Result<Vec<Seen>> {
    let logs = DirWatch::of_many().context("can't watch the logs")?;
    let mut nodes: Vec<Node> = places.into_iter().map(Node::new).collect();
    let mut exits = FuturesUnordered::new();
    let mut seen = Vec::new();
    loop {
        for (index, node) in nodes.iter_mut().enumerate() {
            // Before the look, or what comes after it would be missed.
            node.dirs_to_watch(|dir| logs.add(dir))?;
            exits.extend(node.look(&mut seen).into_iter().map(|pid| exit_of(index, pid)));
        }
        tokio::select! {
            biased;
            Some((index, pid)) = exits.next() => {
                let started = nodes[index].exit(pid, &mut seen);
                exits.extend(started.into_iter().map(|pid| exit_of(index, pid)));
            }
            changed = logs.changed() => changed?,
            _ = &mut stopped => break,
        }
    }
    // Whatever was written until now, and whoever has ended.
    while let Some(Some((index, pid))) = exits.next().now_or_never() {
        let _nobody_waits_for_these = nodes[index].exit(pid, &mut seen);
    }
    nodes.iter_mut().for_each(|node| _ = node.look(&mut seen));
    // A standby asks before it receives, be it within the same millisecond.
    seen.sort_by_key(|seen: &Seen| (seen.at, !matches!(seen.what, What::AskedBy(_))));
    Ok(seen)
}

/// Ends with the postmaster of a node, at once when there is none any more.
async fn exit_of(node: usize, pid: u32) -> (usize, u32) {
    if let Some(process) = i32::try_from(pid).ok().and_then(|pid| ProcessWatch::new(pid).ok()) {
        let _ended = process.ended().await;
    }
    (node, pid)
}

impl Place {
    fn state_dir(&self) -> PathBuf {
        crate::service::Places::node(&self.pgdata).state_dir
    }

    fn home(&self) -> &Path {
        self.pgdata.parent().expect("the data directory lies in the node's home")
    }
}
