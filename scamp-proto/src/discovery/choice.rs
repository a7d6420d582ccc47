//! Which of several instances to ask, and which to leave alone for a while.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Candidate, Instance};
use crate::auth::Fingerprint;
use crate::limits::{FAILURE_MARKS, FAILURE_MEMORY, FAILURE_MINUTES};
use crate::{Instant, Rng};

/// How one of several healthy instances is picked (D-44, `requester.selection`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Selection {
    /// By chance, in proportion to the weights.
    #[default]
    Weighted,
    /// By chance, all alike.
    Uniform,
    /// The one with the fewest requests outstanding; of equal ones by chance.
    LeastOutstanding,
}

impl Selection {
    /// The word for it in the configuration: `weighted`, `uniform` or `least_outstanding`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "weighted" => Some(Self::Weighted),
            "uniform" => Some(Self::Uniform),
            "least_outstanding" => Some(Self::LeastOutstanding),
            _ => None,
        }
    }

    /// Picks one of the candidates, or `None` if there are none.
    ///
    /// Instances that `marks` have as failed are taken only if all are. Each candidate is looked at
    /// once, and nothing is allocated.
    pub fn choose<'a>(
        self,
        candidates: impl IntoIterator<Item = Candidate<'a>>,
        marks: &Marks,
        outstanding: impl Fn(&Instance) -> u32,
        rng: &mut Rng,
        now: Instant,
    ) -> Option<Candidate<'a>> {
        let (mut healthy, mut failed) = (Draw::default(), Draw::default());
        for candidate in candidates {
            let instance = &**candidate.instance;
            let draw = match marks.is_failed(instance, now) {
                false => &mut healthy,
                true => &mut failed,
            };
            match self {
                // Weights beyond all reason must not add up to infinity (F-51).
                Self::Weighted => draw.add(candidate, instance.weight().clamp(0.0, 1e15), rng),
                Self::Uniform => draw.add(candidate, 1.0, rng),
                Self::LeastOutstanding => {
                    let load = outstanding(instance);
                    if draw.load.is_none_or(|least| load < least) {
                        *draw = Draw {
                            load: Some(load),
                            ..Draw::default()
                        };
                    }
                    if draw.load == Some(load) {
                        draw.add(candidate, 1.0, rng);
                    }
                }
            }
        }
        healthy.chosen.or(failed.chosen)
    }
}

/// A lot cast among candidates of which the number is not known beforehand.
#[derive(Default)]
struct Draw<'a> {
    chosen: Option<Candidate<'a>>,
    total: f64,
    load: Option<u32>,
}

impl<'a> Draw<'a> {
    /// The newcomer takes the place with the probability that is its share of the weights so far.
    fn add(&mut self, candidate: Candidate<'a>, weight: f64, rng: &mut Rng) {
        self.total += weight;
        if self.chosen.is_none() || fraction(rng) * self.total < weight {
            self.chosen = Some(candidate);
        }
    }
}

/// A number from 0 up to but not including 1.
fn fraction(rng: &mut Rng) -> f64 {
    const ALL: f64 = 4_294_967_296.0;
    let drawn = u32::try_from(rng.next_u64() >> 32).unwrap_or(u32::MAX);
    f64::from(drawn) / ALL
}

/// Which instances failed lately, and for how long they are left alone (D-45).
///
/// With n failures within a day an instance is failed for n minutes from the last one, an hour at
/// most. A success ends that; the failures go on counting for the next time.
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::Instant;
/// use scamp_proto::auth::Fingerprint;
/// use scamp_proto::discovery::{Description, Instance, Marks};
///
/// let service = Description::new("greeter:1", "beepish+tls://192.0.2.7:30100".parse()?);
/// let instance = Instance::fixed(&service, Fingerprint::of(b"its certificate"), None)?;
/// let mut marks = Marks::new();
/// marks.failed(&instance, Instant::EPOCH);
/// assert!(marks.is_failed(&instance, Instant::EPOCH + Duration::from_secs(59)));
/// assert!(!marks.is_failed(&instance, Instant::EPOCH + Duration::from_secs(60)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// By fingerprint and then by identity (HD-37).
    by_certificate: BTreeMap<Fingerprint, BTreeMap<Box<str>, Mark>>,
    count: usize,
}

#[derive(Clone, Debug, Default)]
struct Mark {
    /// When it failed; at most [`FAILURE_MINUTES`] times, the last ones.
    failures: Vec<Instant>,
    /// Until when it is left alone, unless it succeeded since.
    failed_until: Option<Instant>,
}

