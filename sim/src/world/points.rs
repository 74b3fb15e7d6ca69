//! The points of a run at which something is worth doing to it: every durable or visible effect of a process. A run
//! is played once to count them, and again with a trap at one of them. Until its trap springs a run is the same as
//! the one that was counted: passing a point draws no chance and takes no time.

use super::{Bell, MONITOR};
use crate::world::Fate;
use pgbaton_core::model::Moment;
use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a process is about to do, or has just done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A step of the keeper on its Postgres.
    BeginsStep(&'static str),
    /// Half of the time that the step takes has passed.
    AmidStep(&'static str),
    DidStep(&'static str),
    Stores,
    /// The records are durable, and the process doesn't know yet.
    Stored,
    Calls,
    IsAnswered,
    /// The monitor: by the machine named here.
    IsCalled(String),
    Answers(String),
}

impl Effect {
    /// What they are counted under.
    pub fn kind(&self) -> &'static str {
        match self {
            Effect::BeginsStep(_) => "begins a step",
            Effect::AmidStep(_) => "is amid a step",
            Effect::DidStep(_) => "has done a step",
            Effect::Stores => "stores",
            Effect::Stored => "has stored",
            Effect::Calls => "calls",
            Effect::IsAnswered => "is answered",
            Effect::IsCalled(_) => "is called",
            Effect::Answers(_) => "answers",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::BeginsStep(step) => write!(f, "begins {step}"),
            Effect::AmidStep(step) => write!(f, "is amid {step}"),
            Effect::DidStep(step) => write!(f, "has done {step}"),
            Effect::IsCalled(by) => write!(f, "is called by {by}"),
            Effect::Answers(whom) => write!(f, "answers {whom}"),
            Effect::Stores | Effect::Stored | Effect::Calls | Effect::IsAnswered => f.write_str(self.kind()),
        }
    }
}

/// One of them, as it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// From 1 on.
    pub number: usize,
    pub at: Moment,
    /// The machine of the process.
    pub host: String,
    pub effect: Effect,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Point { number, at, host, effect } = self;
        write!(f, "point {number}, {host} {effect} at {:.3} s", at.seconds())
    }
}

/// What is done at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Of the process alone.
    Kill,
    /// Of everything on the node.
    KillNode,
    /// What wasn't synced is lost, and nobody hears of it.
    PowerOff,
    /// The server is killed, and an init system starts it at once, or it does so where none ran.
    RestartServer,
    Pause,
    /// Its link, for a while.
    Cut,
    /// It was done, and the word of it never arrives.
    LoseReply,
}

impl Harm {
    pub const ALL: [Harm; 7] =
        [Harm::Kill, Harm::KillNode, Harm::PowerOff, Harm::RestartServer, Harm::Pause, Harm::Cut, Harm::LoseReply];

    pub fn name(self) -> &'static str {
        match self {
            Harm::Kill => "kill",
            Harm::KillNode => "kill-node",
            Harm::PowerOff => "power-off",
            Harm::RestartServer => "restart-server",
            Harm::Pause => "pause",
            Harm::Cut => "cut",
            Harm::LoseReply => "lose-reply",
        }
    }

    /// Whether it makes sense there.
    pub fn fits(self, point: &Point) -> bool {
        match self {
            Harm::KillNode => point.host != MONITOR,
            Harm::RestartServer => {
                matches!(point.effect, Effect::BeginsStep(_) | Effect::AmidStep(_) | Effect::DidStep(_))
            }
            Harm::LoseReply => {
                matches!(point.effect, Effect::DidStep(_) | Effect::Stored | Effect::IsAnswered | Effect::IsCalled(_))
            }
            Harm::Kill | Harm::PowerOff | Harm::Pause | Harm::Cut => true,
        }
    }
}

impl FromStr for Harm {
    type Err = String;

    fn from_str(text: &str) -> Result<Harm, String> {
        let known = Harm::ALL.map(Harm::name).join(", ");
        let found = Harm::ALL.into_iter().find(|h| h.name() == text);
        found.ok_or_else(|| format!("\"{text}\" is no harm; known are {known}"))
    }
}

