//! Processes as /proc shows them. Everything a live run starts is a descendant of it, since it makes
//! itself the reaper of orphans, so nothing has to be remembered to be found again.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc {
    pub pid: u32,
    pub parent: u32,
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

/// `pid (name) state parent ...`; a name may hold blanks and parentheses.
fn parse(stat: &str) -> Option<Proc> {
    let (head, tail) = stat.rsplit_once(')')?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let zombie = matches!(state, "Z" | "X");
    Some(Proc { pid, parent, zombie })
}

/// The living processes among these and their descendants, parents first.
pub fn family(roots: &[u32]) -> Vec<u32> {
    let all = all();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for proc in &all {
        children.entry(proc.parent).or_default().push(proc.pid);
    }
    let alive: BTreeSet<u32> = all.iter().filter(|p| !p.zombie).map(|p| p.pid).collect();
    let mut family: Vec<u32> = Vec::new();
    let mut queue: Vec<u32> = roots.to_vec();
    while let Some(pid) = queue.pop() {
        if !family.contains(&pid) {
            family.push(pid);
            queue.extend(children.get(&pid).into_iter().flatten());
        }
    }
    family.retain(|pid| alive.contains(pid));
    family
}

/// The living descendants of this process.
pub fn descendants() -> Vec<u32> {
    let me = std::process::id();
    family(&[me]).into_iter().filter(|pid| *pid != me).collect()
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
        let expected = Proc { pid: 7, parent: 3, zombie: true };
        assert_eq!(parse("7 (postgres: a) b (c) Z 3 7 7 0 -1"), Some(expected));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_child_is_a_descendant_until_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(descendants().contains(&child.id()));
        signal_all(&[child.id()], Signal::SIGKILL);
        child.wait().unwrap();
        assert!(!any_alive(&[child.id()]));
    }
}
