//! Processes as /proc shows them. Everything a live run starts is a descendant of it, since it makes
//! itself the reaper of orphans, so nothing has to be remembered to be found again.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc {
    pub pid: u32,
    pub parent: u32,
    /// The process group.
    pub group: u32,
    pub zombie: bool,
}

/// All processes of this machine at this moment.
pub fn all() -> Vec<Proc> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// `pid (name) state parent group ...`; a name may hold blanks and parentheses.
fn parse(stat: &str) -> Option<Proc> {
    let (head, tail) = stat.rsplit_once(')')?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let zombie = matches!(state, "Z" | "X");
    Some(Proc { pid, parent, group, zombie })
}

/// The descendants of this process that work in this directory or below it, the oldest first. Everything a node
/// starts does, and goes on to do so when the directory was removed or the parent is dead.
pub fn at_home(home: &Path) -> Vec<u32> {
    let works_there = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(home));
    let mut found: Vec<u32> = descendants().into_iter().filter(works_there).collect();
    found.sort_unstable();
    found
}

/// The living descendants of this process.
pub fn descendants() -> Vec<u32> {
    let all = all();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for proc in &all {
        children.entry(proc.parent).or_default().push(proc.pid);
    }
    let mut found: BTreeSet<u32> = BTreeSet::new();
    let mut queue = vec![std::process::id()];
    while let Some(parent) = queue.pop() {
        let new = children.get(&parent).into_iter().flatten().filter(|pid| found.insert(**pid));
        queue.extend(new);
    }
    all.iter().filter(|p| !p.zombie && found.contains(&p.pid)).map(|p| p.pid).collect()
}

/// A postmaster, or a child of one.
pub fn is_server(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postgres")
}

/// What a process calls itself; servers say there what they are.
pub fn title(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end_matches('\0').to_string()
}

/// Processor time of all threads of a process, counted in ticks of which there are so many in a second.
pub fn cpu_time(pid: u32, ticks_per_second: u64) -> Option<Duration> {
    let ticks = parse_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(Duration::from_micros(ticks * 1_000_000 / ticks_per_second))
}

/// The 14th and the 15th field: in user mode and in the kernel.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

/// A process that has gone meanwhile is as good as one that got the signal.
pub fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        let _gone = kill(Pid::from_raw(pid), signal);
    }
}

pub fn any_alive(pids: &[u32]) -> bool {
    pids.iter().any(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        stat.and_then(|s| parse(&s)).is_some_and(|p| !p.zombie)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_parentheses_are_no_trap() {
        let expected = Proc { pid: 7, parent: 3, group: 7, zombie: true };
        assert_eq!(parse("7 (postgres: a) b (c) Z 3 7 7 0 -1"), Some(expected));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn the_time_of_a_process_is_its_own_and_the_kernels() {
        assert_eq!(parse_ticks("7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 150 25 9 9 20 0"), Some(175));
        assert_eq!(parse_ticks("7 (a) S 3"), None);
    }

    #[test]
    fn a_child_is_a_descendant_until_it_is_reaped() {
        let home = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").current_dir(home.path()).spawn().unwrap();
        assert!(descendants().contains(&child.id()));
        assert_eq!(at_home(&home.path().canonicalize().unwrap()), [child.id()]);
        signal_all(&[child.id()], Signal::SIGKILL);
        child.wait().unwrap();
        assert!(!any_alive(&[child.id()]));
    }
}
