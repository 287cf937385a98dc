//! What the catalogue keeps of a listing: enough to filter and rank it, in some two hundred bytes. The listing itself
//! stays where its record is.

use std::collections::BTreeMap;

use guildhall_protocol::body::Listing;
use guildhall_protocol::interface::{Interface, Port, PortType, PredictionType};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::{Category, Version};
use guildhall_protocol::{PackageId, RecordId, cbor};

use crate::filter;

/// In place of a symbol: there is none.
pub(crate) const NONE: u16 = u16::MAX;

/// Different values of one small dictionary. Further ones count as none; a federation has some hundred categories.
const SYMBOLS_MAX: usize = NONE as usize;

/// Claims of one listing that are kept for queries by metric.
pub(crate) const CLAIMS_MAX: usize = 16;

/// A listing, as far as search goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// `org/name`.
    pub(crate) name: u32,
    pub(crate) root: u32,
    pub(crate) author: u32,
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) version: Version,
    pub(crate) package: PackageId,
    pub(crate) listing_id: RecordId,
    pub(crate) kind: Kind,
    /// The most fitting first, then [`NONE`].
    pub(crate) categories: [u16; 8],
    pub(crate) interface: u32,
    pub(crate) engines: u16,
    pub(crate) licence: u16,
    /// Which of summary, documentation, examples and licence are there.
    pub(crate) documented: u8,
    /// Best declared accuracy; NaN when none is declared.
    pub(crate) accuracy: f32,
    /// Best declared latency, milliseconds; NaN when none is declared.
    pub(crate) latency_ms: f32,
    /// First of its claims in [`Symbols::claims`], and how many.
    pub(crate) claims: (u32, u8),
    /// Memory that its contract asks for; nothing when nothing is executed, everything when nothing is said.
    pub(crate) memory_bytes: u64,
    pub(crate) cores: u32,
    pub(crate) gpu_bytes: u64,
    pub(crate) len_bytes: u64,
    /// Whether every member may see it, so that it is replicated.
    pub(crate) for_all: bool,
    pub(crate) replicas: u8,
    /// What it is worth whatever is asked for, 0 to 1: see [`rank`](mod@crate::rank).
    pub(crate) standing: f32,
}

impl Row {
    /// Its categories' symbols.
    pub(crate) fn categories(&self) -> impl Iterator<Item = u16> + '_ {
        self.categories.iter().copied().take_while(|symbol| *symbol != NONE)
    }
}

/// Numbers for values that come again and again.
#[derive(Clone, Debug)]
pub(crate) struct Dictionary<T> {
    values: Vec<T>,
    numbers: BTreeMap<T, u32>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: BTreeMap::new() }
    }
}

impl<T: Ord + Clone> Dictionary<T> {
    /// The number of `value`, a new one if need be.
    pub(crate) fn number(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }

    /// The same in 16 bits; [`NONE`] when there are too many.
    pub(crate) fn symbol(&mut self, value: &T) -> u16 {
        match self.find(value) {
            Some(number) => u16::try_from(number).unwrap_or(NONE),
            None if self.values.len() < SYMBOLS_MAX => {
                u16::try_from(self.number(value)).unwrap_or(NONE)
            }
            None => NONE,
        }
    }

    /// The number that `value` has.
    pub(crate) fn find(&self, value: &T) -> Option<u32> {
        self.numbers.get(value).copied()
    }

    /// The value with this number.
    pub(crate) fn value(&self, number: u32) -> Option<&T> {
        self.values.get(usize::try_from(number).ok()?)
    }

    /// All values in the order of their numbers.
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }
}

/// The dictionaries of all rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Symbols {
    pub(crate) categories: Dictionary<Category>,
    pub(crate) licences: Dictionary<String>,
    pub(crate) engines: Dictionary<Vec<String>>,
    pub(crate) metrics: Dictionary<String>,
    /// Interfaces by their encoding, without label sets.
    interface_numbers: Dictionary<Vec<u8>>,
    interfaces: Vec<Interface>,
    /// Claims of all rows: metric and value.
    claims: Vec<(u16, f32)>,
}

impl Symbols {
    /// An interface by its number.
    pub(crate) fn interface(&self, number: u32) -> Option<&Interface> {
        self.interfaces.get(usize::try_from(number).ok()?)
    }

