//! Planted bugs, by which the simulator itself is judged: each must be found. They are there only with the feature
//! `mutants`, which no production build has: `runtime` doesn't compile with it.
//!
//! `mutant!(Name)` is true while that bug is on. One is on for a thread, and a run has a thread of its own.

#[cfg(feature = "mutants")]
mod table;

#[cfg(feature = "mutants")]
pub use table::Mutant;

/// Whether this build can be given a bug.
pub const PLANTED: bool = cfg!(feature = "mutants");

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// The bug that is on in this thread.
    pub fn current() -> Option<Mutant> {
        ON.get()
    }

    /// From here on this thread, and every run that it begins, has this bug and no other.
    pub fn plant(mutant: Option<Mutant>) {
        ON.set(mutant);
    }
}

#[cfg(feature = "mutants")]
pub use switch::{current, plant};

/// Takes this thread's bug along: what is given back plants it where it is called.
pub fn for_another_thread() -> impl FnOnce() + Send + 'static {
    #[cfg(feature = "mutants")]
    let planted = current();
    move || {
        #[cfg(feature = "mutants")]
        plant(planted);
    }
}

/// Whether this bug of the table is on.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::current() == Some($crate::mutants::Mutant::$name)
    };
}

/// Never, in a build without planted bugs.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}
