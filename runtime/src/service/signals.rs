//! What the operating system, systemd or an operator asks of a running service.

use pgbaton_core::shell::StopRequest;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Stop(StopRequest),
    Reload,
}

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Asked::Stop(StopRequest::Fast),
            _ = self.terminate.recv() => Asked::Stop(StopRequest::HandOver),
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}
