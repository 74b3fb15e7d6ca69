//! `pgbaton-sim coverage`: what drawn stories came to, of all there is.

use super::bad_input;
use super::keep::Keep;
use super::many::Many;
use super::table::table;
use clap::Args;
use comfy_table::CellAlignment;
use pgbaton_core::check::marks::MARKS;
use pgbaton_core::model::NodeState;
use pgbaton_core::monitor::rules::RULES;
use pgbaton_sim::soak::Tally;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Coverage {
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    keep: Keep,
    /// Lists what was reached as well, with the number of runs that did.
    #[arg(long)]
    all: bool,
}

impl Coverage {
    pub fn main(self) -> ExitCode {
        let outcome = match self.many.play() {
            Ok(outcome) => outcome,
            Err(why) => return bad_input(&why),
        };
        let tally = &outcome.tally;
        let edges: Vec<(NodeState, NodeState)> = edges().collect();
        let mut table = table(&["of", "reached", "there are", "never"], 1);
        table.column_mut(3).expect("there are four").set_cell_alignment(CellAlignment::Left);
        let silent = RULES.iter().filter(|r| !tally.rules.contains_key(&r.number));
        let silent: Vec<String> = silent.map(|r| format!("{} {}", r.number, r.name)).collect();
        let unwalked = edges.iter().filter(|e| !tally.edges.contains_key(e)).map(|(a, b)| format!("{a} -> {b}"));
        let unwalked: Vec<String> = unwalked.collect();
        let unseen = |must: bool| tally.unseen(must).into_iter().map(String::from).collect::<Vec<String>>();
        let (missed, rare) = (unseen(true), unseen(false));
        let count = |must: bool| MARKS.iter().filter(|m| m.must == must).count();
        for (of, total, never) in [
            ("rules", RULES.len(), &silent),
            ("moves between states", edges.len(), &unwalked),
            ("marks that must be seen", count(true), &missed),
            ("other marks", count(false), &rare),
        ] {
            table.add_row([of.to_string(), (total - never.len()).to_string(), total.to_string(), never.join("\n")]);
        }
        println!("{table}");
        if self.all {
            print!("{}", reached(tally));
        }
        println!("{}", outcome.summary());
        self.keep.small_stories(&outcome, self.many.jobs.get());
        outcome.exit(true)
    }
}

/// Every legal move.
fn edges() -> impl Iterator<Item = (NodeState, NodeState)> {
    let all = NodeState::ALL.iter().flat_map(|from| NodeState::ALL.iter().map(move |to| (*from, *to)));
    all.filter(|(from, to)| from.may_become(*to))
}

fn reached(tally: &Tally) -> String {
    let mut out = String::new();
    let mut line = |count: u64, what: String| out += &format!("{count:>7}  {what}\n");
    MARKS.iter().for_each(|m| line(tally.marks.get(m.name).copied().unwrap_or(0), m.name.to_string()));
    for rule in RULES {
        line(tally.rules.get(&rule.number).copied().unwrap_or(0), format!("rule {} {}", rule.number, rule.name));
    }
    tally.edges.iter().for_each(|((from, to), count)| line(*count, format!("{from} -> {to}")));
    out
}
