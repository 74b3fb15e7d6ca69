//! Carries out what a step says.

use super::play::Play;
use super::{checkpoints, disks, hands};
use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use pgbaton_core::check::{Answered, Kind, orders};
use pgbaton_core::model::Moment;
use pgbaton_core::scenario::verb::DropNode;
use pgbaton_core::scenario::{Order, Verb, order};
use pgbaton_core::wire::Request;
use std::path::Path;
use std::time::{Duration, Instant};

const ASK_LIMIT: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// `names` are the nodes the verb is about.
pub async fn perform(play: &mut Play<'_>, verb: &Verb, names: &[String]) -> Result<()> {
    if let Verb::Switchover(ask) = verb
        && ask.refused.is_none()
        && play.narrator.is_telling()
    {
        return play.narrator.switchover(&play.cluster).await;
    }
    match verb {
        Verb::AtOnce(orders) => return give_all(play, orders, names).await,
        order if order.is_order() => return give_all(play, std::slice::from_ref(order), names).await,
        _ => {}
    }
    match names {
        [] => to_the_world(play, verb).await,
        [a, b] if to_a_link(play, verb, a, b) => Ok(()),
        _ if matches!(verb, Verb::KillGroup(_)) => play.cluster.kill_nodes(names).await,
        [name, ..] => to_a_node(play, verb, name).await,
    }
}

/// All at the same instant. Each is about one node at most.
async fn give_all(play: &mut Play<'_>, verbs: &[Verb], names: &[String]) -> Result<()> {
    let group = play.scenario.group_of(names.first().map(String::as_str));
    let (mut orders, mut rest) = (Vec::new(), names);
    for verb in verbs {
        let (own, others) = rest.split_at(verb.selectors().len());
        let name = |_: &_| own.first().cloned().context("the verb needs a node");
        let drops = matches!(verb, Verb::Drop(DropNode { refused: None, .. }));
        let order = verb.order(&group, name).context("the verb is no order")??;
        orders.push((order, own.first().filter(|_| drops)));
        rest = others;
    }
    let given = join_all(orders.iter().map(|(order, _)| give(play, order))).await;
    let is_done =
        |notes: &[(Moment, Kind)]| matches!(notes.last(), Some((_, Kind::Told { answer: Answered::Accepted, .. })));
    for ((_, dropped), (notes, _)) in orders.iter().zip(&given) {
        if let Some(name) = dropped.filter(|_| is_done(notes)) {
            play.cluster.mark_dropped(name)?;
        }
    }
    let (notes, done): (Vec<_>, Vec<_>) = given.into_iter().unzip();
    play.note_dated(notes.concat());
    done.into_iter().collect()
}

