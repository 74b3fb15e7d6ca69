//! A scenario that is written is read as the same scenario: every file of this repository, and drawn ones.

use pgbaton_core::model::{Durability, FormationSettings, KeeperSettings, MonitorSettings, NodeState};
use pgbaton_core::scenario::beside::BesideFinally;
use pgbaton_core::scenario::condition::{ServerIs, Writable};
use pgbaton_core::scenario::format::{Invariants, WorkloadKind};
use pgbaton_core::scenario::verb::*;
use pgbaton_core::scenario::*;
use pgbaton_core::swarm::{Manner, plan};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "toml") {
            found.push(path);
        }
    }
}

fn assert_read_back(scenario: &Scenario, head: &str) {
    let text = write(scenario, head);
    let read = parse("written.toml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(&read, scenario, "{text}");
}

#[test]
fn every_file_is_written_as_it_was_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("core/ is in the workspace");
    let mut files = Vec::new();
    files_below(&root.join("scenarios"), &mut files);
    assert!(files.len() > 100, "{} files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let scenario = parse(&file.display().to_string(), &text).unwrap();
        assert_read_back(&scenario, "A head.");
        // What people write and what is written look alike, so that a shrunk file reads as any other.
        let lines = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines(&write(&scenario, "")) <= lines(&text) + 2, "{}", file.display());
    }
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..7200u64).prop_map(Duration::from_secs),
        (0..10_000_000u64).prop_map(Duration::from_millis),
        (0..10_000_000_000u64).prop_map(Duration::from_micros),
        (0..5_000_000_000u64).prop_map(Duration::from_nanos),
    ]
}

/// Anything that a person may type, quotes, backslashes, line ends and control characters too.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,20}", ".{0,12}", "[\"'\\\\\n\t\r=#\\[\\]{}]{0,8}", any::<String>()]
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![(0..5000u64).prop_map(|mb| Size(mb << 20)), (0..i64::MAX as u64).prop_map(Size)]
}

fn part() -> impl Strategy<Value = f64> {
    (1..1_000_000u32).prop_map(|n| f64::from(n) / 1_000_000.0)
}

/// Any of a group of so many nodes; `$old` is bound by the first step.
fn selector(nodes: usize) -> impl Strategy<Value = Selector> {
    let mut choices = vec![Selector::Primary, Selector::Candidate, Selector::Bound("old".into())];
    choices.extend((1..nodes).map(Selector::Standby));
    choices.extend(names(nodes).into_iter().chain(["monitor".into(), "clients".into()]).map(Selector::Name));
    prop::sample::select(choices)
}

fn names(nodes: usize) -> Vec<String> {
    ["a", "node-2", "C_3", "4", "mdw"][..nodes].iter().map(|name| name.to_string()).collect()
}

/// Boxed, as all that follow: by value they are more than the stack of a test holds.
fn condition(nodes: usize) -> BoxedStrategy<Condition> {
    let states = prop::sample::select(NodeState::ALL.to_vec());
    let servers = prop::sample::select(vec![ServerIs::Down, ServerIs::Up, ServerIs::Standby, ServerIs::Open]);
    let writable = prop::sample::select(vec![Writable::One, Writable::None]);
    prop_oneof![
        (selector(nodes), states.clone()).prop_map(|(node, state)| Condition::State { node, state }),
        (selector(nodes), states).prop_map(|(node, goal)| Condition::Goal { node, goal }),
        (selector(nodes), servers).prop_map(|(node, postgres)| Condition::Postgres { node, postgres }),
        (writable, of(selector(nodes))).prop_map(|(writable, except)| Condition::Writable { writable, except }),
        text().prop_map(|pending| Condition::Pending { pending }),
        text().prop_map(|text| Condition::Event { text }),
        Just(Condition::Settled),
        selector(nodes).prop_map(|node| Condition::Covered { node }),
    ]
    .boxed()
}

fn about_one_node(nodes: usize) -> BoxedStrategy<Verb> {
    let verbs: Vec<fn(Selector) -> Verb> = vec![
        Verb::StopService,
        Verb::StartService,
        Verb::KillKeeper,
        Verb::KillPostgres,
        Verb::KillNode,
        Verb::PowerOff,
        Verb::Pause,
        Verb::Suspend,
        Verb::Resume,
        Verb::PauseKeeper,
        Verb::ReloadKeeper,
        Verb::Isolate,
        Verb::TearStore,
        Verb::RoguePromote,
        Verb::RogueStart,
        Verb::CrashBackend,
        Verb::StopBackend,
        Verb::ContinueBackend,
        Verb::HangArchiver,
        Verb::FreeArchiver,
        Verb::UseArchive,
        Verb::CancelWaiters,
        Verb::TerminateWaiters,
        Verb::LoseDirectory,
        Verb::LoseDisk,
        Verb::SmartStop,
        Verb::StopPostgresByHand,
        Verb::RestartPostgresByHand,
        Verb::BreakConfig,
        Verb::MendConfig,
    ];
    (prop::sample::select(verbs), selector(nodes)).prop_map(|(verb, node)| verb(node)).boxed()
}

