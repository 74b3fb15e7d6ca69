use super::calling::USUAL_CALLS;
use super::testing::*;
use super::*;
use crate::keeper::plan::testing::{any, down, none, open, record, standby, upstream};
use crate::ports::StopMode;
use crate::shell::commit::testing::Mood;
use crate::stored;
use crate::wire::{self, Answer};
use futures_util::FutureExt;

const LEASE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

fn told(state: NodeState, goal: NodeState, contract: Contract) -> KeeperRecord {
    let assignment = Assignment { contract: Some(contract.clone()), ..Assignment::new(Epoch(3), goal) };
    KeeperRecord { assignment: Some(assignment), ..record(state, Some(contract)) }
}

fn leased() -> KeeperRecord {
    let mut record = told(NodeState::Primary, NodeState::Primary, none(4));
    record.assignment.as_mut().unwrap().lease_ms = Some(LEASE.as_millis() as u64);
    record
}

fn peer(node: u32) -> Peer {
    Peer { node: NodeId(node), host: "there".into(), port: 5432 }
}

/// Open, and not yet with a checkpoint on its timeline.
fn just_promoted() -> Facts {
    let mut facts = open(None);
    let Server::Up(running) = &mut facts.server else { unreachable!() };
    running.position.tli = Timeline(2);
    facts
}

fn hanging() -> [Ports; 3] {
    [ports(just_promoted(), "checkpoint"), ports(just_promoted(), "admit"), ports(down(), "start")]
}

#[test]
fn a_lease_that_ends_waits_for_no_step_but_the_stop() {
    for ports in hanging() {
        let mut keeper = keeper(&ports, leased());
        run(&mut keeper);
        let hangs = ports.postgres.hangs;
        assert!(ports.postgres.has(hangs) && !ports.postgres.has("stop"), "{hangs}");
        ports.clock.pass(LEASE);
        run(&mut keeper);
        assert!(ports.postgres.has("stop"), "{hangs}");
        assert_eq!(keeper.record.state, NodeState::DemoteTimeout, "{hangs}");
    }
    let draining = ports(just_promoted(), "checkpoint");
    let mut keeper = keeper(&draining, leased());
    at_once(keeper.take(Assignment::new(Epoch(4), NodeState::Draining)));
    run(&mut keeper);
    assert!(draining.postgres.has("checkpoint"));
    draining.clock.pass(LEASE);
    run(&mut keeper);
    assert!(draining.postgres.has("stop"), "it is told to close, and has not closed yet");
}

/// Open already, and that it is, or what it is told next, can't be stored.
#[test]
fn a_lease_that_ends_waits_for_no_disk() {
    let mut just_opened = leased();
    just_opened.state = NodeState::DemoteTimeout;
    for record in [just_opened, leased()] {
        let state = record.state;
        let ports = ports(open(None), "");
        let mut keeper = keeper(&ports, record);
        keeper.memory.confirmed = Some(state);
        run(&mut keeper);
        ports.store.moods.lock().unwrap().push(Mood::Hangs);
        let epoch = Epoch(4);
        let stores = pin!(keeper.store(KeeperRecord { epoch, ..keeper.record.clone() }));
        let mut stores = stores;
        assert!(stores.as_mut().now_or_never().is_none() && !ports.postgres.has("stop"), "{state}");
        ports.clock.pass(LEASE);
        assert!(stores.as_mut().now_or_never().is_none(), "{state}");
        assert!(ports.postgres.has("stop"), "{state}");
    }
}

/// Another leads, and this can't be stored: it closes as one that has heard nothing would. Told anything else it goes on.
#[test]
fn one_that_is_told_to_close_does_so_however_long_the_disk_takes() {
    for (goal, closes) in [(NodeState::Demoted, true), (NodeState::Primary, false)] {
        let ports = ports(open(None), "");
        let mut keeper = keeper(&ports, told(NodeState::Primary, NodeState::Primary, any(4)));
        keeper.memory.confirmed = Some(NodeState::Primary);
        run(&mut keeper);
        ports.store.moods.lock().unwrap().push(Mood::Hangs);
        let assignment = Assignment { contract: closes.then(|| any(4)), ..Assignment::new(Epoch(4), goal) };
        let mut taking = pin!(keeper.take(assignment));
        assert!(taking.as_mut().now_or_never().is_none() && !ports.postgres.has("stop"));
        ports.clock.pass(Duration::from_secs(60));
        assert!(taking.as_mut().now_or_never().is_none());
        assert_eq!(ports.postgres.has("stop"), closes, "{goal}");
    }
}

