//! Writing to the store when its word can't be trusted.

use crate::ports::{Change, Snapshot, Store, StoreError};

/// What the owner of a store knows of it. A disk may give an error for blocks that it has written all the same: then
/// the store is at a version that its owner knows nothing of, and would take the next commit for a stranger's. So it is
/// looked at before anything else is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    version: u64,
    /// What was written last, if there was an error for it and nobody has looked since.
    doubt: Option<Vec<Change>>,
}

impl Ledger {
    pub fn at(version: u64) -> Ledger {
        Ledger { version, doubt: None }
    }

    /// Commits. What is found there after an error is written once more, for nobody knows whether it was synced.
    pub async fn commit<S: Store>(&mut self, store: &S, changes: Vec<Change>) -> Result<(), StoreError> {
        self.settle(store).await?;
        let Err(error) = self.write(store, &changes).await else { return Ok(()) };
        match self.settle(store).await {
            Ok(true) => self.write(store, &changes).await,
            _ => Err(error),
        }
    }

    async fn write<S: Store>(&mut self, store: &S, changes: &[Change]) -> Result<(), StoreError> {
        let written = store.commit(self.version, changes.to_vec()).await;
        if matches!(written, Err(StoreError::Io(_))) {
            self.doubt = Some(changes.to_vec());
        }
        self.version = written?;
        Ok(())
    }

    /// Whether the write in doubt, if there is one, is found there.
    async fn settle<S: Store>(&mut self, store: &S) -> Result<bool, StoreError> {
        let Some(doubt) = &self.doubt else { return Ok(false) };
        let found = store.load().await?;
        let written = found.version == self.version + 1 && holds(&found, doubt);
        self.version += u64::from(written);
        self.doubt = None;
        Ok(written)
    }
}

fn holds(found: &Snapshot, changes: &[Change]) -> bool {
    changes.iter().all(|change| match change {
        Change::Put(key, value) => found.records.get(key) == Some(value),
        Change::Remove(key) => !found.records.contains_key(key),
    })
}

/// A store that tells the truth, or an error with or without having written.
#[cfg(test)]
pub mod testing {
    use super::*;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    pub struct Moody {
        pub held: Mutex<Snapshot>,
        /// For the commits to come; honest after that.
        pub moods: Mutex<Vec<Mood>>,
    }

    #[derive(Debug, Clone, Copy)]
    pub enum Mood {
        Honest,
        WritesAndFails,
        Fails,
        Stranger,
        /// Never ends.
        Hangs,
    }

    impl Store for Moody {
        async fn load(&self) -> Result<Snapshot, StoreError> {
            Ok(self.held.lock().unwrap().clone())
        }

        async fn commit(&self, expected: u64, changes: Vec<Change>) -> Result<u64, StoreError> {
            let mood = {
                let mut moods = self.moods.lock().unwrap();
                if moods.is_empty() { Mood::Honest } else { moods.remove(0) }
            };
            if matches!(mood, Mood::Hangs) {
                std::future::pending::<()>().await;
            }
            let mut held = self.held.lock().unwrap();
            if held.version != expected {
                return Err(StoreError::Conflict { expected, found: held.version });
            }
            let changes = match mood {
                Mood::Fails => return Err(StoreError::Io("full".into())),
                Mood::Stranger => vec![Change::Put("a".into(), b"of another".to_vec())],
                Mood::Honest | Mood::WritesAndFails | Mood::Hangs => changes,
            };
            held.version += 1;
            for change in changes {
                match change {
                    Change::Put(key, value) => held.records.insert(key, value),
                    Change::Remove(key) => held.records.remove(&key),
                };
            }
            match mood {
                Mood::Honest => Ok(held.version),
                _ => Err(StoreError::Io("an error for what was written".into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use futures_util::FutureExt;
    use std::sync::Mutex;

    /// Two commits, one after the other; the version of the store in the end.
    fn written(moods: &[Mood]) -> ([Result<(), StoreError>; 2], u64) {
        let store = Moody { moods: Mutex::new(moods.to_vec()), ..Moody::default() };
        let mut ledger = Ledger::at(0);
        let mut commit = |value: &[u8]| {
            let changes = vec![Change::Put("a".into(), value.to_vec()), Change::Remove("b".into())];
            ledger.commit(&store, changes).now_or_never().expect("this store never waits")
        };
        let results = [commit(b"1"), commit(b"2")];
        (results, store.held.into_inner().unwrap().version)
    }

    #[test]
    fn a_write_that_an_error_was_given_for_is_found_and_written_again() {
        assert_eq!(written(&[Mood::Honest]), ([Ok(()), Ok(())], 2));
        assert_eq!(written(&[Mood::WritesAndFails, Mood::Honest]), ([Ok(()), Ok(())], 3));
        let full = StoreError::Io("full".into());
        let nothing = written(&[Mood::Fails]);
        assert_eq!(nothing, ([Err(full), Ok(())], 1), "nothing was written, and nothing is tried again");
        let [first, second] = written(&[Mood::Stranger]).0;
        assert!(matches!(first, Err(StoreError::Io(_))), "it was somebody else's");
        assert!(matches!(second, Err(StoreError::Conflict { .. })));
    }

    #[test]
    fn errors_in_a_row_make_no_stranger_of_the_owner() {
        for (again, version) in [(Mood::Fails, 2), (Mood::WritesAndFails, 3)] {
            let (results, end) = written(&[Mood::WritesAndFails, again]);
            assert!(matches!(results, [Err(StoreError::Io(_)), Ok(())]), "{results:?}");
            assert_eq!(end, version, "{again:?}");
        }
    }
}
