//! Things that go wrong together. Drawn one by one, faults seldom meet where it matters: a standby that lags just when
//! its primary dies, a second death in the middle of a handover. A plot makes such a situation and draws its details.

use super::dice::Dice;
use super::hazard::Slot;
use crate::scenario::{Condition, Selector, Verb};
use std::time::Duration;

mod course;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plot {
    /// The primary is cut off, and something happens to it meanwhile.
    LonelyPrimary,
    /// The role moves, and somebody who takes part in that is hit.
    HitWhileItMoves,
    /// A standby is held back, and then those are lost that hold more.
    LaggardIsLeft,
    /// Standbys leave and return, and the primary is lost at that moment.
    MembersInFlux,
    /// An old primary comes back, and is hit again while it rejoins, or its successor is.
    HitWhileItRejoins,
    /// A standby is copied anew, and the copy is interrupted.
    CopyIsCutShort,
    /// All go down, and come back in turn.
    AllGoDown,
    /// Somebody promotes a standby that is cut off, and the others elect a primary of their own.
    TwoHistories,
    /// The monitor is hit while it decides, or forgets what it has decided.
    ForgetfulMonitor,
    /// A keeper can't store what it is told, and dies.
    ForgetfulKeeper,
    /// The server of a primary is stopped, and its sessions go on.
    SessionsGoOn,
    /// A node is dropped, perhaps at a bad moment, and comes back as a new one.
    NodeLeaves,
    /// The old primary comes back while its standbys vote, and too few of them do.
    VotesCalledOff,
    /// All programs are replaced in turn, the monitor first: for a while it can't read what the others say.
    Upgrade,
    /// The disk of the primary stalls amid its commits, and it is cut off, dies or is to hand over.
    StallingPrimary,
}

impl Plot {
    pub const ALL: [Plot; 15] = [
        Plot::LonelyPrimary,
        Plot::HitWhileItMoves,
        Plot::LaggardIsLeft,
        Plot::MembersInFlux,
        Plot::HitWhileItRejoins,
        Plot::CopyIsCutShort,
        Plot::AllGoDown,
        Plot::TwoHistories,
        Plot::ForgetfulMonitor,
        Plot::ForgetfulKeeper,
        Plot::SessionsGoOn,
        Plot::NodeLeaves,
        Plot::VotesCalledOff,
        Plot::Upgrade,
        Plot::StallingPrimary,
    ];

    /// How many nodes a group must have for it to mean anything.
    pub fn needs(self) -> usize {
        match self {
            Plot::LaggardIsLeft | Plot::TwoHistories | Plot::VotesCalledOff => 3,
            _ => 2,
        }
    }

    /// What it takes for itself.
    pub fn slots(self) -> &'static [Slot] {
        match self {
            Plot::LonelyPrimary => &[Slot::Links, Slot::Monitor],
            Plot::HitWhileItMoves => &[Slot::Links, Slot::Monitor],
            Plot::LaggardIsLeft | Plot::MembersInFlux | Plot::TwoHistories | Plot::StallingPrimary => &[Slot::Links],
            Plot::CopyIsCutShort => &[Slot::Data],
            Plot::NodeLeaves => &[Slot::Data, Slot::Links],
            Plot::AllGoDown | Plot::ForgetfulMonitor | Plot::Upgrade => &[Slot::Monitor],
            Plot::HitWhileItRejoins | Plot::ForgetfulKeeper | Plot::SessionsGoOn | Plot::VotesCalledOff => &[],
        }
    }

    /// See `Hazard::leaves_the_lineage`.
    pub fn leaves_the_lineage(self) -> bool {
        self == Plot::TwoHistories
    }

    pub fn destroys(self) -> bool {
        self.slots().contains(&Slot::Data)
    }

    pub fn maintains(self) -> bool {
        matches!(self, Plot::LaggardIsLeft | Plot::MembersInFlux)
    }

    pub fn draw(self, dice: &mut Dice, cast: &Cast) -> Vec<Act> {
        let mut stage = Stage { dice, cast, now: Duration::ZERO, acts: Vec::new() };
        match self {
            Plot::LonelyPrimary => stage.lonely_primary(),
            Plot::HitWhileItMoves => stage.hit_while_it_moves(),
            Plot::LaggardIsLeft => stage.laggard_is_left(),
            Plot::MembersInFlux => stage.members_in_flux(),
            Plot::HitWhileItRejoins => stage.hit_while_it_rejoins(),
            Plot::CopyIsCutShort => stage.copy_is_cut_short(),
            Plot::AllGoDown => stage.all_go_down(),
            Plot::TwoHistories => stage.two_histories(),
            Plot::ForgetfulMonitor => stage.forgetful_monitor(),
            Plot::ForgetfulKeeper => stage.forgetful_keeper(),
            Plot::SessionsGoOn => stage.sessions_go_on(),
            Plot::NodeLeaves => stage.node_leaves(),
            Plot::VotesCalledOff => stage.votes_called_off(),
            Plot::Upgrade => stage.upgrade(),
            Plot::StallingPrimary => stage.stalling_primary(),
        }
        stage.acts
    }
}

