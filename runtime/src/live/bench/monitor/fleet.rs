//! Thousands of nodes, each with connections of its own to the monitor, in groups of three and of two.

use super::node::Node;
use crate::ports::HttpLink;
use anyhow::{Context, Result, bail, ensure};
use futures_util::stream::{FuturesUnordered, StreamExt};
use pgbaton_core::model::{NodeId, NodeState};
use pgbaton_core::ports::{Link, LinkError};
use pgbaton_core::wire::{self, Answer, Register, Request};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

/// As keepers have it: one call that waits for news and one that brings some.
const MOST_CALLS: usize = 2;
const HEARTBEAT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
/// Groups that are made at the same time. Each takes a dozen commits, one after the other.
const MADE_AT_ONCE: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A report a second.
    Heartbeat,
    /// The next report as soon as one is answered.
    FlatOut,
}

enum Order {
    Die,
}

/// What a node shows of itself here.
#[derive(Debug, Clone, Copy)]
struct Shown {
    state: NodeState,
    settled: bool,
}

struct Member {
    shown: watch::Sender<Shown>,
    orders: mpsc::UnboundedSender<Order>,
}

#[derive(Default)]
struct Group {
    members: Mutex<Vec<Arc<Member>>>,
    /// When its primary's death was reported, until somebody is told to take over.
    died: Mutex<Option<Instant>>,
}

/// What all nodes share.
struct Shared {
    url: String,
    pace: watch::Receiver<Pace>,
    answered: AtomicU64,
    takeovers: mpsc::UnboundedSender<Duration>,
}

pub struct Fleet {
    groups: Vec<Arc<Group>>,
    shared: Arc<Shared>,
    pace: watch::Sender<Pace>,
    takeovers: mpsc::UnboundedReceiver<Duration>,
    tasks: JoinSet<Result<()>>,
}

/// As many groups as there are nodes for with 700 of 2,000: one in seven has two nodes, the others three.
pub fn sizes(nodes: usize) -> Vec<usize> {
    let groups = (nodes * 7).div_ceil(20).max(1);
    (0..groups).map(|i| nodes / groups + usize::from(i < nodes % groups)).collect()
}

impl Fleet {
    pub fn new(url: &str) -> Fleet {
        let (pace, followed) = watch::channel(Pace::Heartbeat);
        let (sender, takeovers) = mpsc::unbounded_channel();
        let shared = Shared { url: url.to_string(), pace: followed, answered: AtomicU64::new(0), takeovers: sender };
        Fleet { groups: Vec::new(), shared: Arc::new(shared), pace, takeovers, tasks: JoinSet::new() }
    }

    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Registers all nodes, and waits until every group has a primary and nothing but secondaries.
    pub async fn assemble(&mut self, nodes: usize, done: impl Fn()) -> Result<()> {
        let mut making = FuturesUnordered::new();
        for (number, size) in sizes(nodes).into_iter().enumerate() {
            if making.len() == MADE_AT_ONCE {
                self.add(making.next().await)?;
                done();
            }
            making.push(make_group(u32::try_from(number)?, size, Arc::clone(&self.shared)));
        }
        while let Some(made) = making.next().await {
            self.add(Some(made))?;
            done();
        }
        Ok(())
    }

    fn add(&mut self, made: Option<Result<Made>>) -> Result<()> {
        let Made { group, mut tasks } = made.context("nothing is being made")??;
        self.groups.push(group);
        self.tasks.spawn(async move {
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            Ok(())
        });
        Ok(())
    }

    pub fn set_pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    /// Reports answered until now.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// A node has given up, which none should.
    pub fn check(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(ended) => ended?.and_then(|()| bail!("the nodes of a group have ended")),
        }
    }

    /// From the report that the group's primary is dead until another node has been told to take over.
    pub async fn kill_primary(&mut self, index: usize) -> Result<Duration> {
        let group = &self.groups[index % self.groups.len()];
        let members = group.members();
        ensure!(members.iter().all(|m| m.shown.borrow().settled), "the group hasn't settled since its last death");
        let primary = members.iter().find(|m| m.shown.borrow().state == NodeState::Primary);
        primary.context("there is no primary")?.orders.send(Order::Die)?;
        let taken = tokio::time::timeout(PATIENCE, self.takeovers.recv()).await.context("nobody takes over")?;
        taken.context("all nodes have ended")
    }
}