/// What is done where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    pub point: Point,
    pub harm: Harm,
}

type Strike = Box<dyn FnOnce(&Trap) + Send>;

/// Shared by all processes of a run. By default nobody counts.
#[derive(Clone, Default)]
pub struct Points(Option<Arc<Shared>>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    bell: Bell,
}

#[derive(Default)]
struct State {
    /// Points count while the story is told, and not while its cluster is made.
    open: bool,
    passed: Vec<Point>,
    trap: Option<Trap>,
    strike: Option<Strike>,
    sprung: bool,
    mended: bool,
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Points")
    }
}

impl Points {
    pub fn counted() -> Points {
        Points(Some(Arc::default()))
    }

    pub fn trapped(trap: Trap) -> Points {
        let points = Points::counted();
        points.with(|state| state.trap = Some(trap));
        points
    }

    pub fn are_counted(&self) -> bool {
        self.0.is_some()
    }

    fn with<T: Default>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        self.0.as_ref().map(|shared| work(&mut shared.state.lock().unwrap())).unwrap_or_default()
    }

    pub fn begin(&self) {
        self.with(|state| state.open = true);
    }

    pub fn end(&self) {
        self.with(|state| state.open = false);
    }

    pub fn passed(&self) -> Vec<Point> {
        self.with(|state| state.passed.clone())
    }

    /// Who does the harm when the trap springs; it is called by the process that passes the point.
    pub fn on_spring(&self, strike: impl FnOnce(&Trap) + Send + 'static) {
        self.with(|state| state.strike = Some(Box::new(strike)));
    }

    pub fn has_sprung(&self) -> bool {
        self.with(|state| state.sprung)
    }

    /// What was done is undone.
    pub fn mended(&self) {
        self.with(|state| state.mended = true);
        if let Some(shared) = &self.0 {
            shared.bell.ring();
        }
    }

    pub async fn until_mended(&self) {
        let Some(shared) = &self.0 else { return };
        shared.bell.until(|| shared.state.lock().unwrap().mended.then_some(())).await;
    }

    /// Springs a trap that is set at a moment rather than at an act of a process. Every run that counts has this
    /// task: one more would change the order of all others.
    pub async fn watch_clock(self, fate: Fate) {
        let at = self.with(|state| match &state.trap {
            Some(Trap { point, .. }) if matches!(point.effect, Effect::AmidStep(_)) => Some(point.at),
            _ => None,
        });
        match at {
            Some(at) => fate.sleep_until(at).await,
            None => return fate.sleep(Duration::from_secs(u32::MAX.into())).await,
        }
        self.spring();
    }

    fn pass(&self, at: Moment, host: &str, effect: Effect) -> Option<Harm> {
        let harm = self.with(|state| {
            if !state.open {
                return None;
            }
            let number = state.passed.len() + 1;
            let counted = !matches!(effect, Effect::AmidStep(_));
            state.passed.push(Point { number, at, host: host.to_string(), effect });
            let here = |trap: &&Trap| counted && !state.sprung && trap.point.number == number;
            state.trap.as_ref().filter(here).map(|trap| trap.harm)
        })?;
        self.spring();
        Some(harm)
    }

    /// Outside of the lock: whoever strikes looks at the world.
    fn spring(&self) {
        let strike = self.with(|state| {
            state.sprung = true;
            state.strike.take().zip(state.trap.clone())
        });
        if let Some((strike, trap)) = strike {
            strike(&trap);
        }
    }

    /// What a process on this machine passes its points through.
    pub fn gate(&self, fate: &Fate, host: &str) -> Gate {
        Gate { points: self.clone(), fate: fate.clone(), host: host.to_string(), dead: Arc::default() }
    }
}

/// Of one life of a process: its clones belong to the same.
#[derive(Debug, Clone)]
pub struct Gate {
    points: Points,
    fate: Fate,
    host: String,
    /// The process was killed while it passed a point. The executor drops it before it runs it again, but what it is
    /// at it still ends.
    dead: Arc<AtomicBool>,
}

