//! From a seed to a story: what a run is made of, and what goes wrong in it, drawn. The plan is a scenario like those
//! that people write, so it can be printed, replayed, and made shorter; and nothing is decided while it runs.
//!
//! - `dice`     chance that follows a seed
//! - `manner`   which world a story is drawn for
//! - `options`  what a run is made of
//! - `hazard`   kinds of things that go wrong, and what each does
//! - `plot`     things that go wrong together
//! - `plan`     when they go wrong, and for how long
//! - `beside`   a second formation on the same monitor

mod beside;
pub mod dice;
pub mod hazard;
pub mod manner;
pub mod options;
pub mod plan;
pub mod plot;

pub use hazard::Hazard;
pub use manner::Manner;
pub use plan::{LENGTH, plan};
pub use plot::Plot;