impl Marks {
    /// No failures.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that the instance could not be reached, or refused a request before it began.
    pub fn failed(&mut self, instance: &Instance, now: Instant) {
        if self.count >= FAILURE_MARKS {
            self.forget_old(now);
        }
        let marks = self
            .by_certificate
            .entry(instance.fingerprint())
            .or_default();
        if !marks.contains_key(instance.identity()) {
            if self.count >= FAILURE_MARKS {
                return;
            }
            self.count = self.count.saturating_add(1);
            marks.insert(instance.identity().into(), Mark::default());
        }
        let Some(mark) = marks.get_mut(instance.identity()) else {
            return;
        };
        mark.failures
            .retain(|failure| now - *failure < FAILURE_MEMORY);
        let most = usize::try_from(FAILURE_MINUTES).unwrap_or(usize::MAX);
        if mark.failures.len() >= most {
            mark.failures.remove(0);
        }
        mark.failures.push(now);
        let minutes = u64::try_from(mark.failures.len()).unwrap_or(u64::MAX);
        let span = Duration::from_secs(minutes.saturating_mul(60));
        mark.failed_until = Some(now + span);
    }

    /// Notes that the instance answered, whatever the answer was.
    pub fn succeeded(&mut self, instance: &Instance) {
        if let Some(mark) = self.mark_mut(instance) {
            mark.failed_until = None;
        }
    }

    /// Whether the instance is better left alone now.
    pub fn is_failed(&self, instance: &Instance, now: Instant) -> bool {
        self.failed_until(instance).is_some_and(|until| now < until)
    }

    /// Until when the instance is left alone, if it failed and has not succeeded since.
    pub fn failed_until(&self, instance: &Instance) -> Option<Instant> {
        let marks = self.by_certificate.get(&instance.fingerprint())?;
        marks.get(instance.identity())?.failed_until
    }

    fn mark_mut(&mut self, instance: &Instance) -> Option<&mut Mark> {
        let marks = self.by_certificate.get_mut(&instance.fingerprint())?;
        marks.get_mut(instance.identity())
    }

