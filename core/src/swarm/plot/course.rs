//! What happens in each plot, in the order of time.

use super::{Stage, monitor};
use crate::model::NodeState;
use crate::scenario::verb::*;
use crate::scenario::{Condition, Selector, Verb};
use crate::wire;
use std::time::Duration;

impl Stage<'_, '_> {
    pub fn lonely_primary(&mut self) {
        let who = if self.dice.chance(65) {
            self.hit(Verb::Isolate(Selector::Primary))
        } else {
            self.act(Verb::Cut([Selector::Primary, monitor()]));
            Selector::Primary
        };
        let cut_off = self.now;
        self.wait(0.05, 10.0);
        match self.dice.below(7) {
            0 => self.for_a_while(Verb::Suspend(who), Verb::Resume, 30.0),
            1 => self.for_a_while(Verb::KillNode(who), Verb::StartService, 15.0),
            2 => self.act(Verb::KillPostgres(who)),
            3 => {
                self.act(Verb::KillMonitor(Nothing {}));
                self.wait(0.05, 5.0);
                self.act(Verb::StartMonitor(Nothing {}));
            }
            4 => self.for_a_while(Verb::Pause(who), Verb::Resume, 30.0),
            5 => self.keeper_is_back_in_time(who, cut_off),
            _ => {}
        }
        self.wait(5.0, 30.0);
        self.act(Verb::Heal(Nothing {}));
    }

    fn for_a_while(&mut self, begin: Verb, end: fn(Selector) -> Verb, most: f64) {
        let hit = self.hit(begin);
        self.wait(0.5, most);
        self.act(end(hit));
    }

    fn keeper_is_back_in_time(&mut self, who: Selector, cut_off: Duration) {
        let latest = self.cast.grace.map_or(Duration::from_secs(20), |grace| cut_off + grace);
        self.now = self.now.min(cut_off + Duration::from_millis(500));
        let back = self.now + self.dice.seconds(0.05, 2.0);
        if back <= latest {
            let hit = self.hit(Verb::KillKeeper(who));
            self.now = back;
            self.act(Verb::StartService(hit));
        }
    }

    pub fn hit_while_it_moves(&mut self) {
        let slow = self.dice.chance(35);
        if slow {
            let between = [Selector::Primary, self.standby()];
            let by = self.dice.seconds(0.05, 3.0);
            self.act(Verb::Slow(Slow { between, by }));
            self.wait(0.2, 3.0);
        }
        let old = self.move_the_role();
        let mut mends: Vec<Verb> = old.clone().map(Verb::StartService).into_iter().collect();
        for _ in 0..1 + self.dice.below(2) {
            self.wait(0.01, 2.0);
            let chosen = self.dice.chance(30);
            let who = if chosen { Selector::Candidate } else { self.standby() };
            match self.dice.below(100) {
                0..20 => {
                    self.act(Verb::KillMonitor(Nothing {}));
                    mends.push(Verb::StartMonitor(Nothing {}));
                }
                20..35 => {
                    self.act(Verb::Cut([who, monitor()]));
                    mends.push(Verb::Heal(Nothing {}));
                }
                35..50 => mends.extend(old.clone().map(|old| self.strike(old))),
                _ => mends.push(self.strike(who)),
            }
            if chosen {
                let goal = *self.dice.pick(&[NodeState::PreparePromotion, NodeState::StopReplication]);
                self.last_waits_for(Selector::Candidate, goal);
            }
        }
        if slow {
            mends.push(Verb::Heal(Nothing {}));
        }
        self.mend(mends, 12.0);
    }

    /// What was done last is done as soon as a node is told to be this.
    fn last_waits_for(&mut self, node: Selector, goal: NodeState) {
        self.acts.last_mut().expect("something was done").until = Some(Condition::Goal { node, goal });
    }

    /// In an order of their own, with time between them.
    fn mend(&mut self, mends: Vec<Verb>, most: f64) {
        let count = mends.len();
        for verb in self.dice.some(&mends, count) {
            self.wait(0.05, most);
            self.act(verb);
        }
    }

