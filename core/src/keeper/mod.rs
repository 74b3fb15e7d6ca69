//! The acting half: from an assignment and the facts to ordered steps, and the one decision a keeper
//! takes alone, to close.

pub mod fence;
pub mod lineage;
pub mod perform;
pub mod plan;
pub mod step;

pub use plan::{Memory, Plan, plan};
pub use step::{Outcome, Step};
