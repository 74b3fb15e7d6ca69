//! Sleep that costs one timer. madsim's own adds another each time it is polled while it waits, keeps it when it is
//! dropped, and wakes the task for each of them in the end.

use madsim::time::{Sleep, TimeHandle};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub struct Nap {
    sleep: Sleep,
    alarm: Option<Arc<Alarm>>,
}

/// Wakes whoever polled last, as long as somebody still waits.
#[derive(Default)]
struct Alarm(Mutex<Option<Waker>>);

impl Nap {
    pub fn new(time: &TimeHandle, length: Duration) -> Nap {
        Nap { sleep: time.sleep(length), alarm: None }
    }
}

impl Future for Nap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.is_elapsed() {
            return Poll::Ready(());
        }
        if let Some(alarm) = &self.alarm {
            alarm.0.lock().unwrap().get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
            return Poll::Pending;
        }
        let alarm = Arc::new(Alarm(Mutex::new(Some(cx.waker().clone()))));
        self.alarm = Some(alarm.clone());
        Pin::new(&mut self.sleep).poll(&mut Context::from_waker(&Waker::from(alarm)))
    }
}

impl Drop for Nap {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            *alarm.0.lock().unwrap() = None;
        }
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let waker = self.0.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