    fn interface_number(&mut self, interface: &Interface) -> u32 {
        let plain = Interface {
            inputs: interface.inputs.iter().map(without_labels).collect(),
            outputs: interface.outputs.iter().map(without_labels).collect(),
        };
        let number = self.interface_numbers.number(&cbor::encode(&plain));
        if usize::try_from(number).is_ok_and(|number| number == self.interfaces.len()) {
            self.interfaces.push(plain);
        }
        number
    }

    /// Claims of a row: metric and value.
    pub(crate) fn claims(&self, row: &Row) -> &[(u16, f32)] {
        let from = usize::try_from(row.claims.0).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::from(row.claims.1));
        self.claims.get(from..to).unwrap_or_default()
    }

    /// The best claim by `metric`, compared without regard to case.
    pub(crate) fn accuracy_by(&self, row: &Row, metric: u16) -> Option<f32> {
        let by =
            self.claims(row).iter().filter(|(name, _)| *name == metric).map(|(_, value)| *value);
        by.reduce(f32::max)
    }

    /// The row of a listing.
    pub(crate) fn row(&mut self, listing: &Listing, place: Place) -> Row {
        let mut categories = [NONE; 8];
        for (slot, category) in categories.iter_mut().zip(&listing.categories) {
            *slot = self.categories.symbol(category);
        }
        let claims_from = u32::try_from(self.claims.len()).unwrap_or(u32::MAX);
        let usable = |value: f64| (0.0..=1.0).contains(&value);
        let claims = listing.claims.accuracy.iter().take(CLAIMS_MAX);
        let mut count = 0_u8;
        let mut accuracy = f32::NAN;
        for claim in claims.filter(|claim| usable(claim.value)) {
            let value = narrow(claim.value);
            self.claims.push((self.metrics.symbol(&claim.metric.to_lowercase()), value));
            accuracy = accuracy.max(value);
            count += 1;
        }
        let latencies = listing.claims.latency.iter().map(|claim| claim.p50_ms);
        let usable = latencies.filter(|ms| ms.is_finite() && *ms >= 0.0);
        let hardware = filter::hardware_of(listing);
        let licence = listing.licence.trim();
        let has_licence = !licence.is_empty() && licence != "unknown";
        Row {
            name: place.name,
            root: place.root,
            author: place.author,
            seq: place.seq,
            time_ms: place.time_ms,
            version: listing.release.version.clone(),
            package: listing.release.package,
            listing_id: place.listing_id,
            kind: listing.kind,
            categories,
            interface: self.interface_number(&listing.interface),
            engines: self.engines.symbol(&listing.engines),
            licence: self.licences.symbol(&filter::licence(licence)),
            documented: u8::from(!listing.summary.trim().is_empty())
                | u8::from(listing.documentation.is_some()) << 1
                | u8::from(!listing.examples.is_empty()) << 2
                | u8::from(has_licence) << 3,
            accuracy,
            latency_ms: usable.reduce(f64::min).map_or(f32::NAN, narrow),
            claims: (claims_from, count),
            memory_bytes: filter::memory_of(listing),
            cores: hardware.cores,
            gpu_bytes: hardware.gpu_memory_bytes,
            len_bytes: listing.len_bytes,
            for_all: matches!(
                listing.visibility,
                guildhall_protocol::body::Visibility::Federation
                    | guildhall_protocol::body::Visibility::Public
            ),
            replicas: listing.replicas,
            standing: 0.0,
        }
    }
}

/// What of a row is not in its listing.
pub(crate) struct Place {
    pub(crate) name: u32,
    pub(crate) root: u32,
    pub(crate) author: u32,
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) listing_id: RecordId,
}

/// Label sets may be long and differ; nothing that is asked for depends on them.
fn without_labels(port: &Port) -> Port {
    match &port.port_type {
        PortType::Prediction(prediction) if !prediction.labels.is_empty() => Port {
            port_type: PortType::Prediction(PredictionType {
                labels: Vec::new(),
                ..prediction.clone()
            }),
            ..port.clone()
        },
        _ => port.clone(),
    }
}

/// A claim in half the bits; ranking needs no more.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
pub(crate) const fn narrow(value: f64) -> f32 {
    value as f32
}
