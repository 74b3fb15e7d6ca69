//! Waking those who wait for "something changed". A ring is never lost: a waiter says which ring it
//! has seen, so look first, then wait for the next one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    rings: u64,
    wakers: Vec<Waker>,
}

impl Bell {
    pub fn ring(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.rings += 1;
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    pub fn rings(&self) -> u64 {
        self.0.lock().unwrap().rings
    }

    /// Ends once there were more than `seen` rings.
    pub fn past(&self, seen: u64) -> Past {
        Past { bell: self.clone(), seen }
    }

    /// Looks again after each ring until there is something to give back.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let seen = self.rings();
            if let Some(found) = look() {
                return found;
            }
            self.past(seen).await;
        }
    }
}

#[derive(Debug)]
pub struct Past {
    bell: Bell,
    seen: u64,
}

impl Future for Past {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.bell.0.lock().unwrap();
        if state.rings > self.seen {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|w| w.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