    /// Gives the old primary when it must be started again.
    fn move_the_role(&mut self) -> Option<Selector> {
        let (refused, may_be_refused) = (None, true);
        match self.dice.below(8) {
            0..2 => self.act(Verb::Switchover(Ask { refused, may_be_refused })),
            2..4 => {
                let node = self.standby();
                self.act(Verb::Promote(Promote { node, allow_data_loss: false, refused, may_be_refused }));
            }
            4 => return Some(self.hit(Verb::StopService(Selector::Primary))),
            _ => return Some(self.fell(Selector::Primary)),
        }
        None
    }

    pub fn laggard_is_left(&mut self) {
        let resting = self.dice.chance(40).then(|| self.begin_maintenance());
        let laggard_is_back = self.hold_back();
        self.wait(0.05, 6.0);
        let mut mends = Vec::new();
        let early = self.dice.chance(30);
        if early {
            self.act(laggard_is_back.clone());
        }
        for _ in 0..self.dice.below(self.cast.nodes.len() as u64 - 1) {
            let other = self.standby();
            mends.push(self.strike(other));
        }
        let old = self.fell(Selector::Primary);
        if !early {
            self.wait(0.01, 3.0);
            self.act(laggard_is_back);
        }
        self.wait(1.0, 10.0);
        mends.push(Verb::StartService(old));
        self.mend(mends, 10.0);
        if let Some(node) = resting {
            self.end_maintenance(node);
        }
    }

    /// A standby; gives what lets it go on.
    fn hold_back(&mut self) -> Verb {
        let laggard = self.standby();
        match self.dice.below(4) {
            0 => Verb::Resume(self.hit(Verb::Pause(laggard))),
            1 => {
                let by = self.dice.seconds(2.0, 20.0);
                let node = self.hit(Verb::ApplyDelay(Delay { node: laggard, by }));
                Verb::ApplyDelay(Delay { node, by: Duration::ZERO })
            }
            2 => {
                let by = self.dice.seconds(0.5, 3.0);
                self.act(Verb::Slow(Slow { between: [laggard, Selector::Primary], by }));
                Verb::Heal(Nothing {})
            }
            _ => {
                self.act(Verb::Cut([laggard, Selector::Primary]));
                Verb::Heal(Nothing {})
            }
        }
    }

    fn begin_maintenance(&mut self) -> Selector {
        let node = self.standby();
        let node = self.hit(Verb::Maintenance(Maintenance { node, on: true, allow_failover: false, refused: None }));
        self.wait(0.2, 4.0);
        node
    }

    fn end_maintenance(&mut self, node: Selector) {
        self.wait(0.05, 5.0);
        self.act(Verb::Maintenance(Maintenance { node, on: false, allow_failover: false, refused: None }));
    }

    pub fn members_in_flux(&mut self) {
        let noisy = self.dice.chance(70);
        if noisy {
            self.noise();
        }
        for _ in 0..1 + self.dice.below(4) {
            if self.dice.chance(40) {
                let node = self.begin_maintenance();
                self.end_maintenance(node);
            } else {
                let who = self.standby();
                let back = self.strike(who);
                self.mend(vec![back], 8.0);
            }
            if noisy && self.dice.chance(40) {
                // What is on its way is overtaken by what comes after.
                self.act(Verb::Heal(Nothing {}));
                self.wait(0.05, 1.0);
                self.noise();
            }
        }
        if self.dice.chance(70) {
            self.wait(0.01, 3.0);
            let old = self.fell(Selector::Primary);
            self.mend(vec![Verb::StartService(old)], 15.0);
        }
        if noisy {
            self.act(Verb::Heal(Nothing {}));
        }
    }

    /// What the primary and the monitor say to each other comes late, twice, or out of order.
    fn noise(&mut self) {
        let between = [Selector::Primary, monitor()];
        let noise = match self.dice.below(5) {
            0 => Verb::Slow(Slow { between, by: self.dice.seconds(0.1, 3.0) }),
            1 => Verb::Repeat(Lossy { between, rate: 0.5 }),
            2 => Verb::Reorder(Slow { between, by: self.dice.seconds(0.5, 5.0) }),
            _ => Verb::Lose(Lossy { between, rate: *self.dice.pick(&[0.2, 0.5]) }),
        };
        self.act(noise);
    }