/// An operator whose order was not taken, for the monitor is down or can't do it at the moment, asks again. What was said
/// comes with what came of it.
async fn give(play: &Play<'_>, given: &Order) -> (Vec<(Moment, Kind)>, Result<()>) {
    let request = Request::Command(given.command.clone());
    let words = orders::describe(&request);
    let (began, mut notes) = (Instant::now(), Vec::new());
    loop {
        notes.push(play.dated(Kind::Asked { order: words.clone() }));
        let answer = play.operator.ask(&request, ASK_LIMIT).await;
        notes.push(play.dated(Kind::Told { order: words.clone(), answer: orders::answered(&answer) }));
        if !order::is_to_be_repeated(&answer) || began.elapsed() >= ASK_LIMIT {
            let judged = answer.map_err(anyhow::Error::from).and_then(|a| given.judge(a).map_err(anyhow::Error::msg));
            return (notes, judged);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn to_the_world(play: &mut Play<'_>, verb: &Verb) -> Result<()> {
    if matches!(verb, Verb::KillMonitor(_) | Verb::RestoreMonitor(_) | Verb::ReplaceMonitor(_)) {
        play.watch.keep_events().await;
    }
    let cluster = &mut play.cluster;
    match verb {
        Verb::KillMonitor(_) => cluster.kill_monitor().await,
        Verb::StartMonitor(_) => cluster.start_monitor(),
        Verb::SaveMonitor(_) => cluster.save_monitor(),
        Verb::RestoreMonitor(_) => cluster.restore_monitor().await,
        Verb::ReplaceMonitor(_) => cluster.replace_monitor().await,
        Verb::ExpireCertificate(_) => cluster.expire_certificate().await,
        Verb::RenewCertificate(_) => cluster.renew_certificate().await,
        Verb::Heal(_) => {
            cluster.network.links.heal();
            Ok(())
        }
        other => bail!("live runs can't {}", other.describe()),
    }
}

/// False for what isn't done to a link.
fn to_a_link(play: &Play<'_>, verb: &Verb, a: &str, b: &str) -> bool {
    let links = &play.cluster.network.links;
    match verb {
        Verb::Cut(_) => links.cut(a, b),
        Verb::CutOneWay(_) => links.cut_one_way(a, b),
        Verb::HalfOpen(_) => links.mute(b, a),
        Verb::Slow(slow) => links.slow(a, b, slow.by),
        Verb::Lose(lossy) => links.lose(a, b, lossy.rate),
        Verb::Reorder(late) => links.reorder(a, b, late.by),
        _ => return false,
    }
    true
}

async fn to_a_node(play: &mut Play<'_>, verb: &Verb, name: &str) -> Result<()> {
    let cluster = &mut play.cluster;
    match verb {
        Verb::StopService(_) => cluster.stop_service(name).await,
        Verb::StartService(_) => cluster.start_service(name),
        Verb::KillKeeper(_) => cluster.kill_keeper(name).await,
        Verb::PauseKeeper(_) => cluster.signal_keeper(name, Signal::SIGSTOP),
        Verb::ReloadKeeper(_) => cluster.signal_keeper(name, Signal::SIGHUP),
        Verb::KillPostgres(_) => cluster.kill_postgres(name),
        Verb::KillNode(_) => cluster.kill_nodes(&[name.to_string()]).await,
        Verb::Pause(_) => cluster.pause(name),
        Verb::Resume(_) => cluster.resume(name),
        Verb::Isolate(_) => cluster.isolate(name),
        Verb::RoguePromote(_) => hands::pg_ctl(cluster, name, &["promote", "-W"]).await,
        Verb::RogueStart(_) => hands::start(cluster, name).await,
        Verb::CrashBackend(_) => hands::crash_backend(cluster, name).await,
        Verb::StopBackend(_) => hands::stop_backend(cluster, name).await,
        Verb::ContinueBackend(_) => hands::continue_backend(cluster, name),
        Verb::CancelWaiters(_) => hands::to_waiters(cluster, name, "pg_cancel_backend").await,
        Verb::TerminateWaiters(_) => hands::to_waiters(cluster, name, "pg_terminate_backend").await,
        Verb::ApplyDelay(delay) => hands::delay_apply(cluster, name, delay.by).await,
        Verb::LoseDirectory(_) => {
            let at = Timestamp::now().as_millisecond().try_into().unwrap_or_default();
            play.removed.push((name.to_string(), at));
            hands::lose_directory(cluster, name)
        }
        Verb::SmartStop(_) => hands::pg_ctl(cluster, name, &["stop", "-W", "-m", "smart"]).await,
        Verb::StopPostgresByHand(_) => hands::stop(cluster, name).await,
        Verb::RestartPostgresByHand(_) => hands::restart(cluster, name).await,
        Verb::BreakConfig(_) => hands::break_config(cluster, name),
        Verb::MendConfig(_) => hands::mend_config(cluster, name),
        Verb::UseArchive(_) => hands::use_archive(cluster, name),
        Verb::HangArchiver(_) => tokio::task::block_in_place(|| hands::hang_archiver(cluster, name)),
        Verb::FreeArchiver(_) => hands::free_archiver(cluster, name),
        Verb::SlowCheckpoint(delay) => checkpoints::slow(cluster, name, delay.by).await,
        Verb::FillDisk(_) | Verb::StallDisk(_) | Verb::ReadOnlyDisk(_) | Verb::FreeDisk(_) => {
            let home = cluster.node(name)?.home();
            // What is done to a disk keeps a thread busy.
            tokio::task::block_in_place(|| to_a_disk(verb, home))
        }
        Verb::ReusePid(_) => hands::reuse_pid(cluster, name),
        other => bail!("live runs can't {}", other.describe()),
    }
}

fn to_a_disk(verb: &Verb, home: &Path) -> Result<()> {
    match verb {
        Verb::FillDisk(_) => disks::fill(home),
        Verb::StallDisk(_) => disks::stall(home),
        Verb::ReadOnlyDisk(_) => disks::make_read_only(home),
        _ => disks::free(home),
    }
}
