//! What is told of steps, where somebody counts on the words: those who judge a run know its steps by them.

pub const CANCEL_WAITERS: &str = "cancel the waiting commits of";
pub const CLOCK_STEP: &str = "move the wall clock of";
pub const CONTINUE_BACKEND: &str = "thaw the backend of";
pub const CRASH_BACKEND: &str = "crash a backend of";
pub const CUT_POWER: &str = "cut the power of";
pub const FREE_ARCHIVER: &str = "free the archiver of";
pub const FILL_MONITOR: &str = "fill the disk of the monitor";
pub const FREE_DISK: &str = "free a disk of";
pub const FREE_MONITOR: &str = "free the disk of the monitor";
pub const KILL_MONITOR: &str = "kill the monitor";
pub const KILL_POSTGRES: &str = "kill the postmaster of";
pub const LOSE_DIRECTORY: &str = "lose the data directory of";
pub const MEND_CONFIG: &str = "mend the configuration of";
/// A step that makes no sense at its moment; why follows.
pub const PASSED_OVER: &str = "passed over";
pub const REPLACE_MONITOR: &str = "replace the monitor by an empty one";
pub const RESTART_BY_HAND: &str = "restart by hand the server of";
pub const RESTORE_MONITOR: &str = "restore the monitor's store";
pub const PAUSE_KEEPER: &str = "pause the keeper of";
pub const RESUME: &str = "resume";
pub const ROGUE_PROMOTE: &str = "promote by hand";
pub const ROGUE_START: &str = "start by hand the server of";
pub const SAVE_MONITOR: &str = "save the monitor's store";
pub const SETTINGS: &str = "change the settings of";
pub const SMART_STOP: &str = "stop by hand, smart, the server of";
pub const STALL_DISK: &str = "stall a disk of";
pub const STALL_MONITOR: &str = "stall the disk of the monitor";
pub const START_MONITOR: &str = "start the monitor";
pub const STOP_BY_HAND: &str = "stop by hand the server of";
pub const SUSPEND: &str = "suspend";
pub const SWIZZLE: &str = "cut and mend links at random";
pub const TEAR_STORE: &str = "let the next death tear the store of";
pub const TERMINATE_WAITERS: &str = "terminate the waiting commits of";
