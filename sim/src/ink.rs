//! Colours for a terminal, the same as those of the page. Without ink every byte is as it would be without colours.

use crate::report::{TimelineStyle, timeline};
use anstream::{AutoStream, ColorChoice};
use anstyle::{Ansi256Color, AnsiColor, Effects, Style};
use pgbaton_core::check::{Trace, Verdict};
use pgbaton_core::scenario::timeline::render_painted;
use pgbaton_core::view::colour;
use pgbaton_core::view::words::{Part, Tone};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    None,
    Colours,
}

impl Ink {
    /// For a terminal that takes colours; `NO_COLOR` and `CLICOLOR_FORCE` are heeded.
    pub fn for_stdout() -> Ink {
        match AutoStream::choice(&std::io::stdout()) {
            ColorChoice::Never => Ink::None,
            _ => Ink::Colours,
        }
    }

    pub(crate) fn timeline(self, trace: &Trace, style: TimelineStyle) -> String {
        match (self, style) {
            (Ink::Colours, TimelineStyle::Full) => render_painted(trace, paint),
            _ => timeline(trace, style),
        }
    }

    pub(crate) fn verdict(self, verdict: &Verdict) -> String {
        let colour = match (&verdict.broken, &verdict.not_judged) {
            (Some(_), _) => AnsiColor::Red,
            (None, Some(_)) => AnsiColor::Yellow,
            (None, None) => AnsiColor::Green,
        };
        self.write(&verdict.word(), colour.on_default())
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.write(text, AnsiColor::Red.on_default())
    }

    fn write(self, text: &str, style: Style) -> String {
        match self {
            Ink::None => text.to_string(),
            Ink::Colours => format!("{style}{text}{style:#}"),
        }
    }
}

fn paint(part: &Part) -> String {
    let style = match part.tone {
        Tone::Plain => return part.text.clone(),
        Tone::State(state) => Ansi256Color(colour::of(state).ansi).on_default(),
        Tone::Step => AnsiColor::Yellow.on_default().effects(Effects::BOLD),
        Tone::Opens => AnsiColor::Green.on_default().effects(Effects::BOLD),
        Tone::Closes => AnsiColor::Red.on_default().effects(Effects::BOLD),
    };
    Ink::Colours.write(&part.text, style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::check::Kind;
    use pgbaton_core::model::{Epoch, Moment, NodeId, NodeState};

    #[test]
    fn colours_take_nothing_from_the_text_and_are_those_of_the_page() {
        let mut trace = Trace { nodes: vec!["mdw".into()], ..Trace::default() };
        trace.push(Moment(1), Kind::Step { text: "kill the monitor".into() });
        let kind = Kind::Node {
            node: "mdw".into(),
            id: NodeId(1),
            reported: NodeState::Single,
            goal: NodeState::Primary,
            epoch: Epoch(1),
            in_force: "none".into(),
            rule: None,
            description: "x".into(),
        };
        trace.push(Moment(2), kind);
        let coloured = Ink::Colours.timeline(&trace, TimelineStyle::Full);
        let plain = Ink::None.timeline(&trace, TimelineStyle::Full);
        let single = format!("\u{1b}[38;5;{}m           single\u{1b}[0m", colour::of(NodeState::Single).ansi);
        assert!(coloured.contains(&single), "{coloured:?}");
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
        assert!(!plain.contains('\u{1b}'));
    }
}
