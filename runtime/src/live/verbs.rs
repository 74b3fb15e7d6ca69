//! Carries out what a step says.

use super::play::Play;
use anyhow::{Context, Result, bail, ensure};
use pgbaton_core::model::GroupKey;
use pgbaton_core::scenario::Verb;
use pgbaton_core::wire::{Answer, Command, Request};
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
        Verb::Switchover(ask) => {
            let key = GroupKey { formation: cluster.formation.clone(), group: 0 };
            ask_monitor(
                play,
                &Request::Command(Command::Failover { key, to: None, allow_data_loss: false }),
                ask.refused.as_deref(),
            )
            .await
        }
        Verb::Drop(drop) => {
            let name = node()?.to_string();
            let request = Request::Command(Command::Drop {
                formation: cluster.formation.clone(),
                name: name.clone(),
                force: drop.force,
            });
            ask_monitor(play, &request, None).await?;
            play.cluster.mark_dropped(&name)
        }
        Verb::Cut(_) => {
            let [a, b] = names else { bail!("a link has two ends") };
            cluster.network.links.cut(a, b);
            Ok(())
        }
        Verb::Isolate(_) => cluster.isolate(node()?),
        Verb::Heal(_) => {
            cluster.network.links.heal();
            Ok(())
        }
    }
}

async fn ask_monitor(play: &Play<'_>, request: &Request, refused: Option<&str>) -> Result<()> {
    match (play.operator.ask(request, ASK_LIMIT).await?, refused) {
        (Answer::Accepted { .. }, None) => Ok(()),
        (Answer::Refused { reason, remedy }, Some(expected)) => {
            let said = format!("{reason}: {remedy}");
            ensure!(said.contains(expected), "refused with \"{said}\", not with \"{expected}\"");
            Ok(())
        }
        (Answer::Refused { reason, remedy }, None) => bail!("refused: {reason}: {remedy}"),
        (other, Some(expected)) => bail!("not refused with \"{expected}\" but answered with {other:?}"),
        (other, None) => bail!("answered with {other:?}"),
    }
}
