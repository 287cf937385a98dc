//! Sets of rows by what they are: one bitmap for each kind, category, org, licence, engine and type, and the numeric
//! columns. Rows are only ever added, in the order of their numbers; which of them count is in [`Sets::shown`].

use std::collections::BTreeMap;

use guildhall_protocol::interface::{Interface, Port, PortType};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::query::Side;
use roaring::RoaringBitmap;

use crate::range::{Bucket, Range, Rounded};
use crate::row::{Row, Symbols};

/// Steps of what a row is worth without a query; see [`Sets::levels`].
pub(crate) const LEVELS: usize = 64;

/// The ports on one side of an interface.
pub(crate) fn ports(side: Side, interface: &Interface) -> &[Port] {
    match side {
        Side::Input => &interface.inputs,
        Side::Output => &interface.outputs,
    }
}

/// Rows by the types on one side of their interface.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TypeSets {
    pub(crate) families: BTreeMap<&'static str, RoaringBitmap>,
    /// By family and media type; [`ANY_MEDIA`] for ports that take or yield any.
    pub(crate) media: BTreeMap<(&'static str, String), RoaringBitmap>,
}

/// In place of a media type: any.
pub(crate) const ANY_MEDIA: &str = "*";

/// Rows of one level, by kind: what kinds can declare differs, and so do their standings.
pub(crate) type Level = BTreeMap<Kind, RoaringBitmap>;

/// All sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sets {
    /// Rows that a search may show: one for each version that is neither contested nor yanked.
    pub(crate) shown: RoaringBitmap,
    /// Of them, the preferred version of each name.
    pub(crate) latest: RoaringBitmap,
    pub(crate) kinds: BTreeMap<Kind, RoaringBitmap>,
    /// Rows by category, and by each start of a category.
    pub(crate) categories: BTreeMap<String, RoaringBitmap>,
    pub(crate) roots: BTreeMap<u32, RoaringBitmap>,
    pub(crate) licences: BTreeMap<u16, RoaringBitmap>,
    /// Rows by the number of the list of engines that they need.
    pub(crate) engines: BTreeMap<u16, RoaringBitmap>,
    pub(crate) inputs: TypeSets,
    pub(crate) outputs: TypeSets,
    pub(crate) latency: Range,
    pub(crate) accuracy: Range,
    pub(crate) memory: Range,
    pub(crate) cores: Range,
    pub(crate) gpu: Range,
    pub(crate) len: Range,
    /// Rows by what they are worth without a query, in equal steps, so that the best can be looked at first.
    pub(crate) levels: Vec<Level>,
    /// The level of each row.
    level_of: Vec<u8>,
}

impl Sets {
    /// Adds a row, whose number is greater than every one before. Whether it is shown is decided elsewhere.
    pub(crate) fn push(&mut self, number: u32, row: &Row, symbols: &Symbols) {
        let add = |set: &mut RoaringBitmap| {
            set.insert(number);
        };
        add(self.kinds.entry(row.kind).or_default());
        for symbol in row.categories() {
            let Some(category) = symbols.categories.value(u32::from(symbol)) else { continue };
            for start in starts(category.as_str()) {
                match self.categories.get_mut(start) {
                    Some(set) => add(set),
                    None => add(self.categories.entry(start.to_owned()).or_default()),
                }
            }
        }
        add(self.roots.entry(row.root).or_default());
        add(self.licences.entry(row.licence).or_default());
        add(self.engines.entry(row.engines).or_default());
        if let Some(interface) = symbols.interface(row.interface) {
            interface.inputs.iter().for_each(|port| self.inputs.push(number, port));
            interface.outputs.iter().for_each(|port| self.outputs.push(number, port));
        }
        self.push_numbers(number, row);
        self.levels.resize_with(LEVELS, Level::new);
        if let Some(level) = self.levels.get_mut(level_of(row.standing)) {
            add(level.entry(row.kind).or_default());
        }
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        self.level_of.resize(place, 0);
        self.level_of.push(small(level_of(row.standing)));
    }

    fn push_numbers(&mut self, number: u32, row: &Row) {
        if !row.latency_ms.is_nan() {
            self.latency.push(number, Bucket::of_ms(row.latency_ms), Rounded::of(row.latency_ms));
        }
        if !row.accuracy.is_nan() {
            self.accuracy.push(number, Bucket::of_share(row.accuracy), Rounded::of(row.accuracy));
        }
        self.memory.push(
            number,
            Bucket::of_bytes(row.memory_bytes),
            Rounded::of_count(row.memory_bytes),
        );
        let cores = Rounded::of_count(u64::from(row.cores));
        self.cores.push(number, Bucket::of_count(row.cores), cores);
        self.gpu.push(number, Bucket::of_bytes(row.gpu_bytes), Rounded::of_count(row.gpu_bytes));
        self.len.push(number, Bucket::of_bytes(row.len_bytes), Rounded::of_count(row.len_bytes));
    }

    /// Moves a row of a kind to another level.
    pub(crate) fn move_level(&mut self, number: u32, kind: Kind, from: f32, to: f32) {
        if level_of(from) != level_of(to) {
            let set = self.levels.get_mut(level_of(from)).and_then(|level| level.get_mut(&kind));
            if let Some(set) = set {
                set.remove(number);
            }
            if let Some(level) = self.levels.get_mut(level_of(to)) {
                level.entry(kind).or_default().insert(number);
            }
            let place = usize::try_from(number).unwrap_or(usize::MAX);
            if let Some(level) = self.level_of.get_mut(place) {
                *level = small(level_of(to));
            }
        }
    }
}

impl Sets {
    /// The level of a row.
    pub(crate) fn level(&self, number: u32) -> usize {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        self.level_of.get(place).copied().map(usize::from).unwrap_or_default()
    }
}

/// A level in a byte.
fn small(level: usize) -> u8 {
    u8::try_from(level).unwrap_or_default()
}

impl TypeSets {
    fn push(&mut self, number: u32, port: &Port) {
        let family = port.port_type.family();
        self.families.entry(family).or_default().insert(number);
        let media = match &port.port_type {
            PortType::Image(types)
            | PortType::Audio(types)
            | PortType::Video(types)
            | PortType::Bytes(types) => &types.media_types,
            _ => return,
        };
        let mut add = |media: &str| {
            self.media.entry((family, media.to_owned())).or_default().insert(number);
        };
        if media.is_empty() {
            add(ANY_MEDIA);
        }
        media.iter().for_each(|one| add(one));
    }
}

/// The level of a worth from 0 to 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped to the levels before"
)]
pub(crate) fn level_of(worth: f32) -> usize {
    (worth * LEVELS as f32).clamp(0.0, (LEVELS - 1) as f32) as usize
}

/// A category and everything it lies in: `a/b/c`, `a/b`, `a`.
pub(crate) fn starts(category: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(category), |path| path.rsplit_once('/').map(|(start, _)| start))
}
