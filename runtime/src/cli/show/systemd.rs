//! `pgbaton show systemd`: a unit that stops and starts the service the way it wants to be.

use crate::cli::failure::{Code, Failure};
use crate::cli::options::{Here, Local};
use crate::cli::out;
use clap::Args;
use nix::unistd::{Uid, User};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[derive(Debug, Args)]
pub struct ShowSystemd {
    #[command(flatten)]
    here: Here,
}

impl ShowSystemd {
    pub fn run(self) -> Result<(), Failure> {
        let local = self.here.local()?;
        // What a node keeps belongs to Postgres' own user, so its service needs no other.
        let config = local.places().config();
        let owner = std::fs::metadata(&config).map_err(|e| {
            Failure::config(
                format!("can't look at \"{}\": {e}", config.display()),
                "create the node or the monitor first, with pgbaton create",
            )
        })?;
        if let Local::Node(places) = &local {
            tell_of_a_foreign_home(&places.data, owner.uid());
        }
        let user = User::from_uid(Uid::from_raw(owner.uid())).ok().flatten();
        let user = user.map_or_else(|| owner.uid().to_string(), |user| user.name);
        let program = std::env::current_exe()
            .map_err(|e| Failure::new(Code::Internal, format!("can't tell where this program lies: {e}"), ""))?;
        let name = match local {
            Local::Node(_) => "pgbaton",
            Local::Monitor(_) => "pgbaton-monitor",
        };
        out::text(&unit(&local, &user, &program))?;
        tracing::info!("save this as /etc/systemd/system/{name}.service, then: systemctl daemon-reload");
        tracing::info!("and: systemctl enable --now {name}.service");
        Ok(())
    }
}

/// A clone is moved into its place, which is a change of the directory above.
fn tell_of_a_foreign_home(pgdata: &Path, user: u32) {
    let above = pgdata.parent().unwrap_or(Path::new("/"));
    let fit = |meta: std::fs::Metadata| user == 0 || meta.uid() == user || meta.mode() & 0o002 != 0;
    if !std::fs::metadata(above).is_ok_and(fit) {
        let above = above.display();
        tracing::warn!("the service can't clone its node anew, for {above} isn't its user's: chown {user} {above}");
    }
}

fn unit(local: &Local, user: &str, program: &Path) -> String {
    let (what, option) = match local {
        Local::Node(_) => ("node", "--pgdata"),
        Local::Monitor(_) => ("monitor", "--datadir"),
    };
    let dir = quoted(local.places().data.to_string_lossy().as_ref());
    let program = quoted(program.to_string_lossy().as_ref());
    format!(
        "\
[Unit]
Description=pgbaton {what} {dir}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
User={user}
ExecStart={program} run {option} {dir}
ExecReload={program} reload {option} {dir}
# Only the keeper is told to stop: it hands the role over first, then stops Postgres in order. When the keeper
# alone dies Postgres serves on, and the next keeper takes it over.
KillMode=process
TimeoutStopSec=300
# Who asks it to stop wants it stopped; anything else is a failure.
Restart=on-failure
RestartSec=1
# 121: the node was dropped. 122: a person is needed. Neither gets better by starting again.
RestartPreventExitStatus=121 122
LimitNOFILE=65536
# Backends are better victims than the postmaster and the keeper.
OOMScoreAdjust=-900
Environment=PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj PG_OOM_ADJUST_VALUE=0

[Install]
WantedBy=multi-user.target
"
    )
}

/// systemd reads `%` as the start of a specifier and splits at blanks.
fn quoted(text: &str) -> String {
    let text = text.replace('%', "%%");
    if !text.contains([' ', '\t', '"', '\\']) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Places;

    #[test]
    fn a_unit_names_its_directory_whatever_is_in_its_name() {
        let local = Local::Node(Places::node(Path::new("/data/my db/100%")));
        let unit = unit(&local, "postgres", Path::new("/usr/bin/pgbaton"));
        assert!(unit.contains("ExecStart=/usr/bin/pgbaton run --pgdata \"/data/my db/100%%\"\n"), "{unit}");
        for line in ["User=postgres", "KillMode=process", "Restart=on-failure", "RestartPreventExitStatus=121 122"] {
            assert!(unit.lines().any(|l| l == line), "{line}");
        }
    }
}