    pub fn hit_while_it_rejoins(&mut self) {
        let slow = self.dice.chance(40).then(|| {
            let (node, by) = (self.standby(), self.dice.seconds(2.0, 20.0));
            self.hit(Verb::SlowCheckpoint(Delay { node, by }))
        });
        self.wait(0.05, 1.0);
        let old = self.fell(Selector::Primary);
        self.wait(0.2, 15.0);
        self.act(Verb::StartService(old.clone()));
        for _ in 0..1 + self.dice.below(2) {
            self.wait(0.01, 5.0);
            let at_once = self.dice.chance(50);
            let who = if self.dice.chance(70) { old.clone() } else { Selector::Primary };
            let back = self.strike(who);
            if at_once {
                self.last_waits_for(old.clone(), NodeState::Catchingup);
            }
            self.mend(vec![back], 5.0);
        }
        if let Some(node) = slow {
            self.act(Verb::SlowCheckpoint(Delay { node, by: Duration::ZERO }));
        }
    }

    pub fn copy_is_cut_short(&mut self) {
        let standby = self.standby();
        let lost = match self.dice.below(4) {
            0 => self.hit(Verb::LoseDirectory(Selector::Primary)),
            1 => self.hit(Verb::LoseDirectory(standby)),
            _ => {
                let lost = self.hit(Verb::LoseDisk(standby));
                self.wait(0.05, 2.0);
                self.act(Verb::StartService(lost.clone()));
                lost
            }
        };
        for _ in 0..1 + self.dice.below(2) {
            self.wait(0.2, 15.0);
            let back = self.strike(lost.clone());
            self.mend(vec![back], 3.0);
        }
    }

    pub fn all_go_down(&mut self) {
        let monitor = self.dice.chance(40);
        if monitor {
            self.act(Verb::PowerOff(self::monitor()));
        }
        let nodes = self.dice.some(self.cast.nodes, self.cast.nodes.len());
        let mut back = Vec::new();
        let way: fn(Selector) -> Verb = *self.dice.pick(&[Verb::KillNode, Verb::PowerOff]);
        for name in nodes {
            self.act(way(Selector::Name(name.clone())));
            back.push(Verb::StartService(Selector::Name(name)));
            if self.dice.chance(60) {
                self.wait(0.01, 4.0);
            }
        }
        self.wait(0.1, 5.0);
        back.extend(monitor.then_some(Verb::StartMonitor(Nothing {})));
        self.mend(back, 12.0);
    }

    pub fn two_histories(&mut self) {
        let standby = self.standby();
        let apart = self.hit(Verb::Isolate(standby));
        self.act(Verb::KillKeeper(apart.clone()));
        self.wait(0.1, 8.0);
        let first = self.dice.chance(50);
        if first {
            self.act(Verb::RoguePromote(apart.clone()));
            self.wait(0.05, 2.0);
        }
        let old = self.fell(Selector::Primary);
        if !first {
            self.wait(0.05, 2.0);
            self.act(Verb::RoguePromote(apart.clone()));
        }
        self.wait(3.0, 12.0);
        self.act(Verb::Heal(Nothing {}));
        self.mend(vec![Verb::StartService(apart), Verb::StartService(old)], 10.0);
    }

    pub fn forgetful_monitor(&mut self) {
        let disk = OnDisk { node: None, whose: Whose::Monitor };
        let full = self.dice.chance(40);
        if full {
            let make: fn(OnDisk) -> Verb = *self.dice.pick(&[Verb::FillDisk, Verb::StallDisk]);
            self.act(make(disk.clone()));
        }
        let old = self.move_the_role();
        self.wait(0.01, 8.0);
        self.act(Verb::PowerOff(monitor()));
        self.wait(0.05, 8.0);
        if full {
            self.act(Verb::FreeDisk(disk));
        }
        self.act(Verb::StartMonitor(Nothing {}));
        self.mend(old.map(Verb::StartService).into_iter().collect(), 10.0);
    }

    pub fn forgetful_keeper(&mut self) {
        let node = self.standby();
        let on = |node| OnDisk { node: Some(node), whose: Whose::Keeper };
        let make: fn(OnDisk) -> Verb = *self.dice.pick(&[Verb::FillDisk, Verb::StallDisk]);
        let full = self.dice.chance(60).then(|| self.hit(make(on(node.clone()))));
        let old = self.move_the_role();
        self.wait(0.05, 6.0);
        let hit = match full {
            Some(hit) => {
                self.act(Verb::KillKeeper(hit.clone()));
                self.wait(0.05, 2.0);
                self.act(Verb::FreeDisk(on(hit.clone())));
                hit
            }
            None => self.hit(Verb::KillKeeper(node)),
        };
        let mut back = vec![Verb::StartService(hit)];
        back.extend(old.map(Verb::StartService));
        self.mend(back, 8.0);
    }