/// Who there is, and what they may bear.
pub struct Cast<'a> {
    pub nodes: &'a [String],
    /// How many names are bound already.
    pub bound: u32,
    /// In a group whose primary has a lease: how long after it was cut off a keeper may come back that has died, and
    /// still close in time. What an earlier life knew of its lease is lost.
    pub grace: Option<Duration>,
}

/// A step of a plot, so long after its beginning.
pub struct Act {
    pub after: Duration,
    pub verb: Verb,
    pub until: Option<Condition>,
    pub bind: Option<String>,
}

struct Stage<'a, 'd> {
    dice: &'d mut Dice,
    cast: &'a Cast<'a>,
    now: Duration,
    acts: Vec<Act>,
}

fn monitor() -> Selector {
    Selector::Name("monitor".into())
}

impl Stage<'_, '_> {
    fn wait(&mut self, low: f64, high: f64) {
        self.now += self.dice.seconds(low, high);
    }

    fn act(&mut self, verb: Verb) {
        self.acts.push(Act { after: self.now, verb, until: None, bind: None });
    }

    /// The same, and the node it is about is known by a name from then on.
    fn hit(&mut self, verb: Verb) -> Selector {
        let before = self.acts.iter().filter(|act| act.bind.is_some()).count();
        let name = format!("n{}", self.cast.bound as usize + before + 1);
        self.act(verb);
        self.acts.last_mut().expect("it was just pushed").bind = Some(name.clone());
        Selector::Bound(name)
    }

    /// Any of the standbys there may be.
    fn standby(&mut self) -> Selector {
        Selector::Standby(1 + self.dice.below(self.cast.nodes.len() as u64 - 1) as usize)
    }

    /// Down, or out of the world; gives what brings it back.
    fn strike(&mut self, who: Selector) -> Verb {
        let ways: [fn(Selector) -> Verb; 6] =
            [Verb::KillNode, Verb::KillNode, Verb::PowerOff, Verb::Pause, Verb::KillKeeper, Verb::KillPostgres];
        let way = *self.dice.pick(&ways);
        let hit = self.hit(way(who));
        match self.acts.last().map(|act| &act.verb) {
            Some(Verb::Pause(_)) => Verb::Resume(hit),
            _ => Verb::StartService(hit),
        }
    }

    /// Its server ends for sure.
    fn fell(&mut self, who: Selector) -> Selector {
        let way: fn(Selector) -> Verb = *self.dice.pick(&[Verb::KillNode, Verb::KillNode, Verb::PowerOff]);
        self.hit(way(who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plot_begins_it_ends_and_names_are_bound_once() {
        let nodes: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let cast = Cast { nodes: &nodes, bound: 4, grace: None };
        for seed in 0..200 {
            for plot in Plot::ALL {
                let acts = plot.draw(&mut Dice::new(seed, 0), &cast);
                let count = |is: fn(&Verb) -> bool| acts.iter().filter(|act| is(&act.verb)).count();
                let paused = count(|v| matches!(v, Verb::Pause(_) | Verb::Suspend(_)));
                assert_eq!(paused, count(|v| matches!(v, Verb::Resume(_))), "{plot:?} {seed}");
                let cuts = count(|v| matches!(v, Verb::Cut(_) | Verb::Isolate(_) | Verb::Slow(_) | Verb::Lose(_)));
                assert!(cuts == 0 || count(|v| matches!(v, Verb::Heal(_))) > 0, "{plot:?} {seed}");
                let full = count(|v| matches!(v, Verb::FillDisk(_) | Verb::StallDisk(_)));
                assert_eq!(full, count(|v| matches!(v, Verb::FreeDisk(_))), "{plot:?} {seed}");
                assert!(acts.is_sorted_by_key(|act| act.after), "{plot:?} {seed}");
                let bound: Vec<&String> = acts.iter().filter_map(|act| act.bind.as_ref()).collect();
                let expected: Vec<String> = (0..bound.len()).map(|i| format!("n{}", i + 5)).collect();
                assert!(bound.iter().zip(&expected).all(|(a, b)| *a == b), "{plot:?} {seed}: {bound:?}");
            }
        }
    }

    #[test]
    fn a_keeper_whose_primary_has_a_lease_is_back_in_time_or_does_not_die() {
        let nodes: Vec<String> = ["a", "b"].map(String::from).to_vec();
        let died = |grace| {
            let cast = Cast { nodes: &nodes, bound: 0, grace };
            let plots = (0..300).map(|seed| Plot::LonelyPrimary.draw(&mut Dice::new(seed, 0), &cast));
            let back = plots.filter_map(|acts| {
                let death = acts.iter().position(|act| matches!(act.verb, Verb::KillKeeper(_)))?;
                Some(acts[death + 1].after)
            });
            back.collect::<Vec<_>>()
        };
        assert!(died(None).len() > 20);
        assert!(died(Some(Duration::ZERO)).is_empty());
        let second = Duration::from_secs(1);
        assert!(!died(Some(second)).is_empty() && died(Some(second)).iter().all(|back| *back <= second));
    }
}
