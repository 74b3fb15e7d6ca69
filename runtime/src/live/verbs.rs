//! Carries out what a step says.

use super::play::Play;
use anyhow::{Context, Result, bail};
use pgbaton_core::scenario::verb::DropNode;
use pgbaton_core::scenario::{Order, Verb};
use pgbaton_core::wire::Request;
use std::time::Duration;

const ASK_LIMIT: Duration = Duration::from_secs(10);

/// `names` are the nodes the verb is about.
pub async fn perform(play: &mut Play<'_>, verb: &Verb, names: &[String]) -> Result<()> {
    let cluster = &mut play.cluster;
    let node = || names.first().map(String::as_str).context("the verb needs a node");
    match verb {
        Verb::StopService(_) => cluster.stop_service(node()?).await,
        Verb::StartService(_) => cluster.start_service(node()?),
        Verb::KillKeeper(_) => cluster.kill_keeper(node()?).await,
        Verb::KillPostgres(_) => cluster.kill_postgres(node()?),
        Verb::KillNode(_) => cluster.kill_node(node()?).await,
        Verb::Pause(_) => cluster.pause(node()?),
        Verb::Resume(_) => cluster.resume(node()?),
        Verb::KillMonitor(_) => cluster.kill_monitor().await,
        Verb::StartMonitor(_) => cluster.start_monitor(),
        Verb::Switchover(ask) if ask.refused.is_none() && play.narrator.is_telling() => {
            play.narrator.switchover(&play.cluster).await
        }
        other => match other.order(&cluster.formation, |_| node().map(str::to_string)) {
            Some(order) => {
                give(play, &order?).await?;
                if let Verb::Drop(DropNode { refused: None, .. }) = verb {
                    let name = names.first().context("the verb needs a node")?;
                    play.cluster.mark_dropped(name)?;
                }
                Ok(())
            }
            None => bail!("live runs can't {}", other.describe()),
        },
    }
}

async fn give(play: &Play<'_>, order: &Order) -> Result<()> {
    let answer = play.watch.ask(&Request::Command(order.command.clone()), ASK_LIMIT).await?;
    order.judge(answer).map_err(anyhow::Error::msg)
}
