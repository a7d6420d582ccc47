//! A value's text as numbers, durations, words and lists.

use alloc::string::String;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::{Config, ConfigError, Found, Problem};

impl Config {
    /// A duration, written in seconds with an optional fraction.
    ///
    /// # Errors
    ///
    /// [`Problem::NotADuration`].
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        self.find(&[key]).map(Found::duration).transpose()
    }

    /// A flag: `1 true yes on`, `0 false no off`, in any case; nothing at all is no.
    ///
    /// # Errors
    ///
    /// [`Problem::NotAFlag`].
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.find(&[key]).map(Found::flag).transpose()
    }

    /// Whether a key is there with anything but nothing or a word for no (C-3, keys marked ¶).
    pub fn presence(&self, key: &str) -> bool {
        self.find(&[key])
            .is_some_and(|found| word(found.value) != Some(false))
    }

    /// A whole number, written in decimal digits.
    ///
    /// # Errors
    ///
    /// [`Problem::NotANumber`], also if it is too large for the type.
    pub fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        self.find(&[key])
            .map(|found| found.number(0..=most::<T>()))
            .transpose()
    }

    /// The entries of a comma-separated list, trimmed; empty ones are left out.
    pub fn list(&self, key: &str) -> impl Iterator<Item = &str> {
        let entries = self.text(key).unwrap_or_default().split(',');
        entries
            .map(str::trim_ascii)
            .filter(|entry| !entry.is_empty())
    }

    /// The words of a blank-separated list.
    pub fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        self.text(key).unwrap_or_default().split_ascii_whitespace()
    }
}

impl<'a> Found<'a> {
    pub(super) fn duration(self) -> Result<Duration, ConfigError> {
        duration(self.value).ok_or_else(|| self.error(Problem::NotADuration))
    }

    /// A duration, or `off` or 0 for none.
    pub(super) fn duration_or_off(self) -> Result<Option<Duration>, ConfigError> {
        if self.value.eq_ignore_ascii_case("off") {
            return Ok(None);
        }
        self.duration()
            .map(|duration| (!duration.is_zero()).then_some(duration))
    }

    pub(super) fn flag(self) -> Result<bool, ConfigError> {
        word(self.value).ok_or_else(|| self.error(Problem::NotAFlag))
    }

    pub(super) fn number<T: TryFrom<u64>>(
        self,
        range: RangeInclusive<u64>,
    ) -> Result<T, ConfigError> {
        let number = digits(self.value).filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| {
            self.error(Problem::NotANumber {
                least: *range.start(),
                most: *range.end(),
            })
        })
    }

    pub(super) fn one_of<T>(
        self,
        words: &'static str,
        choose: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let chosen = choose(&self.value.to_ascii_lowercase());
        chosen.ok_or_else(|| self.error(Problem::NotOneOf(words)))
    }
}

/// The beginning of a text from outside, long enough to be recognized (HD-13).
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Decimal digits and nothing else (C-3: JS puts an offset behind a port as text).
pub(super) fn digits(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn duration(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let nanos = fraction
        .bytes()
        .chain(core::iter::repeat(b'0'))
        .take(9)
        .fold(0_u32, |nanos, digit| {
            nanos
                .saturating_mul(10)
                .saturating_add(u32::from(digit.saturating_sub(b'0')))
        });
    Some(Duration::new(digits(whole)?, nanos))
}

fn word(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "" | "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The largest number a type holds, of those that 64 bits hold.
fn most<T: TryFrom<u64>>() -> u64 {
    let bits = (0..u64::BITS).filter(|bits| T::try_from(u64::MAX >> bits).is_ok());
    bits.min().map_or(0, |bits| u64::MAX >> bits)
}
