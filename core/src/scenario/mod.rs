//! Scenario files: one story, two worlds. The format, its checks, and the timeline a run prints.

pub mod expect;
pub mod fault;
pub mod format;
pub mod parse;
pub mod resolve;
pub mod timeline;

pub use format::{Cluster, Condition, Finally, Outage, Scenario, Step, Verb, Workload, World};
pub use parse::{ScenarioError, parse};
pub use resolve::{Cast, Selector, Unresolved};
