//! Scenario files: one story, two worlds. The format, its checks, and the timeline a run prints.

pub mod beside;
pub mod condition;
pub mod disturbed;
pub mod ends;
pub mod expect;
pub mod fault;
pub mod format;
pub mod order;
pub mod parse;
pub mod point;
pub mod resolve;
pub mod size;
pub mod timeline;
pub mod verb;
pub mod words;
pub mod write;

pub use beside::Beside;
pub use condition::{Condition, is_rebuilt};
pub use format::{
    ClockOptions, Cluster, Finally, NodeOptions, Outage, PostgresOptions, Scenario, Step, SynchronousCommit, Workload,
    WorkloadKind, World,
};
pub use order::Order;
pub use parse::{ScenarioError, parse};
pub use point::FaultPoint;
pub use resolve::{Cast, Selector, Unresolved};
pub use size::Size;
pub use verb::Verb;
pub use write::write;
