//! A colour for each state: one table for terminals and pages.

use crate::model::NodeState;

/// A colour of the 256 that terminals know, and whether text on it is black or white.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    pub ansi: u8,
    pub dark_text: bool,
}

/// Green writes, blue follows, violet elects, red closes, olive is in an operator's hands. Of middling brightness: read
/// as text on black and on white.
pub fn of(state: NodeState) -> Colour {
    use NodeState::*;
    let (ansi, dark_text) = match state {
        Primary => (35, true),
        Single => (37, true),
        WaitPrimary => (148, true),
        Draining => (214, true),
        DemoteTimeout => (202, true),
        Demoted => (131, false),
        Secondary => (68, true),
        Catchingup => (74, true),
        WaitStandby => (110, true),
        ReportLsn => (99, true),
        FastForward => (170, true),
        PreparePromotion => (134, true),
        StopReplication => (127, false),
        PrepareMaintenance => (136, true),
        WaitMaintenance => (143, true),
        Maintenance => (100, true),
        Init => (245, true),
        Dropped => (240, false),
    };
    Colour { ansi, dark_text }
}

impl Colour {
    /// As a page writes it: the colour cube of six steps a side, and the greys behind it.
    pub fn hex(self) -> String {
        let [red, green, blue] = self.rgb();
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    pub fn rgb(self) -> [u8; 3] {
        let step = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
        match self.ansi {
            16..=231 => {
                let cube = self.ansi - 16;
                [step(cube / 36), step(cube / 6 % 6), step(cube % 6)]
            }
            232..=255 => [8 + 10 * (self.ansi - 232); 3],
            low => unreachable!("what colour {low} is depends on the terminal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Relative luminance as the WCAG has it.
    fn luminance(rgb: [u8; 3]) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2])
    }

    #[test]
    fn every_state_has_a_colour_of_its_own_on_which_its_name_can_be_read() {
        let all: BTreeSet<u8> = NodeState::ALL.iter().map(|s| of(*s).ansi).collect();
        assert_eq!(all.len(), NodeState::ALL.len());
        for state in NodeState::ALL {
            let colour = of(*state);
            let (back, text) = (luminance(colour.rgb()), if colour.dark_text { 0.0 } else { 1.0 });
            let contrast = (back.max(text) + 0.05) / (back.min(text) + 0.05);
            assert!(contrast >= 4.5, "{state}: {contrast:.2}");
        }
    }

    #[test]
    fn the_cube_and_the_greys_are_the_terminal_s() {
        assert_eq!(Colour { ansi: 35, dark_text: true }.hex(), "#00af5f");
        assert_eq!(Colour { ansi: 245, dark_text: true }.hex(), "#8a8a8a");
        assert_eq!(Colour { ansi: 231, dark_text: true }.hex(), "#ffffff");
    }
}
