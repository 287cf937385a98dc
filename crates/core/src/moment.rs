//! A point in time, by both clocks that a node has.

/// When something happened. Neither clock is enough: ticks stand still while the machine sleeps, and the wall's time
/// may be set back. An age is therefore what the clock says that counted more of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Ticks since the start, about one a second.
    pub(crate) tick: u64,
    /// Milliseconds since 1970.
    pub(crate) ms: u64,
}

impl Moment {
    /// How long ago `self` was, milliseconds.
    pub(crate) fn age_ms(self, now: Self) -> u64 {
        // The first tick may have come at once.
        let whole_ticks = now.tick.saturating_sub(self.tick).saturating_sub(1);
        self.took_ms(now).max(whole_ticks.saturating_mul(1_000))
    }

    /// How long something took that began at `self`, milliseconds: exact, but nothing if the clock was set back.
    pub(crate) const fn took_ms(self, now: Self) -> u64 {
        now.ms.saturating_sub(self.ms)
    }
}

#[cfg(test)]
mod tests {
    use super::Moment;

    #[test]
    fn an_age_is_known_although_the_machine_slept_or_its_clock_was_set_back() {
        let then = Moment { tick: 10, ms: 50_000 };
        assert_eq!(then.age_ms(Moment { tick: 11, ms: 50_400 }), 400);
        assert_eq!(then.age_ms(Moment { tick: 11, ms: 950_000 }), 900_000, "it slept");
        assert_eq!(then.age_ms(Moment { tick: 31, ms: 7 }), 20_000, "its clock was set back");
    }
}
