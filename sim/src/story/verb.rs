//! Carries out what a step says.

use super::observer::ask;
use crate::ports::SimLink;
use crate::world::{CLIENTS, MONITOR, World};
use pgbaton_core::scenario::{Order, Selector, Verb};
use pgbaton_core::shell::StopRequest;
use pgbaton_core::wire::Request;
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
        other => match other.order(formation, &name) {
            Some(order) => give(world, &order?).await?,
            None => return Err(format!("the simulated world can't {}", other.describe())),
        },
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
async fn give(world: &World, order: &Order) -> Result<(), String> {
    let link = SimLink::new(&world.net, CLIENTS, MONITOR);
    order.judge(ask(&link, &Request::Command(order.command.clone()), ASK_LIMIT).await?)
}
