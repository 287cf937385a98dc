//! The keys of criteria, and which one may have been meant.

use super::words::Op;

/// What a criterion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Category,
    Kind,
    Org,
    Licence,
    Input,
    Output,
    Fits,
    Latency,
    /// With the metric, unless it is the best one.
    Accuracy(Option<&'static str>),
    Metric,
    Memory,
    Size,
    Gpu,
    Cores,
    Engine,
    Is,
    With,
    Ref,
}

/// Every key but the metrics.
const KEYS: [(&str, Key); 25] = [
    ("task", Key::Category),
    ("category", Key::Category),
    ("kind", Key::Kind),
    ("org", Key::Org),
    ("by", Key::Org),
    ("licence", Key::Licence),
    ("license", Key::Licence),
    ("accepts", Key::Input),
    ("input", Key::Input),
    ("in", Key::Input),
    ("yields", Key::Output),
    ("output", Key::Output),
    ("out", Key::Output),
    ("fits", Key::Fits),
    ("latency", Key::Latency),
    ("accuracy", Key::Accuracy(None)),
    ("metric", Key::Metric),
    ("memory", Key::Memory),
    ("size", Key::Size),
    ("gpu", Key::Gpu),
    ("cores", Key::Cores),
    ("engine", Key::Engine),
    ("is", Key::Is),
    ("with", Key::With),
    ("ref", Key::Ref),
];

/// Metrics that are keys themselves: the usual ones between 0 and 1 of which more is better.
pub(super) const METRICS: [&str; 31] = [
    "ap",
    "auc",
    "auprc",
    "auroc",
    "balanced-accuracy",
    "bleu",
    "chrf",
    "dice",
    "em",
    "exact-match",
    "f1",
    "iou",
    "kappa",
    "macro-f1",
    "map",
    "mcc",
    "meteor",
    "micro-f1",
    "miou",
    "mrr",
    "ndcg",
    "pearson",
    "precision",
    "r2",
    "recall",
    "rouge",
    "sensitivity",
    "spearman",
    "specificity",
    "top1",
    "top5",
];

/// Shortest word that is compared with keys, and shortest key that it is compared with, characters: among shorter ones
/// everything is near everything.
const NEAR_MIN_CHARS: (usize, usize) = (3, 4);

/// From this length on two slips are forgiven, characters.
const LONG_CHARS: usize = 7;

/// Longest word that is compared, characters; no key is nearly as long.
const NEAR_MAX_CHARS: usize = 24;

/// The key that is written so, whatever its case.
pub(super) fn key(word: &str) -> Option<Key> {
    let word = word.to_ascii_lowercase();
    let named = KEYS.iter().find(|(name, _)| *name == word).map(|(_, key)| *key);
    let metric =
        || METRICS.iter().find(|name| **name == word).map(|name| Key::Accuracy(Some(name)));
    named.or_else(metric)
}

/// Whether a metric has a key of its own. Written in another case it has none, since a key says nothing of case.
pub(super) fn is_metric(metric: &str) -> bool {
    METRICS.contains(&metric)
}

/// The key that may have been meant by a word before `op`.
pub(super) fn meant(word: &str, op: Op) -> Option<&'static str> {
    let takes = |(name, key): &(&'static str, Key)| key.takes(op).then_some(*name);
    let metrics = METRICS.into_iter().filter(|_| op == Op::More);
    nearest(word, KEYS.iter().filter_map(takes).chain(metrics))
}

/// The name that `word` nearly is.
pub(super) fn nearest(
    word: &str,
    names: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    let word: Vec<char> =
        word.chars().map(|c| c.to_ascii_lowercase()).take(NEAR_MAX_CHARS).collect();
    let (word_min, name_min) = NEAR_MIN_CHARS;
    if word.len() < word_min {
        return None;
    }
    let near = names.into_iter().filter(|name| name.len() >= name_min).filter_map(|name| {
        let long = word.len() >= LONG_CHARS && name.len() >= LONG_CHARS;
        let slips = slips(&word, &name.chars().collect::<Vec<_>>());
        (slips <= if long { 2 } else { 1 }).then_some((slips, name))
    });
    near.min_by_key(|(slips, _)| *slips).map(|(_, name)| name)
}

/// How many slips lead from one word to the other: a letter more, less or other, or two neighbours in wrong order
/// (optimal string alignment).
fn slips(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut next = Vec::with_capacity(last.len());
        next.push(row.saturating_add(1));
        for (column, b) in to.iter().enumerate() {
            let at =
                |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX);
            let changed = at(&last, column).saturating_add(usize::from(a != b));
            let less = at(&last, column.saturating_add(1)).saturating_add(1);
            let more = at(&next, column).saturating_add(1);
            let mut least = changed.min(less).min(more);
            if let (Some(row), Some(earlier)) = (row.checked_sub(1), column.checked_sub(1))
                && from.get(row) == Some(b)
                && to.get(earlier) == Some(a)
            {
                least = least.min(at(&before, earlier).saturating_add(1));
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

impl Key {
    /// Whether it may stand before `op`.
    pub(super) const fn takes(self, op: Op) -> bool {
        match self {
            Self::Latency | Self::Memory | Self::Size => matches!(op, Op::Less),
            Self::Accuracy(_) => matches!(op, Op::More),
            Self::Gpu | Self::Cores => matches!(op, Op::Is | Op::Less),
            _ => matches!(op, Op::Is),
        }
    }

    /// Whether its value may hold blanks between parentheses.
    pub(super) const fn is_type(self) -> bool {
        matches!(self, Self::Input | Self::Output | Self::Fits)
    }

    /// How it is written.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Category => "task:vision/image-classification",
            Self::Kind => "kind:model",
            Self::Org => "org:lab-a",
            Self::Licence => "licence:mit",
            Self::Input => "accepts:image/png",
            Self::Output => "yields:text",
            Self::Fits => "fits:image/png..text",
            Self::Latency => "latency<50ms",
            Self::Accuracy(_) => "accuracy>0.9",
            Self::Metric => "metric:f1",
            Self::Memory => "memory<2GiB",
            Self::Size => "size<1GB",
            Self::Gpu => "gpu<8GiB",
            Self::Cores => "cores:4",
            Self::Engine => "engine:onnx",
            Self::Is => "is:runnable",
            Self::With => "with:data",
            Self::Ref => "ref:lab-a/digits@1.0.0",
        }
    }
}
