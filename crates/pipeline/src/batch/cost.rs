//! What a record costs on one executor, learned from how long parts took, and how many records a call bears.
//!
//! Two estimates are kept, time per record and time per input byte, and the larger one counts for each record. If
//! cost is any mixture of a fixed amount and one that grows with length, that is never below the truth on average,
//! neither for short records nor for long ones.
//!
//! How far records stray from the estimate is kept as a histogram of ratios: all that a part took too long is put on
//! one of its records. From it follows how many records fit in one call so that the call is over its limit at most
//! once in 1 / [`OVER_LIMIT`] parts: Chernoff's bound, `P(sum > limit) <= exp(-t) * M(t / limit)^records` for every
//! `t`, where `M` is the moment generating function of the histogram. A record of [`SURPRISE`] times the usual cost
//! is always taken for possible, the less the more records were seen.
//!
//! Each executor has its own, so one that lies about its time spoils nobody else's.

/// Ratios that the histogram tells apart; all within a step count as the step's upper end. Finer where it decides
/// about a few per cent, and up to where one record fills a call.
const STEPS: [f64; 20] = [
    1.1, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0,
    256.0, 384.0, 512.0, 1024.0,
];

/// The `t` at which the bound is tried; the best one counts. Below `-ln(OVER_LIMIT)` none helps, and above a
/// hundred only records far below the limit are told apart, which other bounds keep few.
const TILTS: [f64; 10] = [10.0, 11.0, 12.5, 14.5, 17.5, 22.0, 29.0, 40.0, 60.0, 100.0];

/// Chance that a part is over the limit, as far as the histogram is right. Parts of one run are hardly more than ten
/// thousand, and the bound is usually far from reached.
const OVER_LIMIT: f64 = 1e-4;

/// How many times dearer than usual a record may be without having been seen: one long text among many short ones.
const SURPRISE: f64 = 100.0;

/// Part of the limit that a record counts with at most while it is only feared, and when it was over the limit alone:
/// then no part size helps it, and others should not suffer for it.
const FEARED: f64 = 0.5;

/// Records that the mean remembers: enough to average over one per cent of dear ones, few enough to follow a load
/// that changes within seconds.
const MEAN_RECORDS: f64 = 256.0;

/// Records that the histogram remembers: a surprise should be forgotten more slowly than the mean.
const STRAY_RECORDS: f64 = 4096.0;

/// Parts in a row that took more than twice what was predicted until the mean is learned anew: chance hardly does
/// that, a machine that got busy does.
const SLOWER_PARTS: u32 = 3;

/// How many times what was expected a call over the limit counts in the mean: most likely one record is to blame, and
/// the next ones are as they were.
const OVER_COUNTS: f64 = 4.0;

/// Least cost of a record, microseconds, so that an executor that claims to need no time gets no endless parts.
const RECORD_MIN_US: f64 = 1.0;

/// What is known about one executor's speed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cost {
    /// What the producer allows a call.
    pub(super) limit_us: f64,
    /// Weighted sums over the records remembered.
    wall_us: f64,
    records: f64,
    bytes: f64,
    /// Records by how many times the expected cost they took.
    strays: [f64; STEPS.len()],
    /// All of them together.
    seen: f64,
    slower_parts: u32,
}

impl Cost {
    /// Nothing is known but that a call may take `limit_us`.
    pub(super) fn new(limit_us: f64) -> Self {
        Self {
            limit_us,
            wall_us: 0.0,
            records: 0.0,
            bytes: 0.0,
            strays: [0.0; STEPS.len()],
            seen: 0.0,
            slower_parts: 0,
        }
    }

    /// Time of an average record, microseconds; `None` before anything was measured.
    pub(super) fn mean_us(&self) -> Option<f64> {
        (self.records > 0.0).then(|| (self.wall_us / self.records).max(RECORD_MIN_US))
    }

    /// Predicted time of a record of `len_bytes`, microseconds.
    pub(super) fn record_us(&self, len_bytes: usize) -> Option<f64> {
        let mean_us = self.mean_us()?;
        let by_bytes = if self.bytes > 0.0 { self.wall_us / self.bytes } else { 0.0 };
        Some(mean_us.max(by_bytes * len_bytes as f64))
    }

    /// Takes in that `records` of `len_bytes` together took `wall_us`.
    pub(super) fn learn(&mut self, records: usize, len_bytes: usize, wall_us: u64) {
        if records == 0 {
            return;
        }
        let count = records as f64;
        let mut wall_us = (wall_us as f64).max(RECORD_MIN_US);
        if let Some(mean_us) = self.mean_us() {
            let by_bytes = if self.bytes > 0.0 { self.wall_us / self.bytes } else { 0.0 };
            let expected_us = (mean_us * count).max(by_bytes * len_bytes as f64);
            self.note_stray(count, expected_us, wall_us);
            if wall_us > 2.0 * expected_us {
                self.slower_parts += 1;
            } else {
                self.slower_parts = 0;
            }
            if self.slower_parts >= SLOWER_PARTS {
                self.keep_of_mean(0.0);
                self.slower_parts = 0;
            } else if wall_us >= self.limit_us {
                wall_us = wall_us.min(OVER_COUNTS * expected_us);
            }
        }
        self.wall_us += wall_us.min(2.0 * self.limit_us);
        self.records += count;
        self.bytes += len_bytes as f64;
        self.keep_of_mean((MEAN_RECORDS / self.records).min(1.0));
    }

    fn keep_of_mean(&mut self, share: f64) {
        self.wall_us *= share;
        self.records *= share;
        self.bytes *= share;
    }

    fn note_stray(&mut self, count: f64, expected_us: f64, wall_us: f64) {
        let unit_us = expected_us / count;
        // Cut short by the limit: how dear it really is cannot be known.
        let wall_us = if wall_us >= self.limit_us { FEARED * self.limit_us } else { wall_us };
        let stray = (wall_us - unit_us * (count - 1.0)).max(0.0) / unit_us;
        self.add_stray(1.0, count - 1.0);
        self.add_stray(stray, 1.0);
        self.seen += count;
        if self.seen > STRAY_RECORDS {
            let share = STRAY_RECORDS / self.seen;
            self.seen *= share;
            for step in &mut self.strays {
                *step *= share;
            }
        }
    }

    fn add_stray(&mut self, ratio: f64, count: f64) {
        let at = STEPS.partition_point(|step| *step < ratio).min(STEPS.len() - 1);
        if let Some(step) = self.strays.get_mut(at) {
            *step += count;
        }
    }

    /// How many times `unit_us` the records of one call may be expected to take together, when none of them is
    /// expected to take longer than that.
    pub(super) fn units_max(&self, unit_us: f64) -> f64 {
        let limit_units = self.limit_us / unit_us.max(RECORD_MIN_US);
        let feared = SURPRISE.min(FEARED * limit_units).max(1.0);
        let all = self.seen + 1.0;
        let bound = |tilt: f64| {
            let per_unit = tilt / limit_units;
            let moment: f64 = STEPS
                .iter()
                .zip(&self.strays)
                .filter(|(_, count)| **count > 0.0)
                .map(|(ratio, count)| count * (ratio.min(limit_units) * per_unit).exp())
                .sum::<f64>()
                + (feared * per_unit).exp();
            (tilt + OVER_LIMIT.ln()) / (moment / all).ln().max(f64::MIN_POSITIVE)
        };
        TILTS.into_iter().map(bound).fold(0.0, f64::max)
    }
}