/// The monitor takes a broken connection and a refused one for proof that it is closed, unless it knew it closed before.
#[test]
fn a_server_under_a_lease_is_started_once_the_monitor_knows_that_it_was_down() {
    for (closed, done) in [(down(), vec!["kill".to_string()]), (standby(), vec![])] {
        let ports = ports(closed, "");
        let mut keeper = keeper(&ports, leased());
        keeper.facts = open(None);
        keeper.seq = 1;
        keeper.memory.confirmed = Some(NodeState::Primary);
        run(&mut keeper);
        assert_eq!((&*ports.postgres.done.lock().unwrap(), keeper.report().asks), (&done, true));
        at_once(keeper.answered(key(&ports, 1), unchanged(&keeper)));
        run(&mut keeper);
        assert!(!ports.postgres.has("start"), "it answers to what was said before");
        at_once(keeper.answered(key(&ports, 2), unchanged(&keeper)));
        run(&mut keeper);
        assert!(ports.postgres.has("start"));
    }
}

fn key(ports: &Ports, seq: u64) -> CallKey {
    CallKey { seq, sent: ports.clock.now(), state: NodeState::Primary }
}

fn unchanged(keeper: &TestKeeper) -> Result<Vec<u8>, LinkError> {
    Ok(wire::encode(&Answer::Assignment(Box::new(keeper.record.assignment.clone().unwrap()))))
}

/// The stop has been planned and not begun, when an answer brings something to store.
#[test]
fn a_lease_that_has_ended_waits_for_no_disk_before_its_stop_either() {
    let ports = ports(open(None), "");
    let mut keeper = keeper(&ports, leased());
    run(&mut keeper);
    ports.clock.pass(LEASE);
    let now = ports.clock.now();
    keeper.close_alone(now);
    at_once(keeper.act(now));
    assert!(keeper.step.is_some() && !ports.postgres.has("stop"));
    ports.store.moods.lock().unwrap().push(Mood::Hangs);
    assert!(keeper.take(Assignment::new(Epoch(4), NodeState::Primary)).now_or_never().is_none());
    assert!(ports.postgres.has("stop"));
}

#[test]
fn the_next_keeper_closes_what_it_can_not_speak_for_in_time() {
    let ports = ports(open(None), "");
    ports.store.held.lock().unwrap().records.insert(KEEPER.into(), stored::encode(&leased()));
    ports.store.moods.lock().unwrap().push(Mood::Hangs);
    let mut begins = pin!(begin_session(&ports, PAUSE, ports.clock.now()));
    assert!(begins.as_mut().now_or_never().is_none() && !ports.postgres.has("stop"));
    ports.clock.pass(LEASE / 40);
    assert!(begins.as_mut().now_or_never().is_none() && ports.postgres.has("stop"));
}

/// What it has stored is that it is a primary: as long as it says so, the monitor waits for it.
#[test]
fn one_that_has_closed_and_can_not_store_it_falls_silent_until_it_can() {
    let ports = ports(down(), "");
    let mut keeper = keeper(&ports, leased());
    keeper.memory.told_closed = false;
    ports.store.moods.lock().unwrap().extend([Mood::Fails; 9]);
    run(&mut keeper);
    ports.clock.pass(LEASE);
    run(&mut keeper);
    let said = keeper.seq;
    ports.clock.pass(LEASE / 4);
    run(&mut keeper);
    assert_eq!((keeper.record.state, keeper.seq), (NodeState::Primary, said));
    ports.store.moods.lock().unwrap().clear();
    ports.clock.pass(LEASE / 4);
    run(&mut keeper);
    assert_eq!(keeper.record.state, NodeState::DemoteTimeout);
    assert!(keeper.seq > said);
}

