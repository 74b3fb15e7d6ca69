//! Few figures in three, and many in as many.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[half - 1] + sorted[half]) / 2.0,
            _ => sorted[half],
        };
        Some(Spread { median, min, max })
    }
}

/// How slow the slow ones are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tail {
    pub count: usize,
    pub median: f64,
    /// 99 of 100 are no larger.
    pub p99: f64,
    pub max: f64,
}

impl Tail {
    /// None of nothing.
    pub fn of(values: Vec<f64>) -> Option<Tail> {
        let Spread { median, max, .. } = Spread::of(values.iter().copied())?;
        let mut sorted = values;
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * 99).div_ceil(100);
        Some(Tail { count: sorted.len(), median, p99: sorted[rank - 1], max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn of_a_hundred_one_may_be_slower_than_the_99th_percentile() {
        let tail = Tail::of((1..=100).rev().map(f64::from).collect()).unwrap();
        assert_eq!(tail, Tail { count: 100, median: 50.5, p99: 99.0, max: 100.0 });
        assert_eq!(Tail::of(vec![2.0]).unwrap().p99, 2.0);
        assert_eq!(Tail::of(vec![]), None);
    }
}
