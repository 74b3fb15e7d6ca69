//! What a verb does to the world, as the checkers count it.

use super::Verb;
use crate::check::{Fault, Kind};

/// The event for a verb that is about to be carried out on these nodes. A verb that isn't listed may cost anything.
pub fn event(verb: &Verb, names: &[String]) -> Kind {
    let fault = match verb {
        Verb::KillMonitor(_) | Verb::StartMonitor(_) => Fault::Monitor,
        Verb::KillKeeper(_) => Fault::Keeper,
        Verb::KillPostgres(_) => Fault::Postgres,
        Verb::KillNode(_) => Fault::Machine,
        Verb::Pause(_) => Fault::Pause,
        Verb::StopService(_) => Fault::Service,
        Verb::Cut(_) | Verb::Isolate(_) => Fault::Link,
        Verb::StartService(_) | Verb::Resume(_) | Verb::Heal(_) => Fault::Mend,
        Verb::Switchover(_) | Verb::Drop(_) => Fault::Order,
        #[allow(unreachable_patterns)] // A new verb is the gravest until it is listed.
        _ => Fault::Other,
    };
    Kind::Fault { fault, nodes: names.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Selector;
    use crate::scenario::format::Nothing;

    #[test]
    fn a_mend_of_all_names_nobody() {
        let heal = event(&Verb::Heal(Nothing {}), &[]);
        assert!(matches!(heal, Kind::Fault { fault: Fault::Mend, nodes } if nodes.is_empty()));
        let kill = event(&Verb::KillNode(Selector::Primary), &["mdw".to_string()]);
        assert!(matches!(kill, Kind::Fault { fault: Fault::Machine, nodes } if nodes == ["mdw"]));
    }
}
