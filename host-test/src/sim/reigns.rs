//! Who believed to hold a lease, and when, in true time.

use crate::clock::GuestClock;
use crate::store::Deed;
use ifmatch::lease::Lease;
use std::collections::BTreeSet;
use std::time::Duration;

/// A span of true time in which one instance relied on a grant.
#[derive(Clone, Debug)]
pub struct Reign {
    /// For people: who.
    pub holder: String,
    /// Which instance: a copy is another one.
    pub instance: u64,
    /// The token of the grant.
    pub token: u64,
    /// When the call began that gave the grant first.
    pub asked: Duration,
    /// When it returned.
    pub began: Duration,
    /// The end of the last span that it was promised, or when it gave up or died.
    pub ended: Duration,
    /// Whether its clock stood still meanwhile. A host that stops an instance and
    /// its clock breaks the bounds on clocks.
    pub frozen: bool,
}

/// All spans.
#[derive(Clone, Debug, Default)]
pub struct Reigns(pub Vec<Reign>);

impl Reigns {
    /// A call returned a grant: its instance relies on it from then on.
    pub fn rely(&mut self, reign: Reign) {
        let same =
            |other: &&mut Reign| (other.token, other.instance) == (reign.token, reign.instance);
        match self.0.iter_mut().find(same) {
            Some(known) => known.ended = known.ended.max(reign.ended),
            None => self.0.push(reign),
        }
    }

    /// The instance relies on nothing from now on.
    pub fn stop(&mut self, instance: u64, now: Duration, clock: &GuestClock) {
        for reign in &mut self.0 {
            if reign.instance == instance {
                reign.ended = reign.ended.min(now);
                reign.frozen |= clock.has_stood_still_since(reign.asked);
            }
        }
    }

    /// What must not be:
    ///
    /// * two instances that rely on the lease at once, unless the clock of one of
    ///   them stood still, or one of them was copied: of two copies with one token,
    ///   one may give up what the other goes on to rely on;
    /// * a reign that begins later with a lower token.
    pub fn check(&self) -> Vec<String> {
        let copied = |reign: &Reign| {
            let others = self.0.iter().filter(|other| other.token == reign.token);
            others
                .into_iter()
                .any(|other| other.instance != reign.instance)
        };
        let mut reigns: Vec<&Reign> = self.0.iter().filter(|r| r.began < r.ended).collect();
        reigns.sort_by_key(|reign| (reign.began, reign.token));
        let mut violations = Vec::new();
        for (at, after) in reigns.iter().enumerate() {
            for before in &reigns[..at] {
                let excused = |reign: &Reign| reign.frozen || copied(reign);
                let overlap = before.ended > after.began;
                if overlap && !excused(before) && !excused(after) {
                    violations.push(format!("two at once: {before:?} and {after:?}"));
                }
                if before.token > after.token && before.ended <= after.began && !after.frozen {
                    violations.push(format!("a token falls: {before:?} and {after:?}"));
                }
            }
        }
        violations
    }
}

/// Checks everything that was ever written to a lease: it is never deleted, no two
/// versions are the same, and its token grows with every acquisition and never falls.
pub fn check_versions(diary: &[Deed]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut nonces = BTreeSet::new();
    let mut before: Option<Lease> = None;
    for deed in diary {
        let Some(body) = &deed.body else {
            violations.push(format!("{}: deleted", deed.key));
            continue;
        };
        let lease = match Lease::decode(body) {
            Ok(lease) => lease,
            Err(error) => {
                violations.push(format!("{}: {error}", deed.key));
                continue;
            }
        };
        if !nonces.insert(lease.nonce) {
            violations.push(format!("{}: one nonce in two versions", deed.key));
        }
        if let Some(before) = &before {
            let same_term = lease.holder == before.holder && lease.renewals == before.renewals + 1
                || lease.state != ifmatch::lease::State::Held;
            let grows = lease.token > before.token;
            let stays = lease.token == before.token && same_term;
            if !grows && !stays {
                violations.push(format!(
                    "{}: token {:?} follows on {:?}",
                    deed.key, lease.token, before.token
                ));
            }
            if lease.bounds != before.bounds {
                violations.push(format!("{}: other bounds than before", deed.key));
            }
        }
        before = Some(lease);
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reign(token: u64, began: u64, ended: u64) -> Reign {
        Reign {
            holder: format!("h{token}"),
            instance: token * 100 + began,
            token,
            asked: Duration::from_secs(began),
            began: Duration::from_secs(began),
            ended: Duration::from_secs(ended),
            frozen: false,
        }
    }

    fn check(reigns: &[Reign]) -> Vec<String> {
        Reigns(reigns.to_vec()).check()
    }

    #[test]
    fn two_leaders_and_a_token_that_falls_are_seen() {
        assert!(check(&[reign(2, 20, 30), reign(1, 0, 20)]).is_empty());
        let both = check(&[reign(1, 0, 21), reign(2, 20, 30)]);
        assert!(
            both.len() == 1 && both[0].contains("two at once"),
            "{both:?}"
        );
        let falls = check(&[reign(2, 0, 10), reign(1, 20, 30)]);
        assert!(
            falls.len() == 1 && falls[0].contains("a token falls"),
            "{falls:?}"
        );
    }

    #[test]
    fn frozen_and_copied_instances_are_excused_from_exclusion_alone() {
        let frozen = Reign {
            frozen: true,
            ..reign(1, 0, 21)
        };
        assert!(check(&[frozen.clone(), reign(2, 20, 30)]).is_empty());
        assert_eq!(
            check(&[frozen, reign(2, 20, 30), reign(3, 25, 40)]).len(),
            1
        );
        let copies = [reign(1, 0, 21), reign(1, 5, 21)];
        assert!(check(&[copies[0].clone(), copies[1].clone(), reign(2, 20, 30)]).is_empty());
    }
}