fn about_links(nodes: usize) -> BoxedStrategy<Verb> {
    let pair = move || [selector(nodes), selector(nodes)];
    let plain: Vec<fn([Selector; 2]) -> Verb> = vec![Verb::Cut, Verb::CutOneWay, Verb::HalfOpen];
    let late: Vec<fn(Slow) -> Verb> = vec![Verb::Slow, Verb::Reorder];
    let lossy: Vec<fn(Lossy) -> Verb> = vec![Verb::Lose, Verb::Repeat];
    prop_oneof![
        (prop::sample::select(plain), pair()).prop_map(|(verb, pair)| verb(pair)),
        (prop::sample::select(lossy), pair(), part()).prop_map(|(verb, between, rate)| verb(Lossy { between, rate })),
        (prop::sample::select(late), pair(), duration()).prop_map(|(verb, between, by)| verb(Slow { between, by })),
    ]
    .boxed()
}

fn orders(nodes: usize) -> BoxedStrategy<Verb> {
    let node = move || selector(nodes);
    let refused = || of(text());
    let durability = prop::sample::select(vec![Durability::Strict, Durability::Degrade, Durability::Async]);
    prop_oneof![
        (refused(), any::<bool>())
            .prop_map(|(refused, may_be_refused)| Verb::Switchover(Ask { refused, may_be_refused })),
        (any::<bool>(), refused(), any::<bool>()).prop_map(|(allow_data_loss, refused, may_be_refused)| {
            Verb::Failover(Failover { allow_data_loss, refused, may_be_refused })
        }),
        (node(), any::<bool>(), refused(), any::<bool>()).prop_map(
            |(node, allow_data_loss, refused, may_be_refused)| {
                Verb::Promote(Promote { node, allow_data_loss, refused, may_be_refused })
            }
        ),
        (node(), any::<bool>(), any::<bool>(), refused()).prop_map(|(node, on, allow_failover, refused)| {
            Verb::Maintenance(Maintenance { node, on, allow_failover, refused })
        }),
        (node(), any::<u8>(), of(any::<bool>()), refused()).prop_map(
            |(node, priority, replication_quorum, refused)| {
                Verb::SetNode(SetNode { node, candidate_priority: Some(priority), replication_quorum, refused })
            }
        ),
        (of(any::<u32>()), of(durability), any::<bool>(), refused()).prop_map(
            |(number_sync_standbys, durability, secondary, refused)| {
                let secondary = Some(secondary);
                Verb::SetFormation(SetFormation { number_sync_standbys, durability, secondary, refused })
            }
        ),
        (node(), any::<bool>(), refused(), any::<bool>()).prop_map(|(node, force, refused, may_be_refused)| {
            Verb::Drop(DropNode { node, force, refused, may_be_refused })
        }),
        (any::<u32>(), text(), refused()).prop_map(|(tli, reason, refused)| Verb::AcceptTimeline(AcceptTimeline {
            tli,
            reason,
            refused
        })),
    ]
    .boxed()
}

fn verb(nodes: usize) -> BoxedStrategy<Verb> {
    let bare: Vec<fn(Nothing) -> Verb> = vec![
        Verb::KillMonitor,
        Verb::StartMonitor,
        Verb::SaveMonitor,
        Verb::RestoreMonitor,
        Verb::ReplaceMonitor,
        Verb::ExpireCertificate,
        Verb::RenewCertificate,
        Verb::Swizzle,
        Verb::Heal,
    ];
    let on_disk: Vec<fn(OnDisk) -> Verb> = vec![Verb::FillDisk, Verb::StallDisk, Verb::FreeDisk];
    let disk = prop_oneof![
        Just(OnDisk { node: None, whose: Whose::Monitor }),
        (selector(nodes), prop::sample::select(vec![Whose::Postgres, Whose::Keeper]))
            .prop_map(|(node, whose)| OnDisk { node: Some(node), whose }),
    ];
    let delayed: Vec<fn(Delay) -> Verb> = vec![Verb::SlowCheckpoint, Verb::ApplyDelay];
    prop_oneof![
        1 => selector(nodes)
            .prop_map(|node| Verb::ReadOnlyDisk(OnDisk { node: Some(node), whose: Whose::Postgres })),
        3 => about_one_node(nodes),
        2 => about_links(nodes),
        3 => orders(nodes),
        1 => vec(orders(nodes), 1..4).prop_map(Verb::AtOnce),
        1 => vec(selector(nodes), 1..4).prop_map(Verb::KillGroup),
        1 => prop::sample::select(bare).prop_map(|verb| verb(Nothing {})),
        1 => (prop::sample::select(on_disk), disk).prop_map(|(verb, disk)| verb(disk)),
        1 => (prop::sample::select(delayed), selector(nodes), duration())
            .prop_map(|(verb, node, by)| verb(Delay { node, by })),
        1 => (selector(nodes), -100_000_000..100_000_000i64)
            .prop_map(|(node, by_ms)| Verb::ClockStep(ClockStep { node, by_ms })),
        1 => (selector(nodes), any::<u32>())
            .prop_map(|(node, version)| Verb::SpeakVersion(SpeakVersion { node, version })),
    ]
    .boxed()
}

