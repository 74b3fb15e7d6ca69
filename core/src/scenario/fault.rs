//! What a verb does to the world, as the checkers count it.

use super::Verb;
use crate::check::{Fault, Kind};

/// The event for a verb that is about to be carried out on these nodes. A verb that isn't listed may cost anything.
pub fn event(verb: &Verb, names: &[String]) -> Kind {
    let fault = match verb {
        Verb::PowerOff(_) | Verb::Pause(_) if names.iter().any(|name| name == "monitor") => Fault::Monitor,
        Verb::KillMonitor(_) | Verb::StartMonitor(_) | Verb::SaveMonitor(_) => Fault::Monitor,
        // To who comes anew the monitor is as one that is down.
        Verb::ExpireCertificate(_) | Verb::RenewCertificate(_) => Fault::Monitor,
        Verb::RestoreMonitor(_) | Verb::ReplaceMonitor(_) => Fault::MonitorStore,
        Verb::KillKeeper(_) | Verb::PauseKeeper(_) | Verb::ReloadKeeper(_) => Fault::Keeper,
        Verb::KillPostgres(_)
        | Verb::CrashBackend(_)
        | Verb::RestartPostgresByHand(_)
        | Verb::StopPostgresByHand(_)
        | Verb::SmartStop(_) => Fault::Postgres,
        Verb::KillNode(_) | Verb::KillGroup(_) | Verb::PowerOff(_) => Fault::Machine,
        Verb::LoseDisk(_) => Fault::Disk,
        Verb::Pause(_) => Fault::Pause,
        Verb::StopService(_) => Fault::Service,
        Verb::Cut(_) | Verb::CutOneWay(_) | Verb::HalfOpen(_) | Verb::Isolate(_) => Fault::Link,
        Verb::StartService(_) | Verb::Resume(_) | Verb::Heal(_) => Fault::Mend,
        Verb::AtOnce(_) => Fault::Order,
        order if order.is_order() => Fault::Order,
        Verb::RoguePromote(_) | Verb::RogueStart(_) => Fault::Rogue,
        // Disks, clocks, loss and delay on links, hands behind the keeper's back: they may cost anything.
        _ => Fault::Other,
    };
    Kind::Fault { fault, nodes: names.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Selector;
    use crate::scenario::verb::Nothing;

    #[test]
    fn a_mend_of_all_names_nobody() {
        let heal = event(&Verb::Heal(Nothing {}), &[]);
        assert!(matches!(heal, Kind::Fault { fault: Fault::Mend, nodes } if nodes.is_empty()));
        let kill = event(&Verb::KillNode(Selector::Primary), &["mdw".to_string()]);
        assert!(matches!(kill, Kind::Fault { fault: Fault::Machine, nodes } if nodes == ["mdw"]));
    }
}
