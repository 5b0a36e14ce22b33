//! The arithmetic of a verdict. Pure.

use std::fmt;

/// What a case has to reach: the ratio of the two sides, or a figure of ours where there is only one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Goal {
    /// Whether this value reaches it. What is not a number reaches nothing.
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::Below(bound) => write!(f, "< {bound}"),
        }
    }
}

/// The middle of some values, or the mean of the middle two; not a number when there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => f64::NAN,
        (middle, 0) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (middle, _) => sorted[middle],
    }
}

/// The smallest value that at least `share` of the sorted values do not exceed ("nearest rank").
pub(crate) fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank: from 0 to some millions"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// Three significant digits or more, as a person writes a figure: `0.667`, `12.3`, `104700`.
pub(crate) fn rounded(value: f64) -> f64 {
    let decimals = match value.abs() {
        ..10.0 => 1000.0,
        ..100.0 => 10.0,
        _ => 1.0,
    };
    (value * decimals).round() / decimals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_bad_run() {
        for (values, middle) in [
            (vec![3.0], 3.0),
            (vec![9.0, 1.0], 5.0),
            (vec![5.0, 1_000.0, 4.0], 5.0),
            (vec![4.0, 1.0, 3.0, 2.0], 2.5),
        ] {
            assert_eq!(median(values.clone()), middle, "{values:?}");
        }
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_goal_is_reached_up_to_its_bound_and_never_by_nothing() {
        let (least, most, below) = (Goal::AtLeast(0.7), Goal::AtMost(0.7), Goal::Below(0.7));
        for (value, reached) in [
            (0.0, [false, true, true]),
            (0.6999, [false, true, true]),
            (0.7, [true, true, false]),
            (0.7001, [true, false, false]),
            (f64::INFINITY, [true, false, false]),
            (f64::NAN, [false, false, false]),
            (median([]) / 100.0, [false, false, false]),
        ] {
            assert_eq!([least, most, below].map(|goal| goal.holds(value)), reached, "{value}");
        }
    }

    #[test]
    fn a_goal_is_written_as_the_report_has_it() {
        for (goal, written) in
            [(Goal::AtLeast(0.7), ">= 0.7"), (Goal::AtMost(1.8), "<= 1.8"), (Goal::Below(2.0), "< 2")]
        {
            assert_eq!(goal.to_string(), written);
        }
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<u64> = (1..=100).collect();
        for (share, value) in [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&sorted, share), Some(value), "{share}");
        }
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn figures_keep_three_digits() {
        for (value, written) in [(0.66666, 0.667), (12.345, 12.3), (104_700.4, 104_700.0)] {
            assert_eq!(rounded(value), written);
        }
    }
}
