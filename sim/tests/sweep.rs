//! A sweep in small: a harm at every n-th point of a story, and the proof that it can fail.

use pgbaton_core::scenario::parse;
use pgbaton_sim::report::Report;
use pgbaton_sim::sweep::{Sweep, Tally};
use pgbaton_sim::world::points::{Harm, Trap};
use std::num::NonZero;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/sweep/switchover.toml");

fn sweep_of(file: &str, settings: &str) -> Sweep {
    let text = std::fs::read_to_string(file).unwrap() + settings;
    let scenario = parse(file, &text).unwrap();
    Sweep::of(&scenario, scenario.seed).unwrap_or_else(|why| panic!("{file}: {why}"))
}

/// The runs that failed, each with the line that brings it back, and the count of all.
fn play(sweep: &Sweep, traps: &[Trap]) -> (Vec<(Trap, String)>, Tally) {
    let next = AtomicUsize::new(0);
    let one_after_the_other = || {
        let trap = || traps.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(trap).map(|trap| (trap, sweep.play(trap))).collect::<Vec<(&Trap, Report)>>()
    };
    let reports: Vec<(&Trap, Report)> = std::thread::scope(|scope| {
        let players = std::thread::available_parallelism().map_or(1, NonZero::get);
        let players: Vec<_> = (0..players).map(|_| scope.spawn(one_after_the_other)).collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect()
    });
    let mut tally = Tally::default();
    reports.iter().for_each(|(trap, report)| tally.count(trap, report));
    let told = |trap: &Trap, report: &Report| {
        let line = sweep.reproduce("scenarios/sweep/switchover.toml", trap);
        format!("{} at {}: {}\n  {line}", trap.harm.name(), trap.point, report.broken().join("; "))
    };
    let failed = reports.into_iter().filter(|(_, report)| !report.holds());
    (failed.map(|(trap, report)| (trap.clone(), told(trap, &report))).collect(), tally)
}

#[test]
fn a_switchover_survives_a_harm_at_every_nth_of_its_points() {
    let sweep = sweep_of(FILE, "");
    let traps = sweep.traps(19);
    assert!(Harm::ALL.iter().all(|harm| traps.iter().any(|t| t.harm == *harm)), "every harm is done");
    let (failed, tally) = play(&sweep, &traps);
    let lines: Vec<String> = failed.into_iter().map(|(_, line)| line).collect();
    assert!(lines.is_empty(), "{} of {} runs:\n{}", lines.len(), traps.len(), lines.join("\n"));
    assert_eq!(tally.total().runs as usize, traps.len());
    assert!(tally.failovers > traps.len() as u64 / 2, "the story goes on around the harm: {} moves", tally.failovers);
}

/// A keeper that tries a failed step again after an hour: the story alone doesn't notice, for none of its steps fails.
#[test]
fn a_fault_that_only_a_lost_reply_brings_out_is_found() {
    let sweep = sweep_of(FILE, "\n[keeper]\nstep_retry_pause = \"1h\"\n");
    let lost = |trap: &Trap| trap.harm == Harm::LoseReply && trap.point.effect.kind() == "has done a step";
    let traps: Vec<Trap> = sweep.traps(1).into_iter().filter(lost).collect();
    let (failed, tally) = play(&sweep, &traps);
    assert!(failed.len() > traps.len() / 3, "{} of {} runs fail", failed.len(), traps.len());
    let (trap, told) = &failed[0];
    assert!(told.contains("the group settles: "), "{told}");
    let name = Sweep::name(trap);
    assert!(told.ends_with(&format!("sweep scenarios/sweep/switchover.toml --seed 0 --only {name}")), "{told}");
    let (_, rows) = tally.rows();
    let cell = format!("{}, {} wrong", traps.len(), failed.len());
    assert!(rows.concat().contains(&cell), "{rows:?}");
    assert!(!sweep.play(&sweep.trap(name).unwrap()).holds(), "it fails alone too");
}

#[test]
fn a_run_is_brought_back_to_the_byte() {
    let sweep = sweep_of(FILE, "");
    for trap in sweep.traps(211) {
        let json = || sweep.play(&trap).json(sweep.scenario(), sweep.seed());
        assert!(json() == json(), "{} at {}", trap.harm.name(), trap.point);
    }
}

#[test]
fn the_command_tells_apart_what_holds_and_what_makes_no_sense() {
    let run = |args: &[&str]| {
        let sim = Command::new(env!("CARGO_BIN_EXE_pgbaton-sim")).arg("sweep").args(args).output().unwrap();
        let said = String::from_utf8(sim.stdout).unwrap() + &String::from_utf8(sim.stderr).unwrap();
        (sim.status.code(), said)
    };
    let (code, said) = run(&[FILE, "--only", "3:kill"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("[kill at point 3, ") && said.contains("accepts writes"), "{said}");
    let (code, said) = run(&[FILE, "--every", "400", "--jobs", "2"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("runs, 0 violations, ") && !said.contains("interrupted"), "{said}");
    let (code, said) = run(&[FILE, "--only", "99999:kill"]);
    assert!(code == Some(2) && said.contains("there is no point 99999; the story has "), "{said}");
    let (code, said) = run(&[concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bad.toml")]);
    assert!(code == Some(2) && said.contains("unknown field `titel`"), "{said}");
}
