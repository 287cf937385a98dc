//! What is counted of a query: enough for a producer to see what is missing, too little to see who missed it.

use std::fmt;

use guildhall_protocol::body::Unmet;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::{Query, TypeQuery};
use serde::{Deserialize, Serialize};

/// What is counted of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Need {
    /// The category that was asked for; everything when none was.
    pub category: CategoryPrefix,
    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The family of the type that was to go in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<TypeQuery>,
    /// The family of the type that was to come out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<TypeQuery>,
}

impl Need {
    /// What a query needs.
    #[must_use]
    pub fn of(query: &Query) -> Self {
        let family = |asked: &Option<TypeQuery>, gap: Option<&'static str>| match asked {
            Some(asked) => Some(asked.family_only()),
            None => gap.and_then(|family| family.parse().ok()),
        };
        let gap = &query.fits;
        Self {
            category: query.category.clone().unwrap_or_default(),
            kind: query.kind,
            input: family(&query.input, gap.input.as_ref().map(|port| port.family())),
            output: family(&query.output, gap.output.as_ref().map(|port| port.family())),
        }
    }

    /// What a record says was missed.
    #[must_use]
    pub fn of_unmet(unmet: &Unmet) -> Self {
        Self {
            category: unmet.category.clone(),
            kind: unmet.kind,
            input: unmet.input.as_ref().map(TypeQuery::family_only),
            output: unmet.output.as_ref().map(TypeQuery::family_only),
        }
    }

    /// The same with how often it was missed.
    #[must_use]
    pub fn unmet(&self, count: u32) -> Unmet {
        let Self { category, kind, input, output } = self.clone();
        Unmet { category, kind, input, output, count }
    }

    /// Whether it says nothing of what is missing.
    #[must_use]
    pub fn is_anything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `told` is this need, or this need with a wider category.
    pub(super) fn may_be_told_as(&self, told: &Self) -> bool {
        (&self.kind, &self.input, &self.output) == (&told.kind, &told.input, &told.output)
            && self.is_within(&told.category)
    }

    /// Whether everything that would meet it lies in `prefix`.
    #[must_use]
    pub fn is_within(&self, prefix: &CategoryPrefix) -> bool {
        *prefix == CategoryPrefix::everything()
            || match self.category.as_str().strip_prefix(prefix.as_str()) {
                Some(rest) => rest.is_empty() || rest.starts_with('/'),
                None => false,
            }
    }
}

/// As in `vision/object-detection (model, image -> prediction)`.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.category.fmt(f)?;
        let any = |family: &Option<TypeQuery>| match family {
            Some(family) => family.family().to_owned(),
            None => "anything".to_owned(),
        };
        let kind = self.kind.map(|kind| kind.to_string());
        let types = (self.input.is_some() || self.output.is_some())
            .then(|| format!("{} -> {}", any(&self.input), any(&self.output)));
        let more: Vec<String> = kind.into_iter().chain(types).collect();
        if more.is_empty() { Ok(()) } else { write!(f, " ({})", more.join(", ")) }
    }
}
