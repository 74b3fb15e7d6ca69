//! SIGINT and SIGTERM: the first ends a command in order, with what it has found so far, the second at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CODE: u8 = 130;

#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn watched() -> Interrupt {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            for registered in [
                signal_hook::flag::register_conditional_shutdown(signal, CODE.into(), interrupt.0.clone()),
                signal_hook::flag::register(signal, interrupt.0.clone()),
            ] {
                registered.expect("these two signals can be caught");
            }
        }
        interrupt
    }

    pub fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// How a command ends that was interrupted.
    pub fn exit() -> ExitCode {
        println!("interrupted: this is what was done until then");
        ExitCode::from(CODE)
    }
}