fn step(nodes: usize) -> BoxedStrategy<Step> {
    let nothing = Step { at: None, wait: None, until: None, within: None, verb: None, bind: None };
    let (a, b, c, d) = (nothing.clone(), nothing.clone(), nothing.clone(), nothing);
    prop_oneof![
        verb(nodes).prop_map(move |verb| Step { verb: Some(verb), ..a.clone() }),
        (duration(), verb(nodes)).prop_map(move |(at, verb)| Step { at: Some(at), verb: Some(verb), ..b.clone() }),
        (duration(), about_one_node(nodes)).prop_map(move |(wait, verb)| Step {
            wait: Some(wait),
            verb: Some(verb),
            bind: Some("new".into()),
            ..c.clone()
        }),
        (condition(nodes), of(duration()), of(verb(nodes))).prop_map(move |(until, within, verb)| Step {
            until: Some(until),
            within,
            verb,
            ..d.clone()
        }),
    ]
    .boxed()
}

fn workload() -> BoxedStrategy<Workload> {
    let commit = prop::sample::select(vec![
        SynchronousCommit::On,
        SynchronousCommit::Off,
        SynchronousCommit::Local,
        SynchronousCommit::RemoteWrite,
        SynchronousCommit::RemoteApply,
    ]);
    let rate = prop_oneof![(1..1000u32).prop_map(f64::from), part()];
    let kind = prop::sample::select(vec![WorkloadKind::UniqueInserts, WorkloadKind::StandbyReads]);
    (kind, any::<u32>(), rate, commit, any::<bool>(), of(size()))
        .prop_map(|(kind, clients, rate, synchronous_commit, sticky, row)| Workload {
            kind,
            clients,
            rate,
            synchronous_commit,
            sticky,
            row,
        })
        .boxed()
}

fn cluster(nodes: usize) -> BoxedStrategy<Cluster> {
    let durability = prop::sample::select(vec![None, Some(Durability::Strict), Some(Durability::Async)]);
    let settings =
        (any::<u32>(), durability, any::<bool>(), text()).prop_map(|(number, durability, secondary, dbname)| {
            FormationSettings { number_sync_standbys: number, durability, secondary, dbname }
        });
    let settings = prop_oneof![Just(FormationSettings::default()), settings];
    let options =
        (0..=100u8, any::<bool>(), any::<bool>()).prop_map(|(candidate_priority, replication_quorum, join)| {
            NodeOptions { candidate_priority, replication_quorum, join }
        });
    let postgres = (of(size()), of(size()), of(size()), of(duration()), of(duration()), of(any::<u32>())).prop_map(
        |(row, wal_keep_size, max_slot_wal_keep_size, checkpoint_timeout, base_backup_takes, version)| {
            PostgresOptions {
                row,
                wal_keep_size,
                max_slot_wal_keep_size,
                checkpoint_timeout,
                base_backup_takes,
                version,
            }
        },
    );
    let clock = (duration(), -5000..=5000).prop_map(|(ahead, drift_ppm)| ClockOptions { ahead, drift_ppm });
    let clocks = prop::sample::select([names(nodes), vec!["monitor".to_string()]].concat());
    let clock = btree_map(clocks, clock, 0..3);
    let named = btree_map(prop::sample::select(names(nodes)), options, 0..3);
    (settings, named, of(postgres), prop_oneof![Just("default".to_string()), text()], clock, any::<bool>())
        .prop_map(move |(settings, mut node, postgres, formation, clock, ssl)| {
            let (nodes, primary) = (names(nodes), names(nodes).remove(0));
            // It joins first.
            node.entry(primary.clone()).and_modify(|options| options.join = true);
            Cluster { nodes, primary, formation, group: 0, settings, node, postgres, clock, ssl }
        })
        .boxed()
}

