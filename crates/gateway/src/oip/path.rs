//! Which model a path is about, and what is wanted of it.
//!
//! A model's name is `ORG/NAME`, `ORG/NAME@VERSION` or `b3:HASH`, with the slash bare or as `%2F`. The parts are counted
//! from the left, so that no name can be taken for a verb.

use guildhall_protocol::name::{Reference, Version};

use super::error::quoted;
use crate::error::ApiError;

/// A path below `/oip/v2/models/`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelPath {
    /// The model as the path names it, without a version.
    pub(super) name: String,
    /// The listing or package that is meant.
    pub(super) reference: Reference,
    pub(super) verb: Verb,
}

/// What a path asks of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Metadata,
    Ready,
    Infer,
}

/// Reads a path whose escapes are decoded already.
pub(super) fn read(path: &str) -> Result<ModelPath, ApiError> {
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let named = match first.starts_with("b3:") {
        true => first.to_owned(),
        false => match parts.next() {
            Some(second) => format!("{first}/{second}"),
            None => first.to_owned(),
        },
    };
    let bad = |why: String| ApiError::invalid("bad_reference", why);
    let reference: Reference = named
        .parse()
        .map_err(|error| bad(format!("a model is ORG/NAME or ORG/NAME@VERSION: {error}")))?;
    let rest: Vec<&str> = parts.collect();
    let (segment, verb) = match rest.as_slice() {
        ["versions", version, verb @ ..] => (Some(*version), verb),
        verb => (None, verb),
    };
    let verb = match verb {
        [] => Verb::Metadata,
        ["ready"] => Verb::Ready,
        ["infer"] => Verb::Infer,
        _ => {
            let why = format!("models have `ready` and `infer`, not `{}`", quoted(&rest.join("/")));
            return Err(ApiError::not_found("unknown_route", why));
        }
    };
    let reference = match segment {
        Some(segment) => with_version(reference, segment)?,
        None => reference,
    };
    let name = match &reference {
        Reference::Named { org, name, .. } => format!("{org}/{name}"),
        Reference::Package(_) => named,
    };
    Ok(ModelPath { name, reference, verb })
}

fn with_version(reference: Reference, segment: &str) -> Result<Reference, ApiError> {
    let bad = |why: String| ApiError::invalid("bad_reference", why);
    let wanted = Version::parse(segment)
        .map_err(|error| bad(format!("version {}: {error}", quoted(segment))))?;
    match reference {
        Reference::Named { org, name, version } => match version {
            Some(other) if other != wanted => {
                Err(bad(format!("the path names two versions, {other} and {wanted}")))
            }
            _ => Ok(Reference::Named { org, name, version: Some(wanted) }),
        },
        Reference::Package(id) => Err(bad(format!("{id} is one version already"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_as_a_listing_is() {
        for (path, reference, verb) in [
            ("lab-a/digits", "lab-a/digits", Verb::Metadata),
            ("lab-a/digits@1.0.0/ready", "lab-a/digits@1.0.0", Verb::Ready),
            ("lab-a/digits/versions/1.0.0/infer", "lab-a/digits@1.0.0", Verb::Infer),
            ("lab-a/digits@1.0.0/versions/1.0.0", "lab-a/digits@1.0.0", Verb::Metadata),
            ("lab-a/ready", "lab-a/ready", Verb::Metadata),
            ("lab-a/infer/infer", "lab-a/infer", Verb::Infer),
            (
                "lab-a/versions/versions/2.0.0-rc.1+b/ready",
                "lab-a/versions@2.0.0-rc.1+b",
                Verb::Ready,
            ),
        ] {
            let read = read(path).unwrap();
            assert_eq!((read.reference.to_string().as_str(), read.verb), (reference, verb));
        }
        let package = format!("b3:{}", "0".repeat(64));
        assert_eq!(read(&format!("{package}/infer")).unwrap().name, package);
    }

    #[test]
    fn other_paths_are_refused_in_words() {
        for (path, status) in [
            ("digits", 400),
            ("lab-a/digits/infer/infer", 404),
            ("lab-a/digits/config", 404),
            ("lab-a/digits/infer/more", 404),
            ("lab-a/digits/versions", 404),
            ("lab-a/digits/versions/one", 400),
            ("lab-a/digits@1.0.0/versions/2.0.0", 400),
            ("lab-a//digits", 400),
            ("", 400),
            ("b3:12/infer", 400),
        ] {
            let error = read(path).map(|read| read.reference).unwrap_err();
            assert_eq!(error.status(), status, "{path}: {error}");
        }
        let package = format!("b3:{}", "0".repeat(64));
        assert_eq!(read(&format!("{package}/versions/1.0.0")).unwrap_err().status(), 400);
    }
}
