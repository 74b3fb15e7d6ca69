//! Plays cases on one group, each several times: a harm, the answer to it, what was harmed comes back, and then, while
//! the client goes on, the rows are read. A group that has settled again is as good as a new one.

use super::super::clients::{self, Clients, Target};
use super::super::cluster::Cluster;
use super::super::ledger::Ledger;
use super::super::narrate::Narrator;
use super::super::play::Play;
use super::super::reaper::{KillAtTheEnd, Reaper};
use super::case::{Case, Harm};
use super::parts::{self, CLIENT, IDLE, Mark, Part, UNACCOUNTED};
use super::report::Report;
use anyhow::{Context, Result, bail, ensure};
use pgbaton_core::model::{GroupKey, Moment, NodeState};
use pgbaton_core::monitor::rules::OPENED;
use pgbaton_core::scenario::{Scenario, Workload, parse};
use pgbaton_core::wire::{Answer, Command, EventRow, Request};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A group has answered and settled by then, or something is wrong.
pub const WITHIN: Duration = Duration::from_secs(60);
/// Writes go on for this long before the next harm.
pub const REST: Duration = Duration::from_secs(1);
/// What should go unnoticed raises no event: it is looked at for this long.
const LOOKED_AT: Duration = Duration::from_secs(3);
/// An outage may come in two pieces.
const TAIL: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// The longest time between two acknowledgements that the harm may have caused.
    pub outage: f64,
    /// The same while what was harmed came back.
    pub outage_at_return: f64,
    /// Acknowledged without a warning, and not there when the group had settled again.
    pub lost: usize,
    pub parts: Vec<Part>,
}

/// One client that inserts a row every 10 ms, and every setting as it comes.
fn story(nodes: usize) -> Result<Scenario> {
    let names: Vec<String> = (1..=nodes).map(|i| format!("\"node{i}\"")).collect();
    let text = format!(
        "title = \"Bench\"\n[cluster]\nnodes = [{}]\nprimary = \"node1\"\n\
         [[workload]]\nkind = \"unique_inserts\"\nclients = 1\nrate = \"100/s\"\n\
         [finally]\nconverge = \"60s\"\ninvariants = \"all\"\n",
        names.join(", ")
    );
    Ok(parse("bench", &text)?)
}

pub fn workload() -> Workload {
    story(2).expect("a story as above").workload.remove(0)
}

/// How long the monitor bears the silence of a node.
pub fn detection() -> Duration {
    story(2).expect("a story as above").monitor.node_considered_unhealthy_timeout
}

/// A directory for a run, spelt as the kernel does.
pub fn home() -> Result<(TempDir, PathBuf)> {
    let temporary = tempfile::Builder::new().prefix("pgbaton-bench-").tempdir_in("/tmp")?;
    let base = temporary.path().canonicalize()?;
    std::fs::set_permissions(&base, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok((temporary, base))
}

pub async fn play(cases: &[Case], runs: u32, reaper: &Reaper, report: &mut Report, done: &impl Fn(&str)) -> Result<()> {
    let Some(Case { nodes, .. }) = cases.first() else { return Ok(()) };
    let (_temporary, base) = home()?;
    let _nothing_lives_on = KillAtTheEnd::AtHome(base.clone());
    let scenario = story(*nodes)?;
    let cluster = Cluster::lay_out(&base, None, &scenario, reaper.clone())?;
    let mut play = Play::new(&scenario, cluster, Narrator::quiet())?;
    play.boot().await?;
    let servers = play.cluster.nodes.iter().enumerate();
    // Past the proxies of the network, as in a world without them.
    let target = |(i, node): (usize, &super::super::cluster::Node)| Target {
        node: node.name.clone(),
        address: play.cluster.addresses.server(i),
        dbname: "postgres".into(),
    };
    let targets: Arc<Vec<Target>> = Arc::new(servers.map(target).collect());
    clients::make_table(&targets).await?;
    let ledger = Arc::new(Ledger::begin());
    let clients = Clients::inserters(&scenario.workload, &targets, &ledger, 1);
    let mut course = Course { play, ledger, targets, known_lost: BTreeSet::new() };
    for case in cases {
        for _ in 0..runs {
            let run = course.run(case.harm).await.with_context(|| case.name())?;
            report.add(*case, run);
            done(&case.name());
        }
    }
    course.ledger.stop();
    clients.stop().await
}

struct Course<'a> {
    play: Play<'a>,
    ledger: Arc<Ledger>,
    targets: Arc<Vec<Target>>,
    /// A lost row is counted once.
    known_lost: BTreeSet<u64>,
}

