//! Waiting for the first of several things, in a fixed order: no randomness decides who is looked at
//! first, so a run can be repeated.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Polls a task that may not exist; taken out when it is done.
pub fn poll_slot<T>(slot: &mut Option<Task<'_, T>>, cx: &mut Context<'_>) -> Poll<T> {
    let Some(task) = slot else { return Poll::Pending };
    let ready = task.as_mut().poll(cx);
    if ready.is_ready() {
        *slot = None;
    }
    ready
}

/// Polls tasks from the oldest on; the one that is done is taken out.
pub fn poll_list<K: Copy, T>(list: &mut Vec<(K, Task<'_, T>)>, cx: &mut Context<'_>) -> Poll<(K, T)> {
    for i in 0..list.len() {
        if let Poll::Ready(value) = list[i].1.as_mut().poll(cx) {
            let (key, _) = list.remove(i);
            return Poll::Ready((key, value));
        }
    }
    Poll::Pending
}