#[test]
fn a_stop_that_outlasts_its_lease_is_cut_short_and_one_for_a_handover_is_not() {
    for (goal, speaks) in [(NodeState::Primary, false), (NodeState::DemoteTimeout, true), (NodeState::Draining, true)] {
        let ports = ports(open(None), "stop");
        let record = leased();
        let given = Assignment { goal, ..record.assignment.clone().unwrap() };
        let mut keeper = keeper(&ports, KeeperRecord { assignment: Some(given), ..record });
        let passes = |keeper: &mut TestKeeper, time: Duration| {
            ports.clock.pass(time);
            keeper.heard = if speaks { ports.clock.now() } else { keeper.heard };
            run(keeper);
        };
        run(&mut keeper);
        passes(&mut keeper, if speaks { Duration::ZERO } else { LEASE });
        passes(&mut keeper, LEASE / 20 - Duration::from_millis(1));
        assert!(ports.postgres.has("stop") && !ports.postgres.has("kill"), "{goal}");
        passes(&mut keeper, Duration::from_millis(1));
        assert_eq!(ports.postgres.has("kill"), goal != NodeState::Draining, "{goal}");
        assert_eq!(keeper.record.state == NodeState::DemoteTimeout, goal != NodeState::Draining, "{goal}");
    }
}

#[test]
fn what_a_dead_postmaster_has_left_is_ended_once_before_the_role_is_left() {
    for goal in [NodeState::DemoteTimeout, NodeState::Draining] {
        let ports = ports(down(), "");
        let record = leased();
        let given = Assignment { goal, ..record.assignment.clone().unwrap() };
        let mut keeper = keeper(&ports, KeeperRecord { assignment: Some(given), ..record });
        run(&mut keeper);
        assert_eq!((keeper.record.state, &*ports.postgres.done.lock().unwrap()), (goal, &vec!["kill".to_string()]));
    }
    let ports = ports(down(), "");
    let mut keeper = keeper(&ports, leased());
    keeper.memory.told = false;
    run(&mut keeper);
    assert!(keeper.record.state == NodeState::DemoteTimeout && ports.postgres.has("kill"), "in an earlier life");
}

#[test]
fn a_stop_under_way_is_not_given_up_for_another() {
    let stopping = ports(just_promoted(), "stop");
    let mut keeper = keeper(&stopping, leased());
    keeper.plan.push_back(Step::Stop(StopMode::Fast));
    run(&mut keeper);
    stopping.clock.pass(LEASE);
    run(&mut keeper);
    assert_eq!(stopping.postgres.done.lock().unwrap().iter().filter(|done| *done == "stop").count(), 1);
}

#[test]
fn a_primary_names_its_contract_and_when_it_was_given_the_role_until_another_holds_it() {
    use NodeState::*;
    for (state, goal, led_in, names, deposed) in [
        (Primary, Primary, 4, true, false),
        (StopReplication, WaitPrimary, 4, true, false),
        (DemoteTimeout, Primary, 4, true, false),
        (Primary, Draining, 3, true, false),
        (DemoteTimeout, Draining, 3, true, false),
        (Primary, Demoted, 3, false, true),
        (DemoteTimeout, Catchingup, 3, false, true),
        (Demoted, Catchingup, 3, false, false),
    ] {
        let ports = ports(open(None), "nothing");
        let mut keeper = keeper(&ports, KeeperRecord { led_in: Epoch(3), ..told(state, Primary, any(4)) });
        let contract = goal.is_writable().then(|| any(5));
        let given = Assignment { contract, led_in: Epoch(4), ..Assignment::new(Epoch(4), goal) };
        assert!(at_once(keeper.take(given)));
        assert_eq!((keeper.record.epoch, keeper.record.led_in), (Epoch(4), Epoch(led_in)), "{state} {goal}");
        assert_eq!((keeper.leads_under().is_some(), keeper.is_deposed()), (names, deposed), "{state} {goal}");
    }
}

