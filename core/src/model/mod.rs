//! Plain data both sides of the link agree on. Nothing here waits, reads a clock or does I/O.

pub mod assignment;
pub mod contract;
pub mod group;
pub mod ids;
pub mod keeper;
pub mod name;
pub mod report;
pub mod settings;
pub mod state;
pub mod time;
pub mod wal;

pub use assignment::{Assignment, NodeSettings, Peer, Upstream};
pub use contract::{Contract, ContractId, InForce};
pub use group::{Afterwards, Degraded, GroupRecord, MOST_NODES, NodeRecord, Transfer, TransferKind, Waiver, Word};
pub use ids::{Epoch, GroupKey, NodeId};
pub use keeper::{KeeperRecord, Rebuild};
pub use report::{
    Control, ControlState, Directory, Facts, KEPT_IN, Kept, Receiver, Report, Running, Seal, Sender, Server, Spent,
    Stranded,
};
pub use settings::{Durability, FormationSettings, KeeperSettings, MonitorSettings};
pub use state::NodeState;
pub use time::Moment;
pub use wal::{History, Lsn, Position, Timeline};
