//! A disk with a cache. What was synced stays; what was only written survives the death of a process
//! but not a loss of power, which keeps some of those writes, drops others and may tear one.

use crate::world::Bell;
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// As programs see it.
    cached: Vec<u8>,
    /// As it would be after a loss of power that drops everything unsynced.
    durable: Vec<u8>,
    pending: Vec<Op>,
    /// Rises when the process that had the file open dies: what its destructors do reaches nothing.
    opened: u64,
    condition: Condition,
    moved: Bell,
    /// The next death of the process takes the cache with it.
    tear: bool,
    /// Operations until power fails; none when it doesn't.
    fuse: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    #[default]
    Fine,
    /// No room for a single block more: what the store writes is never in place of what it replaces.
    Full,
    /// Nothing ends.
    Stalled,
}

#[derive(Debug, Clone)]
enum Op {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

impl Op {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Op::SetLen(len) => file.resize(*len as usize, 0),
            Op::Write { offset, data } => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                if file.len() < to {
                    file.resize(to, 0);
                }
                file[from..to].copy_from_slice(data);
            }
        }
    }
}

impl Disk {
    /// What a new process gets; whoever had the file before has lost it.
    pub fn open(&self) -> Backend {
        self.detach();
        Backend { disk: self.clone(), opened: self.0.lock().unwrap().opened }
    }

    /// The process is dead. The cache belongs to the kernel and stays.
    pub fn detach(&self) {
        self.0.lock().unwrap().opened += 1;
    }

    /// Power is lost. `chance` decides over each unsynced write: 0 drops it, 1 tears it, else it is kept.
    pub fn crash(&self, mut chance: impl FnMut() -> u64) {
        let mut state = self.0.lock().unwrap();
        state.opened += 1;
        state.fuse = None;
        let mut file = std::mem::take(&mut state.durable);
        for op in std::mem::take(&mut state.pending) {
            match (chance() % 4, op) {
                (0, _) => {}
                (1, Op::Write { offset, data }) => {
                    let torn = data[..data.len() / 2].to_vec();
                    Op::Write { offset, data: torn }.apply(&mut file);
                }
                (_, op) => op.apply(&mut file),
            }
        }
        state.cached = file.clone();
        state.durable = file;
    }

    pub fn set(&self, condition: Condition) {
        let moved = {
            let mut state = self.0.lock().unwrap();
            state.condition = condition;
            state.moved.clone()
        };
        moved.ring();
    }

    /// Ends at once unless the disk is stalled.
    pub async fn until_it_moves(&self) {
        let moved = self.0.lock().unwrap().moved.clone();
        moved.until(|| (self.0.lock().unwrap().condition != Condition::Stalled).then_some(())).await;
    }

    pub fn tear_at_death(&self) {
        self.0.lock().unwrap().tear = true;
    }

    /// Whether the death of the process now takes the cache with it; asked once.
    pub fn takes_tear(&self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap().tear)
    }

    /// What a copy of the file would hold, and what a loss of power would leave at worst.
    pub fn synced(&self) -> Vec<u8> {
        self.0.lock().unwrap().durable.clone()
    }

    /// Another file in this one's place; nobody has it open.
    pub fn replace(&self, file: Vec<u8>) {
        let mut state = self.0.lock().unwrap();
        state.opened += 1;
        state.pending.clear();
        state.cached.clone_from(&file);
        state.durable = file;
    }

    /// Every operation after the next `ops` ones fails, as if power were gone.
    pub fn fail_after(&self, ops: u64) {
        self.0.lock().unwrap().fuse = Some(ops);
    }
}

/// One process's open file.
#[derive(Debug)]
pub struct Backend {
    disk: Disk,
    opened: u64,
}

impl Backend {
    fn with<T>(&self, changes: bool, work: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.disk.0.lock().unwrap();
        if state.opened != self.opened {
            return Err(io::Error::other("the process that opened this file is dead"));
        }
        if changes {
            if state.condition == Condition::Full {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            match &mut state.fuse {
                Some(0) => return Err(io::Error::other("the power is gone")),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        Ok(work(&mut state))
    }

    fn change(&self, op: Op) -> io::Result<()> {
        self.with(true, |state| {
            op.apply(&mut state.cached);
            state.pending.push(op);
        })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.with(false, |state| state.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(false, |state| {
            let from = offset as usize;
            let part = state.cached.get(from..from + out.len())?;
            out.copy_from_slice(part);
            Some(())
        })?
        .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(true, |state| {
            for op in std::mem::take(&mut state.pending) {
                op.apply(&mut state.durable);
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let data = data.to_vec();
        self.change(Op::Write { offset, data })
    }
}
