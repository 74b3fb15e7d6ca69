//! L5: a fault costs at most its budget of time without an acknowledged write; nothing at all costs almost none. A
//! story that is to cost more says so. Of a drawn story those faults are judged that struck alone.

use super::outage::gaps;
use super::price;
use super::trace::{Fault, Kind, Trace};
use crate::model::Moment;
use std::time::Duration;

/// Without any fault: what a slow flush or a checkpoint may take.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// With usual settings. A death is seen at once; silence takes its timeout, and the fence behind it as well. A primary
/// under a lease doesn't outlast its monitor or its keeper.
pub(super) fn budget(fault: Fault, leased: bool) -> Duration {
    Duration::from_secs(match fault {
        Fault::Monitor | Fault::MonitorStore | Fault::Keeper if leased => 40,
        Fault::Monitor | Fault::MonitorStore | Fault::Keeper => 1,
        Fault::Mend | Fault::Postgres | Fault::Service | Fault::Order => 5,
        // Nobody says that it has gone, and its lease has to end.
        Fault::Machine | Fault::Disk if leased => 15,
        Fault::Machine | Fault::Disk => 10,
        Fault::Pause => 20,
        Fault::Link => 40,
        Fault::Rogue | Fault::Other => 60,
    })
}

pub fn check(trace: &Trace) -> Result<(), String> {
    if trace.terms.stalled.is_some() {
        return Ok(());
    }
    if trace.terms.priced {
        return price::check(trace);
    }
    let faults: Vec<(Moment, Fault)> = trace
        .events
        .iter()
        .filter_map(|e| match &e.kind {
            Kind::Fault { fault, .. } => Some((e.at, *fault)),
            _ => None,
        })
        .collect();
    for gap in gaps(trace, QUIET) {
        let until = faults.partition_point(|(at, _)| *at < gap.to);
        let from = faults.partition_point(|(at, _)| *at < gap.from);
        let cost = |fault: &(Moment, Fault)| budget(fault.1, trace.terms.may_lose);
        // Its own faults, and the last before: the effect of that one may have taken a while, within its budget.
        let before = faults[..from].last().filter(|fault| fault.0 + cost(fault) >= gap.from);
        let costs: Duration = before.into_iter().chain(&faults[from..until]).map(cost).sum();
        let allowed = (QUIET + costs).max(trace.terms.outage.unwrap_or_default());
        if gap.length() > allowed {
            return Err(format!(
                "writes were out for {:.3} s from {:.3} s on, {:.0} s are allowed",
                gap.length().as_secs_f64(),
                gap.from.seconds(),
                allowed.as_secs_f64()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::trace::Terms;
    use super::*;

    #[test]
    fn each_fault_buys_its_time_and_no_more() {
        let out = |length: u64, kinds: &[Fault], outage: Option<u64>| {
            let faults = kinds.iter().map(|f| (1000, fault(*f, &["a"])));
            let acks = [(1000, acked(1, "a", 999)), (1000 + length, acked(2, "b", 1001))];
            let mut trace = trace(acks[..1].iter().cloned().chain(faults).chain(acks[1..].iter().cloned()).collect());
            trace.terms = Terms { outage: outage.map(Duration::from_secs), ..Terms::default() };
            check(&trace)
        };
        assert_eq!(out(900, &[], None), Ok(()));
        assert!(out(1100, &[], None).is_err());
        assert_eq!(out(5900, &[Fault::Postgres], None), Ok(()));
        assert!(out(6100, &[Fault::Postgres], None).unwrap_err().contains("out for 6.100 s"));
        assert_eq!(out(9000, &[Fault::Postgres, Fault::Mend], None), Ok(()));
        assert_eq!(out(9000, &[Fault::Postgres], Some(10)), Ok(()));
    }

    #[test]
    fn a_lease_costs_its_monitor_and_what_is_to_stall_may_last() {
        let out = |length: u64, kind: Fault, terms: Terms| {
            let acks = [(1000, acked(1, "a", 999)), (1000, fault(kind, &["a"])), (1000 + length, acked(2, "b", 1001))];
            check(&Trace { terms, ..trace(acks.to_vec()) })
        };
        for kind in [Fault::Monitor, Fault::MonitorStore, Fault::Keeper] {
            let of = |may_lose, length| out(length, kind, Terms { may_lose, ..Terms::default() });
            assert_eq!(of(true, 40_900), Ok(()), "{kind:?}");
            assert!(of(true, 41_100).is_err(), "{kind:?}");
            assert_eq!(of(false, 1900), Ok(()), "{kind:?}");
            assert!(of(false, 2100).is_err(), "{kind:?}");
        }
        let stalled = Terms { stalled: Some("waits".into()), ..Terms::default() };
        assert_eq!(out(99_000, Fault::Postgres, stalled), Ok(()));
        assert!(out(99_000, Fault::Postgres, Terms::default()).is_err());
    }

    #[test]
    fn a_fault_long_before_buys_nothing() {
        let struck = |at: u64| {
            let acks = (0..=70).map(|i| i * 100).chain([11_000]).map(|at| (at, acked(at, "a", at)));
            let mut trace = trace([(at, fault(Fault::Postgres, &["a"]))].into_iter().chain(acks).collect());
            trace.sort();
            check(&trace)
        };
        assert_eq!(struck(2000), Ok(()));
        assert!(struck(1999).unwrap_err().contains("out for 4.000 s from 7.000 s on, 1 s are allowed"));
    }
}