#[test]
fn the_number_of_a_timeline_is_known_as_long_as_the_role_was_given_with_it() {
    let ports = idle();
    let mut keeper = keeper(&ports, record(NodeState::StopReplication, None));
    let given = |led_in, timeline| {
        let contract = Some(any(4));
        Assignment { contract, led_in: Epoch(led_in), timeline, ..Assignment::new(Epoch(4), NodeState::WaitPrimary) }
    };
    let number = |keeper: &Keeper<'_, _, _, _, _>| keeper.record.assignment.as_ref().and_then(|a| a.timeline);
    assert!(at_once(keeper.take(given(4, Some(Timeline(7))))));
    assert!(at_once(keeper.take(Assignment { serial: 9, ..given(4, None) })));
    assert_eq!(number(&keeper), Some(Timeline(7)), "said by a monitor in doubt");
    assert!(at_once(keeper.take(given(5, None))));
    assert_eq!(number(&keeper), None, "given anew");
}

#[test]
fn whoever_is_told_to_close_gives_up_a_long_step_for_it() {
    for ports in hanging() {
        let mut keeper = keeper(&ports, leased());
        run(&mut keeper);
        at_once(keeper.take(Assignment::new(Epoch(4), NodeState::Demoted)));
        run(&mut keeper);
        assert!(ports.postgres.has("stop"), "{}", ports.postgres.hangs);
    }
}

#[test]
fn a_primary_under_a_lease_closes_when_its_next_keeper_can_store_nothing() {
    let stops = |record: &KeeperRecord| {
        let ports = ports(open(None), "");
        ports.store.held.lock().unwrap().records.insert(KEEPER.into(), stored::encode(record));
        ports.store.moods.lock().unwrap().push(Mood::Fails);
        ports
    };
    for (record, closes) in [(leased(), true), (told(NodeState::Primary, NodeState::Primary, any(4)), false)] {
        let ports = stops(&record);
        assert!(at_once(begin_session(&ports, PAUSE, ports.clock.now())).is_err());
        assert_eq!(ports.postgres.has("stop"), closes, "{:?}", record.contract);
    }
}

#[test]
fn a_lease_of_an_earlier_life_is_not_begun_anew() {
    let ports = ports(open(None), "");
    let begun = ports.clock.now();
    let stop = Box::pin(std::future::pending());
    ports.clock.pass(LEASE / 20);
    let mut keeper = Keeper::new(&ports, KeeperSettings::default(), Ledger::at(0), leased(), stop, begun);
    run(&mut keeper);
    assert!(ports.postgres.has("stop"), "within what the monitor waits beyond the lease");
}

#[test]
fn a_disk_that_fails_twice_in_a_row_does_not_end_a_keeper() {
    let ports = idle();
    *ports.store.moods.lock().unwrap() = vec![Mood::WritesAndFails, Mood::Fails];
    let mut keeper = keeper(&ports, record(NodeState::Demoted, None));
    let next = |session| KeeperRecord { session, ..record(NodeState::Demoted, None) };
    assert!(!at_once(keeper.store(next(1))));
    assert!(at_once(keeper.store(next(2))) && keeper.exit.is_none(), "{:?}", keeper.exit);
}

/// Its sessions may go on for ever, and no member can connect to it any more.
#[test]
fn members_are_not_waited_for_by_a_server_that_is_being_stopped() {
    let ports = ports(open(None), "");
    let mut keeper = keeper(&ports, told(NodeState::Primary, NodeState::Primary, any(4)));
    run(&mut keeper);
    assert!(keeper.awaits_members());
    match &mut ports.postgres.facts.lock().unwrap().server {
        Server::Up(running) => running.stopping = true,
        other => unreachable!("{other:?}"),
    }
    for _ in 0..2 {
        ports.clock.pass(Duration::from_secs(1));
        run(&mut keeper);
    }
    assert!(ports.postgres.has("stop"));
}

#[test]
fn one_that_has_closed_alone_may_be_vouched_for_but_for_one_whose_lease_is_over() {
    for (closed, stays) in [(told(NodeState::Primary, NodeState::Primary, any(4)), false), (leased(), true)] {
        let ports = ports(open(None), "");
        let mut keeper = keeper(&ports, closed);
        run(&mut keeper);
        ports.clock.pass(Duration::from_secs(60));
        // It closes; what was seen last is that it was open.
        for _ in 0..3 {
            run(&mut keeper);
            keeper.facts = open(None);
            keeper.close_alone(ports.clock.now());
            run(&mut keeper);
        }
        assert_eq!(keeper.record.state, NodeState::DemoteTimeout);
        assert_eq!(keeper.memory.closing_alone, stays);
    }
}