/// Who is who when the harm is done.
struct Roles {
    primary: String,
    standby: String,
}

impl Course<'_> {
    async fn run(&mut self, harm: Harm) -> Result<Run> {
        self.settle().await?;
        tokio::time::sleep(REST).await;
        self.until_acknowledged(None).await?;
        let roles = self.roles()?;
        let last_event = self.play.watch.all_events().await?.last().map_or(0, |e| e.eventid);
        let (fault, since) = (self.ledger.now(), Instant::now());
        self.inflict(harm, &roles).await?;
        self.until_answered(harm, &roles, since).await?;
        tokio::time::sleep(TAIL).await;
        let answered = self.ledger.now();
        self.mend(harm, &roles)?;
        self.settle().await?;
        let events = self.play.watch.all_events().await?;
        let events: Vec<EventRow> = events.into_iter().filter(|e| e.eventid > last_event).collect();
        let acks = self.ledger.acks();
        let (from, to) = longest(&acks, fault, answered).context("nothing was acknowledged")?;
        let (marks, rest) = self.marks(harm, &roles, fault, &events);
        let (from_2, to_2) = longest(&acks, answered, self.ledger.now()).unwrap_or((answered, answered));
        Ok(Run {
            outage: to.since(from).as_secs_f64(),
            outage_at_return: to_2.since(from_2).as_secs_f64(),
            lost: self.newly_lost().await?,
            parts: parts::split(from, to, &marks, rest),
        })
    }

    async fn settle(&mut self) -> Result<()> {
        let settled = self.play.settles(WITHIN).await;
        ensure!(settled, "the group doesn't settle: {}", self.play.watch.describe());
        Ok(())
    }

    fn roles(&self) -> Result<Roles> {
        let rows = self.play.watch.rows();
        let named = |state| rows.iter().find(|row| row.current_group_state == state).map(|row| row.nodename.clone());
        let primary = named(NodeState::Primary).context("there is no primary")?;
        Ok(Roles { primary, standby: named(NodeState::Secondary).context("there is no standby")? })
    }

    async fn inflict(&mut self, harm: Harm, roles: &Roles) -> Result<()> {
        let cluster = &mut self.play.cluster;
        match harm {
            Harm::Switchover => {
                let key = GroupKey { formation: cluster.formation.clone(), group: 0 };
                let command = Command::Failover { key, to: None, from: None, allow_data_loss: false };
                match self.play.operator.ask(&Request::Command(command), PATIENCE).await? {
                    Answer::Accepted { .. } => Ok(()),
                    other => bail!("the switchover was answered with {other:?}"),
                }
            }
            Harm::ServiceStop => cluster.stop_service(&roles.primary).await,
            Harm::PostmasterKilled => cluster.kill_postgres(&roles.primary),
            Harm::NodeKilled => cluster.kill_nodes(std::slice::from_ref(&roles.primary)).await,
            Harm::NodeFrozen => cluster.pause(&roles.primary),
            Harm::StandbyKilled => cluster.kill_nodes(std::slice::from_ref(&roles.standby)).await,
            Harm::MonitorKilled => cluster.kill_monitor().await,
        }
    }

    async fn until_answered(&mut self, harm: Harm, roles: &Roles, since: Instant) -> Result<()> {
        if !harm.moves_the_role() {
            tokio::time::sleep(LOOKED_AT).await;
            return self.until_acknowledged(None).await;
        }
        self.until_acknowledged(Some(&roles.primary)).await?;
        // The monitor's account of it.
        loop {
            self.play.watch.look().await;
            let mut rows = self.play.watch.rows().iter();
            if rows.any(|row| row.nodename != roles.primary && row.current_group_state.is_writable()) {
                return Ok(());
            }
            ensure!(since.elapsed() < WITHIN, "no new primary: {}", self.play.watch.describe());
            tokio::time::sleep(TICK).await;
        }
    }

    /// A write that is sent from now on, by another node than `except`.
    async fn until_acknowledged(&self, except: Option<&str>) -> Result<()> {
        let since = Instant::now();
        while !self.ledger.is_writable(since, except) {
            ensure!(since.elapsed() < WITHIN, "writes are out for good: {}", self.play.watch.describe());
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    fn mend(&mut self, harm: Harm, roles: &Roles) -> Result<()> {
        let cluster = &mut self.play.cluster;
        match harm {
            Harm::Switchover | Harm::PostmasterKilled => Ok(()),
            Harm::ServiceStop | Harm::NodeKilled => cluster.start_service(&roles.primary),
            Harm::NodeFrozen => cluster.resume(&roles.primary),
            Harm::StandbyKilled => cluster.start_service(&roles.standby),
            Harm::MonitorKilled => cluster.start_monitor(),
        }
    }

    fn marks(&self, harm: Harm, roles: &Roles, fault: Moment, events: &[EventRow]) -> (Vec<Mark>, &'static str) {
        let mut marks = vec![(IDLE, fault)];
        let at = |event: &EventRow| self.ledger.wall_moment(event.eventtime);
        if harm.moves_the_role() {
            let opened = events.iter().find(|e| e.rule_pos == Some(OPENED));
            return match opened.and_then(|e| parts::stages(at(e), &e.description)) {
                Some(stages) => {
                    marks.extend(stages);
                    (marks, CLIENT)
                }
                None => (marks, UNACCOUNTED),
            };
        }
        let alone = NodeState::WaitPrimary;
        let mut of_primary = events.iter().filter(|e| e.nodename == roles.primary && e.goalstate == alone);
        if let Some(told) = of_primary.clone().find(|e| e.rule_pos.is_some()) {
            marks.push(("detect", at(told)));
        }
        if let Some(open) = of_primary.find(|e| e.reportedstate == alone) {
            marks.push(("degrade", at(open)));
        }
        (marks, CLIENT)
    }

    async fn newly_lost(&mut self) -> Result<usize> {
        let promised = self.ledger.promised();
        let mut rows = self.play.watch.rows().iter();
        let open = rows.find(|row| row.current_group_state.is_writable()).context("no primary to read from")?;
        let target = self.targets.iter().find(|t| t.node == open.nodename).context("an unknown primary")?;
        let found = clients::ids_on(target).await?;
        let lost: BTreeSet<u64> = promised.difference(&found).copied().collect();
        let new = lost.difference(&self.known_lost).count();
        self.known_lost.extend(lost);
        Ok(new)
    }
}

/// The longest time between two acknowledgements that reaches into what lies between `from` and `until`.
fn longest(acks: &[Moment], from: Moment, until: Moment) -> Option<(Moment, Moment)> {
    let gaps = acks.iter().copied().zip(acks.iter().copied().skip(1));
    gaps.filter(|(start, end)| *end > from && *start < until).max_by_key(|(start, end)| end.since(*start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_the_longest_silence_that_the_harm_may_have_caused() {
        let acks = [0, 500, 510, 600, 640, 2000].map(|ms| Moment(ms * 1000));
        let of = |from: u64, until: u64| longest(&acks, Moment(from * 1000), Moment(until * 1000));
        assert_eq!(of(505, 640), Some((acks[2], acks[3])));
        assert_eq!(of(505, 650), Some((acks[4], acks[5])));
        assert_eq!(of(2000, 2500), None);
    }

    #[test]
    fn the_bench_plays_with_default_settings() {
        let story = story(3).unwrap();
        assert_eq!((story.monitor, story.keeper), Default::default());
        assert_eq!((story.cluster.nodes.len(), story.workload[0].rate), (3, 100.0));
    }
}
