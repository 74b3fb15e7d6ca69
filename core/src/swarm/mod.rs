//! From a seed to a story: what a run is made of, and what goes wrong in it, drawn. The plan is a scenario like those
//! that people write, so it can be printed, replayed, and made shorter; and nothing is decided while it runs.
//!
//! - `dice`     chance that follows a seed
//! - `options`  what a run is made of
//! - `hazard`   kinds of things that go wrong, and what each does
//! - `plan`     when they go wrong, and for how long
//! - `show`     a plan in a few lines

pub mod dice;
pub mod hazard;
pub mod options;
pub mod plan;

pub use hazard::Hazard;
pub use plan::{LENGTH, plan};