/// Its process was stopped for a minute, and its server wasn't.
#[test]
fn one_that_slept_looks_for_its_members_before_it_closes() {
    for (member, closes) in [(Some(NodeId(2)), false), (None, true)] {
        let ports = ports(open(None), "");
        let mut keeper = keeper(&ports, told(NodeState::Primary, NodeState::Primary, any(4)));
        run(&mut keeper);
        *ports.postgres.facts.lock().unwrap() = open(member);
        ports.clock.pass(Duration::from_secs(60));
        run(&mut keeper);
        assert_eq!(ports.postgres.has("stop"), closes, "member {member:?}");
    }
    let ports = ports(open(None), "");
    let mut keeper = keeper(&ports, told(NodeState::Primary, NodeState::Primary, any(4)));
    run(&mut keeper);
    keeper.looking = Some(Box::pin(std::future::pending()));
    ports.clock.pass(Duration::from_secs(60));
    run(&mut keeper);
    assert!(!ports.postgres.has("stop"), "it had begun before that, and has a moment to end");
    ports.clock.pass(LOOK_LIMIT);
    run(&mut keeper);
    assert!(ports.postgres.has("stop"), "a look that never ends holds nothing up");
}

#[test]
fn members_that_hold_everything_have_been_seen() {
    let ports = ports(open(None), "");
    let mut keeper = keeper(&ports, told(NodeState::Primary, NodeState::Primary, any(4)));
    keeper.doing = Some((Step::AwaitMembers(any(4)), ports.clock.now()));
    ports.clock.pass(Duration::from_secs(60));
    at_once(keeper.stepped(Ok(Outcome::Done)));
    assert_eq!(keeper.seen, ports.clock.now());
}

#[test]
fn a_new_node_is_let_in_while_members_are_waited_for() {
    let ports = ports(open(None), "");
    let mut keeper = keeper(&ports, told(NodeState::Primary, NodeState::Primary, any(4)));
    run(&mut keeper);
    assert!(keeper.awaits_members() && ports.postgres.has("admit"));
    let assignment = keeper.record.assignment.clone().unwrap();
    at_once(keeper.take(Assignment { peers: vec![peer(2), peer(3)], ..assignment }));
    run(&mut keeper);
    assert!(ports.postgres.has("admit 2 3") && keeper.awaits_members());
}

#[test]
fn only_a_rewind_that_may_have_written_condemns_the_directory() {
    let why = || "no reason".to_string();
    for (error, marked) in
        [(PgError::Retry(why()), false), (PgError::Operator(why()), false), (PgError::Condemned(why()), true)]
    {
        let ports = idle();
        let rebuild = Some(Rebuild::Rewind);
        let mut keeper = keeper(&ports, KeeperRecord { rebuild, ..record(NodeState::Demoted, None) });
        let source = Upstream {
            node: NodeId(2),
            host: "there".into(),
            port: 5432,
            history: History::root(Timeline(1)),
            opening: false,
        };
        keeper.doing = Some((Step::Rewind(source), ports.clock.now()));
        at_once(keeper.stepped(Err(error.clone())));
        assert_eq!(keeper.record.rebuild.is_some(), marked, "{error:?}");
        assert!(keeper.outbox.trouble.is_some());
    }
}

#[test]
fn a_node_that_is_dropped_before_it_was_told_anything_says_so_and_ends() {
    let ports = idle();
    let mut keeper = keeper(&ports, record(NodeState::Init, None));
    keeper.record.assignment = None;
    let call = |state| CallKey { seq: 1, sent: Moment::ZERO, state };
    at_once(keeper.dropped(call(NodeState::Init)));
    run(&mut keeper);
    assert_eq!(keeper.record.state, NodeState::Dropped);
    at_once(keeper.dropped(call(NodeState::Dropped)));
    assert_eq!(keeper.turn().now_or_never(), Some(Some(KeeperExit::Dropped)));
}

