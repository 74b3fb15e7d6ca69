//! Tells a run while it goes on: one line on a terminal, or, for `demo`, a story with the real commands' output.

use super::cluster::Cluster;
use super::ledger::Ledger;
use super::watch::Watch;
use anyhow::{Result, ensure};
use pgbaton_core::model::Moment;
use std::io::{IsTerminal, Write};

#[derive(Debug)]
pub struct Narrator {
    telling: bool,
    /// The change whose effect hasn't been told yet, and when it began.
    change: Option<(String, Moment)>,
}

impl Narrator {
    pub fn quiet() -> Narrator {
        Narrator { telling: false, change: None }
    }

    pub fn telling() -> Narrator {
        Narrator { telling: true, change: None }
    }

    pub fn is_telling(&self) -> bool {
        self.telling
    }

    pub fn progress(&self, what: &str) {
        if self.telling {
            say(&format!("... {what}"));
        } else if std::io::stderr().is_terminal() {
            eprintln!("... {what}");
        }
    }

    pub async fn settled(&self, cluster: &Cluster, watch: &Watch) -> Result<()> {
        if !self.telling {
            return Ok(());
        }
        let nodes = watch.rows().len();
        say(&format!("\n== {nodes} nodes and a monitor run; clients begin to write\n"));
        show_state(cluster).await
    }

    pub fn begins(&mut self, text: &str, ledger: &Ledger) {
        self.progress(&format!("{:.1}s: {text}", ledger.now().seconds()));
        if self.telling {
            say(&format!("\n== {text}\n"));
        }
        self.change = Some((text.to_string(), ledger.now()));
    }

    /// A condition of the scenario has come about.
    pub async fn reached(&mut self, cluster: &Cluster, ledger: &Ledger) -> Result<()> {
        if !self.telling {
            return Ok(());
        }
        show_state(cluster).await?;
        if let Some((text, from)) = self.change.take() {
            let gap = ledger.longest_silence(from);
            say(&format!("After \"{text}\" writes were out for at most {:.3} s.\n", gap.as_secs_f64()));
        }
        Ok(())
    }

    pub async fn ended(&self, cluster: &Cluster) -> Result<()> {
        if !self.telling {
            return Ok(());
        }
        say("\n== The group has settled; the clients have stopped\n");
        show_state(cluster).await
    }

    /// By the operator's own command, whose table is part of the story.
    pub async fn switchover(&self, cluster: &Cluster) -> Result<()> {
        say("$ pgbaton perform switchover");
        let mut command = cluster.command(&["perform", "switchover", "--monitor", &cluster.url()]);
        command.args(["--formation", &cluster.formation, "--wait", "60"]);
        let output = cluster.output(command).await?;
        say(String::from_utf8_lossy(&output.stderr).trim_end());
        say(&String::from_utf8_lossy(&output.stdout));
        ensure!(output.status.success(), "pgbaton perform switchover ended with {}", output.status);
        Ok(())
    }
}

async fn show_state(cluster: &Cluster) -> Result<()> {
    say("$ pgbaton show state");
    let command = cluster.command(&["show", "state", "--monitor", &cluster.url()]);
    let output = cluster.output(command).await?;
    say(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        say(&String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A reader that closes early is no error.
pub fn say(text: &str) {
    let _reader_gone = writeln!(std::io::stdout(), "{text}");
}