fn finally(nodes: usize) -> BoxedStrategy<Finally> {
    let roles = btree_map(prop::sample::select(names(nodes)), prop::sample::select(NodeState::ALL.to_vec()), 0..3);
    let outage = of(duration()).prop_map(|max| max.map(|max| Outage { max }));
    let core = vec(prop::sample::select(names(nodes)), 0..3);
    let settles = (duration(), any::<bool>(), core, any::<bool>());
    (settles, roles, of(any::<u32>()), outage, of(text()), of(0..1000usize), of(size()))
        .prop_map(|(settles, roles, promotions, write_outage, stalled, max_warnings, wal_held)| Finally {
            converge: settles.0,
            while_it_moves: settles.1,
            core: settles.2,
            invariants: Invariants::All,
            roles,
            promotions,
            write_outage,
            stalled,
            max_warnings,
            long_fork: settles.3,
            wal_held,
        })
        .boxed()
}

fn beside() -> impl Strategy<Value = Option<Beside>> {
    let roles = btree_map(
        prop::sample::select(vec!["x".to_string(), "y".into()]),
        prop::sample::select(NodeState::ALL.to_vec()),
        0..2,
    );
    let outage = of(duration()).prop_map(|max| max.map(|max| Outage { max }));
    let drawn = (cluster(2), vec(workload(), 0..2), roles, of(any::<u32>()), outage).prop_map(
        |(cluster, workload, roles, promotions, write_outage)| {
            let nodes = vec!["x".to_string(), "y".into()];
            // The rest is that of all machines, or speaks of nodes of the first formation.
            let own = Cluster {
                nodes,
                primary: "x".into(),
                formation: "green".into(),
                settings: cluster.settings,
                ..usual()
            };
            Beside { cluster: own, workload, finally: BesideFinally { roles, promotions, write_outage } }
        },
    );
    of(drawn)
}

/// With nothing said about it.
fn usual() -> Cluster {
    let text = "title = \"x\"\n[cluster]\nnodes = [\"a\"]\nprimary = \"a\"\n[finally]\nconverge = \"1s\"\ninvariants = \"all\"\n";
    parse("usual.toml", text).unwrap().cluster
}

fn settings() -> impl Strategy<Value = (MonitorSettings, KeeperSettings)> {
    let usual = (MonitorSettings::default(), KeeperSettings::default());
    let drawn = (duration(), any::<u64>(), duration()).prop_map(|(drain_timeout, catchup_bytes, heartbeat)| {
        let monitor = MonitorSettings { drain_timeout, catchup_bytes, ..MonitorSettings::default() };
        (monitor, KeeperSettings { heartbeat, ..KeeperSettings::default() })
    });
    prop_oneof![Just(usual), drawn]
}

fn scenario() -> BoxedStrategy<Scenario> {
    let of_size = |nodes: usize| {
        let points = btree_map(prop::sample::select(FaultPoint::ALL.to_vec()), part(), 0..3);
        let head = (text(), text(), any::<u64>(), any::<bool>(), points);
        let clusters = (cluster(nodes), beside());
        (head, clusters, settings(), vec(workload(), 0..3), vec(step(nodes), 0..8), finally(nodes)).prop_map(
            |(
                (title, why, seed, drawn, fault_points),
                (mut cluster, beside),
                (monitor, keeper),
                workload,
                mut steps,
                finally,
            )| {
                let of_certificates =
                    |s: &Step| matches!(s.verb, Some(Verb::ExpireCertificate(_) | Verb::RenewCertificate(_)));
                cluster.ssl |= steps.iter().any(of_certificates);
                let first = Verb::Pause(Selector::Primary);
                let bind = Some("old".to_string());
                steps.insert(0, Step { at: None, wait: None, until: None, within: None, verb: Some(first), bind });
                let (worlds, why) = (vec![World::Sim], Some(why));
                #[rustfmt::skip]
                let drawn = Scenario {
                    title, worlds, why, seed, drawn, fault_points, cluster, beside, monitor, keeper, workload, steps, finally,
                };
                drawn
            },
        )
    };
    (1..=5usize).prop_flat_map(of_size).boxed()
}

#[test]
fn a_drawn_plan_is_written_as_it_is() {
    for seed in 0..200 {
        for manner in [Manner::SIMULATED, Manner::live(true)] {
            assert_read_back(&plan(seed, &manner), "");
        }
    }
}

#[test]
fn what_only_live_runs_can_do_is_written_as_it_is() {
    let mut scenario = plan(0, &Manner::live(true));
    (scenario.worlds, scenario.why) = (vec![World::Live], Some("processes have numbers there".into()));
    scenario.steps.iter_mut().for_each(|step| step.verb = Some(Verb::ReusePid(Selector::Primary)));
    assert_read_back(&scenario, "");
}

proptest! {
    #[test]
    fn a_drawn_scenario_is_written_as_it_is(scenario in scenario(), head in text()) {
        assert_read_back(&scenario, &head);
    }
}