/// A step that takes less is over before anything could be done amid it: timers are no finer than that.
const LONG_STEP: Duration = Duration::from_millis(5);

impl Gate {
    /// For what can't wait.
    pub fn pass(&self, effect: impl FnOnce() -> Effect) -> Option<Harm> {
        if !self.points.are_counted() || self.is_dead() {
            return None;
        }
        let harm = self.points.pass(self.fate.now(), &self.host, effect())?;
        if matches!(harm, Harm::Kill | Harm::KillNode | Harm::PowerOff) {
            self.dead.store(true, Ordering::Relaxed);
        }
        Some(harm)
    }

    /// Nothing that the process does from here on may be seen.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// A process that is killed here never gets on, and one that is paused does when it is let go.
    pub async fn cross(&self, effect: impl FnOnce() -> Effect) -> Option<Harm> {
        let harm = self.pass(effect);
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        if harm == Some(Harm::Pause) {
            self.points.until_mended().await;
        }
        harm
    }

    /// A step from its begin to its end; true when the word of it is lost.
    pub async fn step<T>(&self, name: &'static str, work: impl Future<Output = T>) -> (T, bool) {
        self.cross(|| Effect::BeginsStep(name)).await;
        let began = self.fate.now();
        let done = work.await;
        let took = self.fate.now().since(began);
        if took >= LONG_STEP && self.points.are_counted() {
            self.points.pass(began + took / 2, &self.host, Effect::AmidStep(name));
        }
        let harm = self.cross(|| Effect::DidStep(name)).await;
        (done, harm == Some(Harm::LoseReply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::on_fresh_thread;

    fn passing(points: Points, struck: Arc<Mutex<Vec<String>>>) -> Result<Vec<Option<Harm>>, String> {
        on_fresh_thread(1, move || async move {
            let gate = points.gate(&Fate::current(), "a");
            points.on_spring(move |trap| struck.lock().unwrap().push(trap.point.to_string()));
            let mut harms = vec![gate.pass(|| Effect::Calls)];
            points.begin();
            harms.push(gate.pass(|| Effect::Stores));
            harms.push(gate.cross(|| Effect::Stored).await);
            points.end();
            harms.push(gate.pass(|| Effect::Calls));
            harms
        })
    }

    #[test]
    fn a_trap_springs_once_at_the_point_that_was_counted() {
        let struck: Arc<Mutex<Vec<String>>> = Arc::default();
        let counted = Points::counted();
        assert_eq!(passing(counted.clone(), struck.clone()), Ok(vec![None; 4]));
        let points = counted.passed();
        assert_eq!(points.iter().map(|p| p.effect.kind()).collect::<Vec<_>>(), ["stores", "has stored"]);
        assert!(struck.lock().unwrap().is_empty());
        let trapped = Points::trapped(Trap { point: points[1].clone(), harm: Harm::LoseReply });
        assert_eq!(passing(trapped.clone(), struck.clone()), Ok(vec![None, None, Some(Harm::LoseReply), None]));
        assert!(trapped.has_sprung());
        assert_eq!(*struck.lock().unwrap(), [points[1].to_string()]);
        assert_eq!(passing(Points::default(), struck), Ok(vec![None; 4]));
    }

    #[test]
    fn every_harm_is_found_by_its_name_and_others_are_not() {
        for harm in Harm::ALL {
            assert_eq!(harm.name().parse(), Ok(harm));
        }
        assert!("flood".parse::<Harm>().unwrap_err().contains("known are kill, kill-node"));
    }

    #[test]
    fn harms_go_where_they_make_sense() {
        let at = |host: &str, effect| Point { number: 1, at: Moment::ZERO, host: host.into(), effect };
        assert!(!Harm::KillNode.fits(&at(MONITOR, Effect::Stored)));
        assert!(Harm::LoseReply.fits(&at(MONITOR, Effect::Stored)));
        assert!(!Harm::LoseReply.fits(&at("a", Effect::Stores)));
    }
}
