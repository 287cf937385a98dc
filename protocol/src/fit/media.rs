//! Media types: which families' values are which bytes, and which formats can be written.

use super::Conversion::{Encode, Format, Rename};
use super::{Adaptation, Misfit};
use crate::interface::{MediaTypes, PortType};

/// Formats that describe instead of sampling: none can be made of pixels without guessing.
const DRAWN: [&str; 2] = ["image/svg+xml", "image/svg"];

/// Media types of the plain form of families that have one, and names that are used for the same.
const PLAIN: [(&str, &[&str]); 4] = [
    ("text", &["text/plain", "text/markdown"]),
    ("table", &["text/csv"]),
    ("json", &["application/json"]),
    ("prediction", &["application/json"]),
];

/// The media types of a port that has some, with the start that they share (none for `bytes`).
const fn of_family(port: &PortType) -> Option<(&MediaTypes, &'static str)> {
    match port {
        PortType::Image(types) => Some((types, "image/")),
        PortType::Audio(types) => Some((types, "audio/")),
        PortType::Video(types) => Some((types, "video/")),
        _ => None,
    }
}

/// From one format of a family to another.
pub(super) fn format(from: &MediaTypes, to: &MediaTypes) -> Result<Vec<Adaptation>, Misfit> {
    let is_drawn = |media: &String| DRAWN.contains(&media.as_str());
    if to.media_types.iter().all(is_drawn) {
        return Err(Misfit(format!("a drawing ({}) cannot be made of pixels", listed(to))));
    }
    let why = format!("{} becomes {}", listed(from), listed(to));
    Ok(vec![Adaptation { conversion: Format, why }])
}

/// Values of any family, as the bytes that they are.
pub(super) fn into_bytes(from: &PortType, to: &MediaTypes) -> Result<Vec<Adaptation>, Misfit> {
    let rename = |media: &str| Adaptation {
        conversion: Rename,
        why: format!("{} goes as {media} bytes", from.family()),
    };
    let takes = |media: &str| to.media_types.iter().any(|taken| taken == media);
    if to.media_types.is_empty() {
        return Ok(vec![rename("any")]);
    }
    let no_way = || Misfit(format!("{} is not bytes of {}", from.family(), listed(to)));
    if let Some((types, start)) = of_family(from) {
        let listed_types = &types.media_types;
        if !listed_types.is_empty() && listed_types.iter().all(|media| takes(media)) {
            return Ok(vec![rename(&listed(types))]);
        }
        let taken = to
            .media_types
            .iter()
            .find(|media| media.starts_with(start) && !DRAWN.contains(&media.as_str()));
        let taken = taken.ok_or_else(no_way)?;
        let why = format!("{} becomes {taken}", listed(types));
        return Ok(vec![Adaptation { conversion: Encode, why }, rename(taken)]);
    }
    let plain = PLAIN.iter().find(|(family, _)| *family == from.family());
    let plain = plain.and_then(|(_, names)| names.iter().find(|name| takes(name)));
    plain.map(|media| vec![rename(media)]).ok_or_else(no_way)
}

/// Bytes that by their media types, all of them, are values of a family.
pub(super) fn of_bytes(from: &MediaTypes, to: &PortType) -> Result<Vec<Adaptation>, Misfit> {
    let family = to.family();
    if from.media_types.is_empty() {
        return Err(Misfit(format!("bytes of any media type may be no {family}")));
    }
    let no_way = || Misfit(format!("bytes of {} are no {family}", listed(from)));
    let rename =
        Adaptation { conversion: Rename, why: format!("{} bytes go as {family}", listed(from)) };
    if let Some((types, start)) = of_family(to) {
        if !from.media_types.iter().all(|media| media.starts_with(start)) {
            return Err(no_way());
        }
        let is_taken = |media: &String| types.media_types.contains(media);
        if types.media_types.is_empty() || from.media_types.iter().all(is_taken) {
            return Ok(vec![rename]);
        }
        let mut steps = vec![rename];
        steps.extend(format(from, types)?);
        return Ok(steps);
    }
    let names = PLAIN.iter().find(|(plain, _)| *plain == family).map(|(_, names)| *names);
    let is_plain = |media: &String| names.is_some_and(|names| names.contains(&media.as_str()));
    if from.media_types.iter().all(is_plain) { Ok(vec![rename]) } else { Err(no_way()) }
}

fn listed(types: &MediaTypes) -> String {
    match types.media_types.as_slice() {
        [] => "any media type".to_owned(),
        types => types.join(" or "),
    }
}
