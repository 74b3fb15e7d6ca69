//! What somebody does to a Postgres behind its keeper's back.

use super::Done;
use crate::world::World;
use pgbaton_core::scenario::Verb;
use std::time::Duration;

/// How long `pg_ctl` waits for a server to stop.
const STOP_LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn perform(world: &World, verb: &Verb, names: &[String]) -> Done {
    let Ok(node) = world.node(names.first().map_or("", String::as_str)) else { return Ok(false) };
    let pg = &node.pg;
    match verb {
        Verb::RoguePromote(_) => pg.rogue_promote()?,
        Verb::RogueStart(_) => pg.rogue_start()?,
        Verb::CrashBackend(_) => pg.crash_backend()?,
        Verb::StopBackend(_) => pg.stop_backend(true),
        Verb::ContinueBackend(_) => pg.stop_backend(false),
        Verb::HangArchiver(_) => pg.hang_archiver(true),
        Verb::FreeArchiver(_) => pg.hang_archiver(false),
        Verb::UseArchive(_) => pg.use_archive(&world.archive),
        Verb::SlowCheckpoint(delay) => pg.slow_checkpoint(delay.by),
        Verb::ApplyDelay(delay) => pg.set_apply_delay(delay.by),
        Verb::CancelWaiters(_) => pg.cancel_waiters(),
        Verb::TerminateWaiters(_) => pg.terminate_waiters(),
        Verb::LoseDirectory(_) => pg.lose_directory(),
        Verb::SmartStop(_) => pg.begin_smart_stop(),
        Verb::StopPostgresByHand(_) => pg.begin_stop(),
        Verb::RestartPostgresByHand(_) => {
            pg.begin_stop();
            let stopped = world.fate.timeout(STOP_LIMIT, pg.until_stopped()).await;
            stopped.ok_or_else(|| format!("the server of {} did not stop", node.name))?;
            // The keeper may have been faster.
            if pg.pg().server.is_none() {
                pg.rogue_start()?;
            }
        }
        Verb::BreakConfig(_) => pg.break_config(true),
        Verb::MendConfig(_) => pg.break_config(false),
        _ => return Ok(false),
    }
    Ok(true)
}
