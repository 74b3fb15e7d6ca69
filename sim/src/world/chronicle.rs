//! What happened so far, as the checkers will read it.

use super::Fate;
use pgbaton_core::check::{Kind, Trace};
use pgbaton_core::model::Moment;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
pub struct Chronicle {
    fate: Fate,
    trace: Arc<Mutex<Trace>>,
    /// Complaints that no condition of the scenario would catch: a keeper that gave up, say.
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Chronicle {
    pub fn new(fate: &Fate) -> Chronicle {
        Chronicle { fate: fate.clone(), trace: Arc::default(), complaints: Arc::default() }
    }

    pub fn note(&self, kind: Kind) {
        self.note_at(self.fate.now(), kind);
    }

    pub fn note_at(&self, at: Moment, kind: Kind) {
        self.trace.lock().unwrap().push(at, kind);
    }

    pub fn complain(&self, what: String) {
        let at = self.fate.now().seconds();
        self.complaints.lock().unwrap().push(format!("{at:.3}s {what}"));
    }

    pub fn take(&self) -> (Trace, Vec<String>) {
        let mut trace = std::mem::take(&mut *self.trace.lock().unwrap());
        trace.sort();
        (trace, std::mem::take(&mut *self.complaints.lock().unwrap()))
    }
}