    pub fn sessions_go_on(&mut self) {
        let (refused, may_be_refused) = (None, true);
        if self.dice.chance(50) {
            let hit = self.hit(Verb::SmartStop(Selector::Primary));
            self.wait(0.01, 3.0);
            if self.dice.chance(50) {
                let back = self.strike(hit);
                self.mend(vec![back], 10.0);
            }
            return;
        }
        let hit = self.hit(Verb::StopBackend(Selector::Primary));
        self.wait(0.05, 2.0);
        self.act(Verb::Switchover(Ask { refused, may_be_refused }));
        self.wait(0.5, 10.0);
        self.act(Verb::ContinueBackend(hit));
    }

    pub fn votes_called_off(&mut self) {
        let (one, other) = (Selector::Standby(1), Selector::Standby(2));
        let missing = if self.dice.chance(50) { one } else { other };
        let missing = self.hit(Verb::Pause(missing));
        self.wait(0.01, 0.5);
        if self.dice.chance(50) {
            self.act(Verb::KillPostgres(Selector::Primary));
        } else {
            self.for_a_while(Verb::KillNode(Selector::Primary), Verb::StartService, 2.0);
        }
        self.wait(4.0, 12.0);
        self.act(Verb::Resume(missing));
    }

    pub fn node_leaves(&mut self) {
        let lossy = self.dice.chance(50);
        if lossy {
            self.act(Verb::Lose(Lossy { between: [Selector::Primary, monitor()], rate: 0.5 }));
        }
        let (node, force) = (self.standby(), self.dice.chance(50));
        let left = self.hit(Verb::Drop(DropNode { node, force, refused: None, may_be_refused: true }));
        self.wait(0.01, 4.0);
        if self.dice.chance(40) {
            let old = self.fell(Selector::Primary);
            self.mend(vec![Verb::StartService(old)], 15.0);
        }
        if lossy {
            self.act(Verb::Heal(Nothing {}));
        }
        self.wait(1.0, 15.0);
        // What it had as a member is nothing it may come back with.
        self.act(Verb::LoseDisk(left.clone()));
        self.act(Verb::StartService(left));
    }

    pub fn stalling_primary(&mut self) {
        let (refused, may_be_refused) = (None, true);
        let on = |node| OnDisk { node: Some(node), whose: Whose::Postgres };
        let hit = self.hit(Verb::StallDisk(on(Selector::Primary)));
        self.wait(0.01, 1.0);
        match self.dice.below(6) {
            0..3 => self.act(Verb::Isolate(hit.clone())),
            3 => self.act(Verb::KillPostgres(hit.clone())),
            4 => self.act(Verb::Switchover(Ask { refused, may_be_refused })),
            _ => {}
        }
        self.wait(3.0, 60.0);
        self.act(Verb::FreeDisk(on(hit)));
        self.wait(0.5, 5.0);
        self.act(Verb::Heal(Nothing {}));
    }

    pub fn upgrade(&mut self) {
        let speak =
            |node: &String, version| Verb::SpeakVersion(SpeakVersion { node: Selector::Name(node.clone()), version });
        self.act(Verb::KillMonitor(Nothing {}));
        let nodes = self.cast.nodes;
        nodes.iter().for_each(|node| self.act(speak(node, wire::VERSION + 1)));
        self.wait(0.1, 3.0);
        self.act(Verb::StartMonitor(Nothing {}));
        for node in self.dice.some(nodes, nodes.len()) {
            self.wait(0.1, 12.0);
            let end: fn(Selector) -> Verb = *self.dice.pick(&[Verb::KillKeeper, Verb::KillNode]);
            self.act(end(Selector::Name(node.clone())));
            self.wait(0.05, 2.0);
            self.act(speak(&node, wire::VERSION));
            self.act(Verb::StartService(Selector::Name(node)));
        }
    }
}