    /// Forgets failures that count no more; if that is not enough, those that ended longest ago.
    fn forget_old(&mut self, now: Instant) {
        self.by_certificate.retain(|_, marks| {
            marks.retain(|_, mark| {
                let last = mark.failures.last();
                last.is_some_and(|failure| now - *failure < FAILURE_MEMORY)
            });
            !marks.is_empty()
        });
        let mut ends: Vec<_> = self
            .by_certificate
            .values()
            .flat_map(|marks| marks.values().map(|mark| mark.failures.last().copied()))
            .collect();
        self.count = ends.len();
        if self.count < FAILURE_MARKS {
            return;
        }
        // Half at once, so that this is not done for every failure (HD-5).
        let middle = ends.len() / 2;
        let (_, middle, _) = ends.select_nth_unstable(middle);
        let middle = *middle;
        self.by_certificate.retain(|_, marks| {
            marks.retain(|_, mark| mark.failures.last().copied() > middle);
            !marks.is_empty()
        });
        self.count = self
            .by_certificate
            .values()
            .map(BTreeMap::len)
            .fold(0, usize::saturating_add);
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use std::collections::BTreeMap;
    use std::format;
    use std::string::{String, ToString};

    use super::*;
    use crate::auth::AuthorizedServices;
    use crate::discovery::tests::with_json;
    use crate::discovery::{Description, Directory, Offer, Query};

    fn instance(certificate: &str, identity: &str, weight: u32) -> Arc<Instance> {
        let uri = format!("beepish+tls://192.0.2.{}:30100", identity.len());
        let mut service = Description::new(identity, uri.parse().unwrap());
        service.weight = weight;
        service.actions.push(Offer::new("A.b").unwrap());
        let fingerprint = Fingerprint::of(certificate.as_bytes());
        Arc::new(Instance::fixed(&service, fingerprint, None).unwrap())
    }

    /// How often each is chosen in ten thousand times.
    fn counts(
        selection: Selection,
        instances: &[Arc<Instance>],
        marks: &Marks,
        load: impl Fn(&Instance) -> u32,
    ) -> BTreeMap<String, u32> {
        let directory = Directory::build(instances.iter().cloned(), &mut |event| panic!("{event}"));
        let all = AuthorizedServices::allow_all();
        let mut rng = Rng::new(1);
        let mut counts = BTreeMap::new();
        for _ in 0..10_000 {
            let found = directory.lookup(&Query::new("main", "A.b"), &all).unwrap();
            let chosen = selection.choose(found, marks, &load, &mut rng, Instant::EPOCH);
            let identity = chosen.unwrap().instance.identity().to_string();
            *counts.entry(identity).or_default() += 1;
        }
        counts
    }

    /// D-44, X-71, N-49: by weight, all alike, or the least busy; a weight of 0 never.
    #[test]
    fn selections() {
        let three = [
            instance("x", "a", 1),
            instance("x", "bb", 3),
            instance("x", "ccc", 0),
        ];
        let none = Marks::new();
        let weighted = counts(Selection::Weighted, &three, &none, |_| 0);
        assert_eq!(weighted.len(), 2);
        assert!((7300..7700).contains(&weighted["bb"]), "{weighted:?}");
        let uniform = counts(Selection::Uniform, &three, &none, |_| 0);
        assert!((4800..5200).contains(&uniform["bb"]), "{uniform:?}");
        let load = |instance: &Instance| u32::from(instance.identity() == "a");
        assert_eq!(
            counts(Selection::LeastOutstanding, &three, &none, load)["bb"],
            10_000
        );
        let ties = counts(Selection::LeastOutstanding, &three, &none, |_| 7);
        assert!((4800..5200).contains(&ties["bb"]), "{ties:?}");
    }

    /// F-51: weights that no sum holds are all large, and none is infinite.
    #[test]
    fn weights_beyond_reason() {
        let heavy = [instance("x", "a", u32::MAX), instance("y", "bb", u32::MAX)];
        let even = counts(Selection::Weighted, &heavy, &Marks::new(), |_| 0);
        assert!((4800..5200).contains(&even["a"]), "{even:?}");
        let announced = |identity: &str, weight: &str| {
            let json = format!(
                r#"[3,"{identity}","main",{weight},5000,"beepish+tls://192.0.2.7:1",["json"],[["A",["b"]]],1]"#
            );
            Arc::new(Instance::heard(Arc::new(with_json(&json).unwrap())))
        };
        let absurd = [
            announced("a", "1e308"),
            announced("b", "1.7e308"),
            announced("c", "1e-308"),
        ];
        let even = counts(Selection::Weighted, &absurd, &Marks::new(), |_| 0);
        assert!((4800..5200).contains(&even["a"]), "{even:?}");
        assert!((4800..5200).contains(&even["b"]), "{even:?}");
    }

    /// D-45: n failures in a day are n minutes, an hour at most; the instance that failed is marked
    /// and no other, though it has the same identity (N-36, HD-37).
    #[test]
    fn failures_put_an_instance_aside() {
        let (bad, good) = (instance("x", "same", 1), instance("y", "same", 1));
        let mut marks = Marks::new();
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let mut now = Instant::EPOCH;
        for n in 1..=70 {
            marks.failed(&bad, now);
            let span = minutes(n.min(60));
            assert!(
                marks.is_failed(&bad, now + (span - Duration::from_nanos(1))),
                "{n}"
            );
            assert!(!marks.is_failed(&bad, now + span), "{n}");
            now = now + Duration::from_secs(1);
        }
        assert!(!marks.is_failed(&good, now));
        // A success ends it, and the next failure counts with those before.
        marks.succeeded(&bad);
        assert!(!marks.is_failed(&bad, now));
        marks.failed(&bad, now);
        assert_eq!(marks.failed_until(&bad), Some(now + minutes(60)));
        // After a day only the new one counts.
        now = now + Duration::from_secs(24 * 3600);
        marks.failed(&bad, now);
        assert_eq!(marks.failed_until(&bad), Some(now + minutes(1)));
    }

    /// D-45: one that failed is asked only if there is no other.
    #[test]
    fn failed_instances_are_the_last_resort() {
        let both = [instance("x", "a", 100), instance("y", "bb", 1)];
        let mut marks = Marks::new();
        marks.failed(&both[0], Instant::EPOCH);
        for selection in [
            Selection::Weighted,
            Selection::Uniform,
            Selection::LeastOutstanding,
        ] {
            assert_eq!(counts(selection, &both, &marks, |_| 0)["bb"], 10_000);
        }
        marks.failed(&both[1], Instant::EPOCH);
        assert_eq!(counts(Selection::Uniform, &both, &marks, |_| 0).len(), 2);
    }

    /// HD-4: the memory for failures is bounded, and what fails now is remembered all the same.
    #[test]
    fn marks_are_bounded() {
        let mut marks = Marks::new();
        let mut now = Instant::EPOCH;
        for n in 0..FAILURE_MARKS + 10 {
            let one = instance("x", &format!("service {n}"), 1);
            now = now + Duration::from_millis(1);
            marks.failed(&one, now);
            assert!(marks.is_failed(&one, now));
            assert!(marks.count <= FAILURE_MARKS);
        }
    }
}
