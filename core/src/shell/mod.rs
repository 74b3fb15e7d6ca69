//! The two loops. They are the only code of pgbaton that waits, they are generic over the ports, and
//! both worlds run them as they are.

mod agenda;
mod commit;
pub mod keeper;
pub mod monitor;
mod race;
pub mod register;

pub use keeper::{KeeperExit, KeeperPorts, STEP_FAILED, StopRequest, run_keeper};
pub use monitor::{MonitorExit, run_monitor};
pub use register::{RegisterError, Registered, ensure_registered};
