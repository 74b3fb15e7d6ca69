//! Log lines: `HH:MM:SS pid LEVEL message`, on stderr.

use std::fmt;
use std::io::IsTerminal;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// How much is said: 0 and 1 are INFO, 2 DEBUG, 3 and more TRACE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    Quiet,
    Verbose(u8),
}

impl Volume {
    fn filter(self) -> String {
        let (ours, theirs) = match self {
            Volume::Quiet => ("error", "error"),
            Volume::Verbose(0 | 1) => ("info", "warn"),
            Volume::Verbose(2) => ("debug", "warn"),
            Volume::Verbose(_) => ("trace", "info"),
        };
        format!("{theirs},pgbaton={ours},pgbaton_core={ours}")
    }
}

/// Starts logging. Later calls change nothing, so that tests may call it freely.
pub fn start(volume: Volume) {
    let line = Line { pid: std::process::id(), millis: matches!(volume, Volume::Verbose(2..)) };
    let _already_started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(volume.filter()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(line)
        .try_init();
}

struct Line {
    pid: u32,
    millis: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let time = if self.millis { "%H:%M:%S%.3f" } else { "%H:%M:%S" };
        let level = *event.metadata().level();
        write!(out, "{} {} ", jiff::Zoned::now().strftime(time), self.pid)?;
        if out.has_ansi_escapes() {
            write!(out, "\x1b[{}m{level:<5}\x1b[0m ", colour(level))?;
        } else {
            write!(out, "{level:<5} ")?;
        }
        for span in ctx.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|f| !f.is_empty()) {
                write!(out, "[{fields}] ")?;
            }
        }
        ctx.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 36,
    }
}
