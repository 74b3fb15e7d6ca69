//! Services, power, clocks, and the disks of keepers and of the monitor.

use super::Done;
use crate::disk::{Condition, Disk};
use crate::postgres::PgDisk;
use crate::world::{MONITOR, OBSERVER, World};
use pgbaton_core::scenario::Verb;
use pgbaton_core::scenario::verb::Whose;
use pgbaton_core::shell::StopRequest;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A service manager kills what hasn't stopped by then.
const STOP_LIMIT: Duration = Duration::from_secs(90);

pub(super) async fn perform(world: &World, verb: &Verb, names: &[String]) -> Done {
    let node = || world.node(names.first().map_or("", String::as_str));
    if let Verb::StopService(_)
    | Verb::KillKeeper(_)
    | Verb::KillNode(_)
    | Verb::KillGroup(_)
    | Verb::PowerOff(_)
    | Verb::LoseDisk(_) = verb
    {
        let hit = names.iter().filter_map(|name| world.node(name).ok());
        hit.for_each(|node| node.wanted.store(false, Ordering::Relaxed));
    }
    match verb {
        Verb::StopService(_) => stop_service(world, &names[0]).await?,
        Verb::StartService(_) => start_service(world, &names[0]).await?,
        Verb::KillKeeper(_) => node()?.kill_keeper(),
        Verb::PauseKeeper(_) => node()?.pause_keeper(),
        Verb::ReloadKeeper(_) => {
            let node = node()?.clone();
            world.spawn(OBSERVER, async move { node.reload_keeper().await });
        }
        Verb::KillPostgres(_) => node()?.pg.kill_postmaster(),
        Verb::KillNode(_) => {
            let node = node()?;
            node.kill_keeper();
            // Processes die one after the other: a look at the machine in between finds some of them alive.
            world.fate.sleep(world.fate.draw_ms(0..20)).await;
            node.pg.kill_server();
        }
        Verb::KillGroup(_) => {
            for name in names {
                let node = world.node(name)?;
                node.kill_keeper();
                node.pg.kill_server();
            }
        }
        Verb::PowerOff(_) if names[0] == MONITOR => world.monitor.power_off(),
        Verb::PowerOff(_) => node()?.power_off(),
        Verb::LoseDisk(_) => node()?.lose_disks(),
        Verb::Pause(_) if names[0] == MONITOR => world.monitor.pause(),
        Verb::Pause(_) => node()?.pause(),
        Verb::Suspend(_) => node()?.suspend(),
        Verb::Resume(_) if names[0] == MONITOR => world.monitor.resume(),
        Verb::Resume(_) => node()?.resume(),
        Verb::KillMonitor(_) => world.monitor.kill(),
        Verb::StartMonitor(_) => world.monitor.start(),
        Verb::SaveMonitor(_) => world.monitor.save(),
        Verb::RestoreMonitor(_) => world.monitor.restore()?,
        Verb::ReplaceMonitor(_) => world.monitor.replace(),
        Verb::ExpireCertificate(_) => world.net.expire_certificate(MONITOR),
        Verb::RenewCertificate(_) => world.net.renew_certificate(MONITOR),
        Verb::TearStore(_) => node()?.disk.tear_at_death(),
        Verb::ClockStep(step) if names[0] == MONITOR => world.monitor.clock.move_wall(step.by_ms),
        Verb::ClockStep(step) => node()?.clock.move_wall(step.by_ms),
        Verb::FillDisk(disk) => set_disk(world, disk.whose, names, PgDisk::Full, Condition::Full)?,
        Verb::StallDisk(disk) => set_disk(world, disk.whose, names, PgDisk::Stalled, Condition::Stalled)?,
        // Only the disk of a data directory is ever told so.
        Verb::ReadOnlyDisk(disk) => set_disk(world, disk.whose, names, PgDisk::ReadOnly, Condition::Full)?,
        Verb::FreeDisk(disk) => set_disk(world, disk.whose, names, PgDisk::Ok, Condition::Fine)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A service that is being stopped is started once it has stopped.
async fn start_service(world: &World, name: &str) -> Result<(), String> {
    let node = world.node(name)?.clone();
    node.wanted.store(true, Ordering::Relaxed);
    if !node.keeper.is_stopping() {
        node.start_keeper();
    } else if world.services_in_turn {
        let _ = world.fate.timeout(STOP_LIMIT, node.keeper.until_gone()).await;
        node.start_keeper();
    } else {
        world.spawn(OBSERVER, async move {
            node.keeper.until_gone().await;
            // Unless its machine went down meanwhile, for good as far as this start knows.
            if node.wanted.load(Ordering::Relaxed) {
                node.start_keeper();
            }
        });
    }
    Ok(())
}

async fn stop_service(world: &World, name: &str) -> Result<(), String> {
    let node = world.node(name)?.clone();
    node.stays_stopped();
    if !node.keeper.is_running() {
        return Ok(());
    }
    node.keeper.ask_to_stop(StopRequest::HandOver);
    if world.services_in_turn {
        let stopped = world.fate.timeout(STOP_LIMIT, node.keeper.until_gone()).await;
        return stopped.ok_or_else(|| format!("the keeper of {name} did not stop within {}s", STOP_LIMIT.as_secs()));
    }
    let fate = world.fate.clone();
    world.spawn(OBSERVER, async move {
        // Another life of it may have begun since.
        if fate.timeout(STOP_LIMIT, node.keeper.until_gone()).await.is_none() && node.keeper.is_stopping() {
            node.kill_keeper();
        }
    });
    Ok(())
}

/// Ends when every service that was told to stop has had its time to.
pub(in crate::story) async fn services_have_stopped(world: &World) {
    for node in world.nodes.iter().filter(|node| node.keeper.is_stopping()) {
        let _ = world.fate.timeout(STOP_LIMIT, node.keeper.until_gone()).await;
    }
}

fn set_disk(world: &World, whose: Whose, names: &[String], data: PgDisk, store: Condition) -> Result<(), String> {
    let node = || world.node(names.first().map_or("", String::as_str));
    let disk: &Disk = match whose {
        Whose::Postgres => {
            node()?.pg.set_disk(data);
            return Ok(());
        }
        Whose::Keeper => &node()?.disk,
        Whose::Monitor => &world.monitor.disk,
    };
    disk.set(store);
    Ok(())
}
