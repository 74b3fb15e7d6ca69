//! A story expects things that have nothing to do with the failure, and that would no longer be so in a smaller one.

use super::with;
use pgbaton_core::scenario::{Finally, Scenario};

pub fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    // What the checkers judge by stays: `stalled` and `write_outage`.
    let parts: [fn(&mut Finally); 4] =
        [|f| f.roles.clear(), |f| f.promotions = None, |f| f.max_warnings = None, |f| f.wal_held = None];
    let all = with(scenario, |s| parts.iter().for_each(|drop| drop(&mut s.finally)));
    let each = parts.iter().map(|drop| with(scenario, |s| drop(&mut s.finally)));
    let roles = scenario.finally.roles.keys().map(|node| {
        with(scenario, |s| {
            s.finally.roles.remove(node);
        })
    });
    std::iter::once(all).chain(each).chain(roles).filter(|s| s.finally != scenario.finally).collect()
}
