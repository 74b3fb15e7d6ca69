//! Carries out what a step says.

use super::observer::ask;
use crate::ports::SimLink;
use crate::world::{CLIENTS, MONITOR, World};
use pgbaton_core::check::{Kind, orders};
use pgbaton_core::model::GroupKey;
use pgbaton_core::scenario::{Selector, Verb};
use pgbaton_core::shell::StopRequest;
use pgbaton_core::wire::{Answer, Command, Request};
use std::time::Duration;

/// A service manager kills what hasn't stopped by then.
const STOP_LIMIT: Duration = Duration::from_secs(90);
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// `name` gives the node a selector means at this moment.
pub async fn perform(
    world: &World,
    formation: &str,
    verb: &Verb,
    name: impl Fn(&Selector) -> Result<String, String>,
) -> Result<(), String> {
    let node = |selector: &Selector| world.node(&name(selector)?);
    match verb {
        Verb::StopService(n) => stop_service(world, &name(n)?).await?,
        Verb::StartService(n) => node(n)?.start_keeper(),
        Verb::KillKeeper(n) => node(n)?.kill_keeper(),
        Verb::KillPostgres(n) => node(n)?.pg.kill_server(),
        Verb::KillNode(n) => {
            let node = node(n)?;
            node.kill_keeper();
            // Processes die one after the other: a look at the machine in between finds some of them alive.
            world.fate.sleep(world.fate.draw_ms(0..20)).await;
            node.pg.kill_server();
        }
        Verb::Pause(n) => node(n)?.pause(),
        Verb::Resume(n) => node(n)?.resume(),
        Verb::KillMonitor(_) => world.monitor.kill(),
        Verb::StartMonitor(_) => world.monitor.start(),
        Verb::Cut([a, b]) => world.net.cut(&name(a)?, &name(b)?),
        Verb::Isolate(n) => world.isolate(&name(n)?),
        Verb::Heal(_) => world.net.heal_all(),
        Verb::Switchover(order) => {
            let key = GroupKey { formation: formation.to_string(), group: 0 };
            ask_monitor(
                world,
                Request::Command(Command::Failover { key, to: None, allow_data_loss: false }),
                order.refused.as_deref(),
            )
            .await?;
        }
        Verb::Drop(drop) => {
            let request = Request::Command(Command::Drop {
                formation: formation.to_string(),
                name: name(&drop.node)?,
                force: drop.force,
            });
            ask_monitor(world, request, None).await?;
        }
    }
    Ok(())
}

async fn stop_service(world: &World, name: &str) -> Result<(), String> {
    let node = world.node(name)?;
    if !node.keeper.is_running() {
        return Ok(());
    }
    node.keeper.ask_to_stop(StopRequest::HandOver);
    let stopped = world.fate.timeout(STOP_LIMIT, node.keeper.until_gone()).await;
    stopped.ok_or_else(|| format!("the keeper of {name} did not stop within {}s", STOP_LIMIT.as_secs()))
}

/// As a command on the clients' machine does.
async fn ask_monitor(world: &World, request: Request, refused: Option<&str>) -> Result<(), String> {
    let link = SimLink::new(&world.net, CLIENTS, MONITOR);
    let order = orders::describe(&request);
    world.chronicle.note(Kind::Asked { order: order.clone() });
    let answer = ask(&link, &request, ASK_LIMIT).await;
    world.chronicle.note(Kind::Told { order, answer: orders::answered(&answer) });
    match (answer?, refused) {
        (Answer::Refused { reason, remedy }, Some(expected)) => {
            let said = format!("{reason}: {remedy}");
            let as_expected = said.contains(expected);
            let complaint = || format!("refused with \"{said}\", not with \"{expected}\"");
            as_expected.then_some(()).ok_or_else(complaint)
        }
        (Answer::Refused { reason, remedy }, None) => Err(format!("refused: {reason}: {remedy}")),
        (Answer::Accepted { .. }, None) => Ok(()),
        (other, Some(expected)) => Err(format!("not refused with \"{expected}\" but answered with {other:?}")),
        (other, None) => Err(format!("answered with {other:?}")),
    }
}
