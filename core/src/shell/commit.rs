//! Writing to the store when its word can't be trusted.

use crate::ports::{Change, Snapshot, Store, StoreError};

/// Commits. A disk may give an error for blocks that it has written all the same: then the store is at a version that
/// its owner knows nothing of, and would take the next commit for a stranger's. So it is looked at, and what is found
/// there is written once more, for nobody knows whether it was synced.
pub async fn commit<S: Store>(store: &S, expected: u64, changes: Vec<Change>) -> Result<u64, StoreError> {
    let error = match store.commit(expected, changes.clone()).await {
        Err(error @ StoreError::Io(_)) => error,
        known => return known,
    };
    match store.load().await {
        Ok(found) if found.version == expected + 1 && holds(&found, &changes) => {
            store.commit(found.version, changes).await
        }
        _ => Err(error),
    }
}

fn holds(found: &Snapshot, changes: &[Change]) -> bool {
    changes.iter().all(|change| match change {
        Change::Put(key, value) => found.records.get(key) == Some(value),
        Change::Remove(key) => !found.records.contains_key(key),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::Mutex;

    /// Tells the truth, or an error with or without having written.
    struct Moody {
        held: Mutex<Snapshot>,
        moods: Mutex<Vec<Mood>>,
    }

    #[derive(Clone, Copy)]
    enum Mood {
        Honest,
        WritesAndFails,
        Fails,
        Stranger,
    }

    impl Store for Moody {
        async fn load(&self) -> Result<Snapshot, StoreError> {
            Ok(self.held.lock().unwrap().clone())
        }

        async fn commit(&self, expected: u64, changes: Vec<Change>) -> Result<u64, StoreError> {
            let mood = self.moods.lock().unwrap().remove(0);
            let mut held = self.held.lock().unwrap();
            if held.version != expected {
                return Err(StoreError::Conflict { expected, found: held.version });
            }
            let changes = match mood {
                Mood::Fails => return Err(StoreError::Io("full".into())),
                Mood::Stranger => vec![Change::Put("a".into(), b"of another".to_vec())],
                Mood::Honest | Mood::WritesAndFails => changes,
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

    fn written(moods: &[Mood]) -> (Result<u64, StoreError>, u64) {
        let store = Moody { held: Mutex::default(), moods: Mutex::new(moods.to_vec()) };
        let changes = vec![Change::Put("a".into(), b"1".to_vec()), Change::Remove("b".into())];
        let result = commit(&store, 0, changes).now_or_never().expect("this store never waits");
        (result, store.held.into_inner().unwrap().version)
    }

    #[test]
    fn a_write_that_an_error_was_given_for_is_found_and_written_again() {
        assert_eq!(written(&[Mood::Honest]), (Ok(1), 1));
        assert_eq!(written(&[Mood::WritesAndFails, Mood::Honest]), (Ok(2), 2));
        let (result, _) = written(&[Mood::Fails]);
        assert_eq!(result, Err(StoreError::Io("full".into())), "nothing was written, and nothing is tried again");
        assert!(matches!(written(&[Mood::Stranger]).0, Err(StoreError::Io(_))), "it was somebody else's");
        assert!(matches!(written(&[Mood::WritesAndFails, Mood::Fails]).0, Err(StoreError::Io(_))));
    }
}
