//! Shapes of tensors: which ones values bring along by themselves, and which take a conversion.

use std::slice::from_ref;

use super::Conversion::{Batch, Colours, Length, Reshape, Scale};
use super::{Adaptation, Conversion};
use crate::interface::Dim;

/// Numbers of colours that pictures have: grey, red-green-blue, and that with transparency.
const COLOURS: [u64; 3] = [1, 3, 4];

const RESHAPED: &str = "the same elements take another shape";

/// Whether values of shape `from` have shape `to`: every fixed dimension is met.
pub(super) fn fits(from: &[Dim], to: &[Dim]) -> bool {
    from.len() == to.len() && from.iter().zip(to).all(|(a, b)| is_met(a, b))
}

/// Whether a dimension `from` is one that `to` allows.
fn is_met(from: &Dim, to: &Dim) -> bool {
    !matches!(to, Dim::Fixed(_)) || from == to
}

const fn is_open(dim: &Dim) -> bool {
    matches!(dim, Dim::Named(_) | Dim::Free)
}

const fn is_one(dim: &Dim) -> bool {
    matches!(dim, Dim::Fixed(1))
}

/// The conversions that make shape `to` of shape `from`; `None` when there are none.
pub(super) fn reshape(from: &[Dim], to: &[Dim]) -> Option<Vec<Adaptation>> {
    if fits(from, to) {
        return Some(Vec::new());
    }
    let squeezed =
        |dims: &[Dim]| dims.iter().filter(|dim| !is_one(dim)).cloned().collect::<Vec<_>>();
    if fits(&squeezed(from), &squeezed(to)) {
        return Some(vec![step(Batch, "dimensions of 1 come or go", from, to)]);
    }
    if let ([batch, inner_from @ ..], [wanted, inner_to @ ..]) = (from, to)
        && (is_open(wanted) || is_one(wanted))
        && is_met(batch, wanted)
        && inner_from.len() != inner_to.len()
        && volume(inner_from).is_some_and(|count| Some(count) == volume(inner_to))
    {
        return Some(vec![step(Reshape, RESHAPED, from, to)]);
    }
    let (batch, inner_from, inner_to) = batch(from, to);
    let mut steps: Vec<Adaptation> =
        batch.map(|words| step(Batch, words, from, to)).into_iter().collect();
    steps.extend(same_batch(inner_from, inner_to)?);
    Some(steps)
}

/// What happens to the outermost dimension where it is a batch, and what is left of both shapes.
fn batch<'d>(from: &'d [Dim], to: &'d [Dim]) -> (Option<&'static str>, &'d [Dim], &'d [Dim]) {
    let is_batch = |dim: &Dim| is_open(dim) || is_one(dim);
    let shorter = |dims: &'d [Dim]| dims.split_first().filter(|(first, _)| is_batch(first));
    match (shorter(from), shorter(to)) {
        (Some((_, rest)), _) if from.len() == to.len().saturating_add(1) => {
            (Some("the batch is one value and goes"), rest, to)
        }
        (_, Some((_, rest))) if to.len() == from.len().saturating_add(1) => {
            (Some("a batch of one is made"), from, rest)
        }
        (Some((first, rest)), Some((other, others)))
            if from.len() == to.len() && is_open(first) && is_one(other) =>
        {
            (Some("the batch is one value"), rest, others)
        }
        _ => (None, from, to),
    }
}

fn same_batch(from: &[Dim], to: &[Dim]) -> Option<Vec<Adaptation>> {
    if fits(from, to) {
        return Some(Vec::new());
    }
    if let Some(steps) = picture(from, to) {
        return Some(steps);
    }
    let is_cut = |a: &Dim, b: &Dim| is_met(a, b) || (is_open(a) && !is_open(b));
    if from.len() == to.len() && from.iter().zip(to).all(|(a, b)| is_cut(a, b)) {
        return Some(vec![step(Length, "rows are padded or cut", from, to)]);
    }
    let is_same = volume(from)? == volume(to)?;
    is_same.then(|| vec![step(Reshape, RESHAPED, from, to)])
}

/// Elements of one value; an open outermost dimension is taken for a batch of one.
fn volume(dims: &[Dim]) -> Option<u64> {
    let inner = match dims.split_first() {
        Some((first, rest)) if is_open(first) && !rest.is_empty() => rest,
        _ => dims,
    };
    inner
        .iter()
        .try_fold(1_u64, |volume, dim| match dim {
            Dim::Fixed(count) => volume.checked_mul(*count),
            Dim::Named(_) | Dim::Free => None,
        })
        .filter(|volume| *volume > 0)
}

/// Where a picture's colours stand.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    First,
    Last,
}

/// The layout of one picture, and its colours, height and width.
fn layout(dims: &[Dim]) -> Option<(Layout, [&Dim; 3])> {
    let [a, b, c] = dims else { return None };
    let is_colours = |dim: &Dim| matches!(dim, Dim::Fixed(count) if COLOURS.contains(count));
    if is_colours(a) {
        Some((Layout::First, [a, b, c]))
    } else if is_colours(c) {
        Some((Layout::Last, [c, a, b]))
    } else {
        None
    }
}

/// Whether a shape can be that of one picture: height and width, with colours before or behind, or a batch of such.
pub(super) fn is_picture(dims: &[Dim]) -> bool {
    match dims {
        [_, _] => true,
        [a, _, c] => is_open(a) || is_open(c) || layout(dims).is_some(),
        [batch, rest @ ..] if rest.len() == 3 => {
            (is_open(batch) || is_one(batch)) && is_picture(rest)
        }
        _ => false,
    }
}

fn picture(from: &[Dim], to: &[Dim]) -> Option<Vec<Adaptation>> {
    if let ([a, inner_from @ ..], [b, inner_to @ ..]) = (from, to)
        && inner_from.len() == 3
        && inner_to.len() == 3
    {
        return is_met(a, b).then(|| picture(inner_from, inner_to)).flatten();
    }
    let (from_layout, [from_colours, from_height, from_width]) = layout(from)?;
    let (to_layout, [to_colours, to_height, to_width]) = layout(to)?;
    let mut steps = Vec::new();
    if from_layout != to_layout {
        steps.push(step(Colours, "the colours move", from, to));
    }
    if from_colours != to_colours {
        let words = "the colours become more or fewer";
        steps.push(step(Colours, words, from_ref(from_colours), from_ref(to_colours)));
    }
    if !is_met(from_height, to_height) || !is_met(from_width, to_width) {
        let size = |height: &Dim, width: &Dim| [height.clone(), width.clone()];
        steps.push(step(
            Scale,
            "the picture is scaled",
            &size(from_height, from_width),
            &size(to_height, to_width),
        ));
    }
    Some(steps)
}

fn step(conversion: Conversion, words: &str, from: &[Dim], to: &[Dim]) -> Adaptation {
    Adaptation { conversion, why: format!("{words} ({} to {})", shown(from), shown(to)) }
}

/// A shape in brackets, as in `[n, 3, ?]`.
pub(super) fn shown(dims: &[Dim]) -> String {
    let dims = dims.iter().map(|dim| match dim {
        Dim::Fixed(count) => count.to_string(),
        Dim::Named(name) => name.clone(),
        Dim::Free => "?".to_owned(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}