#[test]
fn what_an_inspection_found_ends_with_the_next_start() {
    let ports = idle();
    let mut keeper = keeper(&ports, record(NodeState::Demoted, None));
    keeper.memory.inspected = Some((Position::new(1, 800), None));
    at_once(keeper.begin(Step::Start(crate::ports::StartAs::Standby), ports.clock.now()));
    assert_eq!(keeper.memory.inspected, None);
}

#[test]
fn a_keeper_knows_as_what_it_went_to_maintenance() {
    for (from, standby) in [(NodeState::WaitMaintenance, true), (NodeState::PrepareMaintenance, false)] {
        let ports = idle();
        let mut keeper = keeper(&ports, record(from, None));
        keeper.facts = down();
        assert!(at_once(keeper.enter(NodeState::Maintenance)));
        assert_eq!(keeper.record.standby_in_maintenance, standby, "{from}");
        assert_eq!(keeper.record.left_closed.is_some(), !standby, "{from}");
    }
}

/// To copy all again for one word that could not be stored would be dear.
#[test]
fn a_rebuild_that_is_done_is_not_begun_anew_because_its_end_cannot_be_stored() {
    let ports = ports(down(), "");
    let assignment = Assignment { upstream: Some(upstream()), ..Assignment::new(Epoch(3), NodeState::Catchingup) };
    let record = KeeperRecord {
        assignment: Some(assignment),
        rebuild: Some(Rebuild::Clone),
        ..record(NodeState::Demoted, None)
    };
    let mut keeper = keeper(&ports, record);
    ports.store.moods.lock().unwrap().extend([Mood::Honest, Mood::Fails, Mood::Fails]);
    let copies = || ports.postgres.done.lock().unwrap().iter().filter(|done| *done == "clone").count();
    run(&mut keeper);
    assert_eq!((copies(), keeper.record.rebuild), (1, Some(Rebuild::Clone)));
    for left in [Some(Rebuild::Clone), None] {
        ports.clock.pass(PAUSE);
        run(&mut keeper);
        assert_eq!((copies(), keeper.record.rebuild), (1, left));
    }
}

#[test]
fn slots_that_were_made_anew_are_moved_up_as_the_others_were() {
    let ports = ports(standby(), "");
    let goal = NodeState::Secondary;
    let assignment = Assignment {
        upstream: Some(Upstream { history: History::root(Timeline(1)), ..upstream() }),
        wal_floor: Some(Lsn(500)),
        peers: vec![peer(2)],
        ..Assignment::new(Epoch(3), goal)
    };
    let record = KeeperRecord { assignment: Some(assignment), ..record(goal, None) };
    let mut keeper = keeper(&ports, record);
    let moved_up = || ports.postgres.done.lock().unwrap().iter().filter(|done| *done == "advance slots").count();
    run(&mut keeper);
    assert_eq!(moved_up(), 1);
    keeper.memory.admitted = None;
    run(&mut keeper);
    assert_eq!(moved_up(), 2);
}

/// Of calls that were given up for newer ones no answer would ever come through a link that is slow.
#[test]
fn a_call_is_given_up_once_its_answer_should_have_been_here() {
    let ports = idle();
    let mut keeper = keeper(&ports, told(NodeState::Secondary, NodeState::Secondary, any(1)));
    let (heartbeat, patience) = (keeper.settings.heartbeat, keeper.settings.call_timeout);
    let mut oldest = vec![];
    for _ in 0..12 {
        keeper.outbox.news = true;
        run(&mut keeper);
        oldest.push(ports.clock.now().since(keeper.calls[0].0.sent));
        ports.clock.pass(heartbeat);
    }
    assert!(oldest.iter().any(|age| *age + heartbeat >= patience), "{oldest:?}");
    assert!(oldest.iter().all(|age| *age < patience), "{oldest:?}");
    let many = (patience.as_millis() / heartbeat.as_millis()) as usize;
    assert!((many..=many + USUAL_CALLS).contains(&keeper.calls.len()), "{}", keeper.calls.len());
    let (newest, unchanged) = (keeper.calls.pop().unwrap().0, unchanged(&keeper));
    at_once(keeper.answered(newest, unchanged));
    assert!(keeper.calls.is_empty(), "whatever was said before has been answered, or never will be");
}
