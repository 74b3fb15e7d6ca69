//! The port `Postgres` against real servers on this machine, of every version that is here. Every test makes its own,
//! below /tmp.

mod admit;
mod harness;
mod life;
#[path = "../support/port.rs"]
mod port;
mod promote;
mod rebuild;
mod seal;
