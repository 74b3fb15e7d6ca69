//! Does a harm to the world at the instant a trap springs, and undoes it after a while: the rest of the story, and what
//! is to come of it, stays possible.

use crate::world::points::{Effect, Harm, Trap};
use crate::world::{CLIENTS, Fate, MONITOR, NodeMachine, OBSERVER, World};
use pgbaton_core::check::{Fault, Kind};
use pgbaton_core::scenario::words;
use std::sync::Arc;
use std::time::Duration;

/// Below what the group takes for a death, and well above it.
const BRIEF_MS: std::ops::Range<u64> = 100..3_000;
const LONG_MS: std::ops::Range<u64> = 6_000..25_000;

/// From here on the points of the run have somebody who acts.
pub fn arm(world: &Arc<World>) {
    // Weak, for the world owns its points.
    let held = Arc::downgrade(world);
    world.points.on_spring(move |trap| {
        if let Some(world) = held.upgrade() {
            strike(&world, trap);
        }
    });
    world.spawn(OBSERVER, world.points.clone().watch_clock(world.fate.clone()));
}

fn strike(world: &Arc<World>, trap: &Trap) {
    let blow = Blow { harm: trap.harm, host: trap.point.host.clone(), links: links(world, trap) };
    world.chronicle.note(Kind::Step { text: format!("{} at {}", trap.harm.name(), trap.point) });
    blow.fall(world);
    let lasts = match trap.harm {
        Harm::LoseReply | Harm::RestartServer => Duration::ZERO,
        _ => draw(&world.fate),
    };
    let struck = world.clone();
    world.spawn(OBSERVER, async move {
        struck.fate.sleep(lasts).await;
        blow.undo(&struck);
        struck.points.mended();
    });
}

fn draw(fate: &Fate) -> Duration {
    if fate.chance(50) { fate.draw_ms(BRIEF_MS) } else { fate.draw_ms(LONG_MS) }
}

/// The one that a message takes; around a step or a commit, all that the process may need.
fn links(world: &World, trap: &Trap) -> Vec<(String, String)> {
    let host = &trap.point.host;
    let others: Vec<&str> = match &trap.point.effect {
        Effect::Calls | Effect::IsAnswered => vec![MONITOR],
        Effect::IsCalled(caller) | Effect::Answers(caller) => vec![caller],
        _ => {
            let nodes = world.nodes.iter().map(|n| n.name.as_str());
            nodes.chain([MONITOR]).filter(|other| other != host).collect()
        }
    };
    others.into_iter().map(|other| (host.clone(), other.to_string())).collect()
}

struct Blow {
    harm: Harm,
    host: String,
    links: Vec<(String, String)>,
}

impl Blow {
    fn fall(&self, world: &World) {
        world.chronicle.note(self.fault(world));
        match (self.harm, self.node(world)) {
            (Harm::Cut, _) => self.links.iter().for_each(|(a, b)| world.net.cut(a, b)),
            (Harm::LoseReply, _) | (Harm::RestartServer, None) => {}
            (Harm::Kill | Harm::KillNode, None) => world.monitor.kill(),
            (Harm::PowerOff, None) => world.monitor.power_off(),
            (Harm::Pause, None) => world.monitor.pause(),
            (Harm::Kill, Some(node)) => node.kill_keeper(),
            (Harm::KillNode, Some(node)) => {
                node.kill_keeper();
                node.pg.kill_server();
            }
            (Harm::PowerOff, Some(node)) => node.power_off(),
            (Harm::RestartServer, Some(node)) => {
                node.pg.kill_server();
                // There may be nothing that starts.
                let _refused = node.pg.rogue_start();
            }
            (Harm::Pause, Some(node)) => node.pause(),
        }
    }

    fn undo(&self, world: &World) {
        match (self.harm, self.node(world)) {
            (Harm::LoseReply | Harm::RestartServer, _) => return,
            (Harm::Cut, _) => self.links.iter().for_each(|(a, b)| world.net.mend(a, b)),
            (Harm::Pause, None) => world.monitor.resume(),
            (Harm::Pause, Some(node)) => node.resume(),
            (_, None) => world.monitor.start(),
            (_, Some(node)) => node.start_keeper(),
        }
        let fault = if self.host == MONITOR { Fault::Monitor } else { Fault::Mend };
        let text = match self.harm {
            Harm::Pause => format!("{} {}", words::RESUME, self.host),
            harm => format!("the {} of {} is over", harm.name(), self.host),
        };
        world.chronicle.note(Kind::Step { text });
        world.chronicle.note(Kind::Fault { fault, nodes: vec![self.host.clone()] });
    }

    /// As the checkers count it.
    fn fault(&self, world: &World) -> Kind {
        let of_monitor = self.host == MONITOR;
        let fault = match self.harm {
            Harm::Cut => Fault::Link,
            _ if of_monitor => Fault::Monitor,
            Harm::Kill | Harm::LoseReply => Fault::Keeper,
            Harm::KillNode | Harm::PowerOff => Fault::Machine,
            Harm::Pause => Fault::Pause,
            Harm::RestartServer => {
                let runs = self.node(world).is_some_and(|node| node.pg.pg().server.is_some());
                if runs { Fault::Postgres } else { Fault::Rogue }
            }
        };
        let cut = |(_, other): &(String, String)| other.clone();
        let others = match (self.harm, &self.links[..]) {
            // With the monitor in it, it is the monitor's trouble alone.
            (Harm::Cut, [link]) => vec![cut(link)],
            _ => vec![],
        };
        Kind::Fault { fault, nodes: [vec![self.host.clone()], others].concat() }
    }

    fn node<'a>(&self, world: &'a World) -> Option<&'a NodeMachine> {
        assert_ne!(self.host, CLIENTS, "clients pass no points");
        world.nodes.iter().find(|n| n.name == self.host).map(AsRef::as_ref)
    }
}
