//! The deciding half: pure functions from what is known to what each node shall be.

pub mod commands;
pub mod decide;
pub mod doubt;
pub mod durability;
pub mod edit;
pub mod election;
pub mod events;
pub mod health;
pub mod rows;
pub mod rules;
pub mod stall;
pub mod state;
pub mod step;
pub mod view;

pub use edit::{Edit, Terms};
pub use health::{Life, Pulse};
pub use state::{Effects, Group, Monitor};
pub use view::View;
