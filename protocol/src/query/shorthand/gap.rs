//! How a gap is written: `image/png..text`, with a type on either side of `..`, or on both.

use super::super::{Gap, TypeQuery};
use super::words;
use crate::interface::{PortType, TypeError};

impl Gap {
    /// The two sides of `IN..OUT` as they are written, either perhaps empty; `None` when there is no `..` outside
    /// parentheses and quotes.
    #[must_use]
    pub fn sides(text: &str) -> Option<(&str, &str)> {
        let end = words::outside(text, |rest| rest.starts_with(".."))?;
        let (input, output) = text.split_at_checked(end)?;
        Some((input.trim(), output.strip_prefix("..")?.trim()))
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side =
            |port: &Option<PortType>| port.as_ref().map(PortType::written).unwrap_or_default();
        write!(f, "{}..{}", side(&self.input), side(&self.output))
    }
}

impl std::str::FromStr for Gap {
    type Err = UnknownGap;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why: &str| UnknownGap(format!("{why}, as in `image/png..text`"));
        let (input, output) = Self::sides(text)
            .ok_or_else(|| refuse("`..` stands between what comes in and what is wanted"))?;
        let side = |text: &str| match text {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|error: TypeError| UnknownGap(error.to_string()))
            }
        };
        let gap = Self { input: side(input)?, output: side(output)? };
        if gap.is_empty() { Err(refuse("a type is needed on one side of `..`")) } else { Ok(gap) }
    }
}

/// Why a gap cannot be read, with what to ask for instead where a side is a family, which says too little to fit.
pub(super) fn explained(text: &str, error: &UnknownGap) -> String {
    let family = |text: &str| TypeQuery::FAMILIES.into_iter().find(|family| *family == text);
    let bare = |text: &str| family(text).filter(|_| text.parse::<PortType>().is_err());
    let (input, output) = Gap::sides(text).unwrap_or_default();
    match (bare(input), bare(output)) {
        (Some(family), _) => {
            format!("a full type is needed here; `accepts:{family}` finds all of them")
        }
        (_, Some(family)) => {
            format!("a full type is needed here; `yields:{family}` finds all of them")
        }
        _ => error.to_string(),
    }
}

/// The text names no gap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownGap(String);
