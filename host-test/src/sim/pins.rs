//! Pins: what they must keep from being trimmed.

use std::time::Duration;

/// A pin that somebody was told of, and the time in which it holds for certain.
#[derive(Clone, Debug)]
struct Held {
    first: u64,
    from: Duration,
    until: Duration,
}

/// Somebody was told that everything before `first_kept` is trimmed.
#[derive(Clone, Debug)]
struct Trimmed {
    first_kept: u64,
    began: Duration,
    ended: Duration,
}

/// What was said of the pins of one reader, and of trims.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    held: Vec<Held>,
    trimmed: Vec<Trimmed>,
}

impl Pins {
    /// From `from` on, everything from `first` on is pinned for this time.
    pub fn hold(&mut self, first: u64, from: Duration, left: Duration) {
        let until = from + left;
        self.held.push(Held { first, from, until });
    }

    /// From now on, what was pinned may be pinned no more.
    pub fn end(&mut self, now: Duration) {
        for held in &mut self.held {
            held.until = held.until.min(now);
        }
    }

    /// A call with these times said that everything before `first_kept` is trimmed.
    pub fn trimmed(&mut self, first_kept: u64, began: Duration, ended: Duration) {
        self.trimmed.push(Trimmed {
            first_kept,
            began,
            ended,
        });
    }

    /// Nobody was told that something is trimmed while a pin held it.
    pub fn check(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for trimmed in &self.trimmed {
            for held in &self.held {
                let within = held.from < trimmed.began && trimmed.ended < held.until;
                if within && trimmed.first_kept > held.first {
                    violations.push(format!("{trimmed:?} in spite of {held:?}"));
                }
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trim_in_spite_of_a_pin_is_seen() {
        let at = Duration::from_secs;
        let told = |first_kept, began, ended| {
            let mut pins = Pins::default();
            pins.hold(5, at(10), at(10));
            pins.trimmed(first_kept, at(began), at(ended));
            pins
        };
        assert!(told(5, 11, 12).check().is_empty());
        assert!(told(6, 9, 12).check().is_empty());
        assert!(told(6, 12, 21).check().is_empty());
        assert_eq!(told(6, 11, 12).check().len(), 1);
        let mut ended = told(6, 13, 14);
        ended.end(at(12));
        assert!(ended.check().is_empty());
    }
}