impl Group {
    fn members(&self) -> Vec<Arc<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn death(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.died.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Made {
    group: Arc<Group>,
    tasks: JoinSet<Result<()>>,
}

/// One node after the other, as operators do it.
async fn make_group(number: u32, size: usize, shared: Arc<Shared>) -> Result<Made> {
    let mut made = Made { group: Arc::default(), tasks: JoinSet::new() };
    for place in 0..size {
        let link = HttpLink::new(&shared.url);
        let id = register(&link, number, place).await?;
        let (orders, to_do) = mpsc::unbounded_channel();
        let shown = watch::Sender::new(Shown { state: NodeState::Init, settled: false });
        let member = Arc::new(Member { shown, orders });
        made.group.members.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&member));
        let node = Node::new(id, u64::from(number) + 1);
        let keeper = Keeper { node, link, member, group: Arc::clone(&made.group), shared: Arc::clone(&shared) };
        made.tasks.spawn(keeper.run(to_do));
    }
    for member in made.group.members() {
        let mut shown = member.shown.subscribe();
        let well = |s: &Shown| s.settled && matches!(s.state, NodeState::Primary | NodeState::Secondary);
        let settled = tokio::time::timeout(PATIENCE, shown.wait_for(well)).await;
        settled.with_context(|| format!("group {number} doesn't settle"))??;
    }
    Ok(made)
}

async fn register(link: &HttpLink, group: u32, place: usize) -> Result<NodeId> {
    let [high, low] = u16::try_from(group)?.to_be_bytes();
    let ask = Register {
        formation: "default".into(),
        group,
        name: format!("node-{group}-{place}"),
        // Nobody listens there.
        host: format!("127.{high}.{low}.{}", place + 1),
        port: 1,
        candidate_priority: 50,
        replication_quorum: true,
        system_id: None,
        again: None,
    };
    match wire::decode(&link.call(wire::encode(&Request::Register(ask)), PATIENCE).await?)? {
        Answer::Registered { node, .. } => Ok(node),
        other => bail!("a registration was answered with {other:?}"),
    }
}

struct Keeper {
    node: Node,
    link: HttpLink,
    member: Arc<Member>,
    group: Arc<Group>,
    shared: Arc<Shared>,
}

impl Keeper {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<()> {
        let mut calls = FuturesUnordered::new();
        let mut pace = self.shared.pace.clone();
        // Nobody starts all nodes at the same moment.
        let first = HEARTBEAT.mul_f64(rand::random());
        let mut beats = interval_at(tokio::time::Instant::now() + first, HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut news = true;
        loop {
            let flat_out = *pace.borrow_and_update() == Pace::FlatOut;
            if (news || flat_out) && calls.len() < MOST_CALLS {
                calls.push(self.call());
                news = false;
            }
            self.member.shown.send_replace(Shown { state: self.node.state, settled: self.node.is_settled() });
            tokio::select! {
                Some(answer) = calls.next() => news |= self.answered(answer)?,
                _ = beats.tick(), if !flat_out => news = true,
                changed = pace.changed() => changed?,
                Some(Order::Die) = orders.recv() => {
                    self.node.dies();
                    *self.group.death() = Some(Instant::now());
                    news = true;
                }
            }
        }
    }

    /// A report under way. It owns what it needs, so that the node can go on.
    fn call(&mut self) -> impl Future<Output = Result<Vec<u8>, LinkError>> + use<> {
        let report = Request::Report(Box::new(self.node.report()));
        let (link, message) = (self.link.clone(), wire::encode(&report));
        async move { link.call(message, PATIENCE).await }
    }

    /// Whether there is something to say now.
    fn answered(&mut self, answer: Result<Vec<u8>, LinkError>) -> Result<bool> {
        self.shared.answered.fetch_add(1, Ordering::Relaxed);
        let Answer::Assignment(told) = wire::decode(&answer?)? else {
            bail!("a report was answered with no assignment")
        };
        let takes_over = told.goal.is_being_promoted() && !self.node.state.is_being_promoted();
        let news = self.node.take(*told);
        if let Some(died) = self.group.death().take_if(|_| takes_over && news) {
            self.shared.takeovers.send(died.elapsed())?;
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thousand_nodes_are_seven_hundred_groups_of_three_and_of_two() {
        let all = sizes(2000);
        assert_eq!((all.len(), all.iter().sum::<usize>()), (700, 2000));
        assert!(all.iter().all(|size| matches!(size, 2 | 3)));
        assert_eq!(sizes(100).iter().sum::<usize>(), 100);
        assert_eq!(sizes(2), [2]);
    }
}
