//! Names people type: orgs, packages, versions, categories and references.
//!
//! Names never become paths. Every name type can only be built by parsing, so a value of it is a valid name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::PackageId;
use crate::limits::FILE_NAME_MAX_BYTES;

/// A semantic version, as in `1.4.0-rc.1`.
pub type Version = semver::Version;

/// Org names nobody may take: they would read as a part of the product or as an address.
const RESERVED: &[&str] = &[
    "admin",
    "all",
    "api",
    "auto",
    "b3",
    "federation",
    "guild",
    "guildhall",
    "here",
    "hf",
    "local",
    "localhost",
    "me",
    "none",
    "null",
    "oip",
    "org",
    "root",
    "self",
    "system",
    "ui",
    "unknown",
    "v2",
];

/// Declares a text newtype that is only built through its check.
macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_name! {
    /// An org's name: `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, 2 to 39 characters, not reserved.
    OrgName, check_org
}
text_name! {
    /// A package's name within its org: like an org's, up to 96 characters, with `.` and `_` inside.
    PackageName, check_package
}
text_name! {
    /// A category: `domain/task`, each part like an org's name; subcategories nest further, four parts at most.
    Category, check_category
}
text_name! {
    /// A file's name inside a package: relative, `/` between parts, no part empty, `.` or `..`, no control characters,
    /// characters that cannot be seen or turn the line around, backslashes or colons. It is shown and matched, and never
    /// becomes a path in the store.
    FileName, check_file
}

impl Category {
    /// Whether `self` lies in `prefix`: equal to it or below it.
    #[must_use]
    pub fn is_within(&self, prefix: &CategoryPrefix) -> bool {
        match self.0.strip_prefix(&prefix.0) {
            Some(rest) => prefix.0.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

/// What a node follows or a query asks for: a category or the start of one (`vision`), or everything (empty, shown `*`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CategoryPrefix(String);

impl CategoryPrefix {
    /// The prefix that covers every category.
    #[must_use]
    pub fn everything() -> Self {
        Self(String::new())
    }

    /// The prefix as text, `*` for everything.
    #[must_use]
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "*" } else { &self.0 }
    }
}

impl From<Category> for CategoryPrefix {
    fn from(category: Category) -> Self {
        Self(category.0)
    }
}

impl fmt::Display for CategoryPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CategoryPrefix {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::everything());
        }
        let parts = text.split('/').count();
        if parts > CATEGORY_MAX_PARTS {
            return Err(NameError::new(text, CATEGORY_RULE));
        }
        text.split('/').try_for_each(|part| {
            if is_label(part, 1, 64, "-") {
                Ok(())
            } else {
                Err(NameError::new(text, CATEGORY_RULE))
            }
        })?;
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for CategoryPrefix {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CategoryPrefix {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a person writes to mean a package: `org/name`, `org/name@version` or `b3:` and 64 hex digits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reference {
    /// By name; without a version the highest that is not yanked.
    Named {
        /// The producer's org.
        org: OrgName,
        /// The package's name.
        name: PackageName,
        /// The version, if one is meant.
        version: Option<Version>,
    },
    /// By id.
    Package(PackageId),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { org, name, version: None } => write!(f, "{org}/{name}"),
            Self::Named { org, name, version: Some(version) } => {
                write!(f, "{org}/{name}@{version}")
            }
            Self::Package(id) => id.fmt(f),
        }
    }
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(PackageId::PREFIX) {
            return text.parse().map(Self::Package).map_err(|_| {
                NameError::new(text, "a package id is `b3:` followed by 64 hex digits")
            });
        }
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let (org, name) = path.split_once('/').ok_or_else(|| {
            NameError::new(text, "a reference is org/name, org/name@version or b3:HASH")
        })?;
        let version = version
            .map(|version| {
                Version::parse(version).map_err(|_| {
                    NameError::new(version, "a version has three numbers, as in 1.0.0 (semver)")
                })
            })
            .transpose()?;
        Ok(Self::Named { org: org.parse()?, name: name.parse()?, version })
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text breaks the rule of its kind of name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not accepted: {rule}")]
pub struct NameError {
    shown: String,
    rule: &'static str,
}

impl NameError {
    /// Longest part of a refused name that is repeated in the error, characters.
    const SHOWN_MAX_CHARS: usize = 64;

    fn new(text: &str, rule: &'static str) -> Self {
        let shown =
            text.chars().take(Self::SHOWN_MAX_CHARS).flat_map(char::escape_default).collect();
        Self { shown, rule }
    }
}

const ORG_RULE: &str = "an org name has 2 to 39 of a-z, 0-9 and inner hyphens, and is not reserved";
const PACKAGE_RULE: &str = "a package name has 2 to 96 of a-z, 0-9 and inner `-`, `.` or `_`";
const CATEGORY_RULE: &str =
    "a category is domain/task in a-z, 0-9 and inner hyphens, two to four parts";
const FILE_RULE: &str = "a file name is relative, with no empty, `.` or `..` part, no control or invisible \
                         character, backslash or colon, and at most 255 bytes";
const CATEGORY_MAX_PARTS: usize = 4;

/// Lower-case letters and digits at both ends, also `inner` characters between.
fn is_label(text: &str, min: usize, max: usize, inner: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (min..=max).contains(&text.len())
        && text.chars().all(|c| alphanumeric(c) || inner.contains(c))
        && text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
}

fn check_org(text: &str) -> Result<(), NameError> {
    if is_label(text, 2, 39, "-") && !RESERVED.contains(&text) {
        Ok(())
    } else {
        Err(NameError::new(text, ORG_RULE))
    }
}

fn check_package(text: &str) -> Result<(), NameError> {
    if is_label(text, 2, 96, "-._") { Ok(()) } else { Err(NameError::new(text, PACKAGE_RULE)) }
}

fn check_category(text: &str) -> Result<(), NameError> {
    let parts = text.split('/').count();
    if (2..=CATEGORY_MAX_PARTS).contains(&parts)
        && text.split('/').all(|part| is_label(part, 1, 64, "-"))
    {
        Ok(())
    } else {
        Err(NameError::new(text, CATEGORY_RULE))
    }
}

fn check_file(text: &str) -> Result<(), NameError> {
    let bad_char = |c: char| c.is_control() || matches!(c, '\\' | ':') || is_invisible(c);
    let good = !text.is_empty()
        && text.len() <= FILE_NAME_MAX_BYTES
        && !text.contains(bad_char)
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if good { Ok(()) } else { Err(NameError::new(text, FILE_RULE)) }
}

/// Characters that make two names look alike or one look like another: what turns the direction of a line, and what
/// takes no place. The joiners of Persian, Indic scripts and emoji are not among them.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        for good in ["ab", "a1", "st-mary-hospital", &"a".repeat(39)] {
            assert!(good.parse::<OrgName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", "a-", "A1", "a_b", "a.b", "local", &"a".repeat(40), "ab\n", "аb"]
        {
            assert!(bad.parse::<OrgName>().is_err(), "{bad}");
        }
        assert!("digits.v2_x-y".parse::<PackageName>().is_ok());
        assert!("vision/image-classification".parse::<Category>().is_ok());
        assert!("vision".parse::<Category>().is_err());
        for bad in ["../x", "/x", "a//b", "a/./b", "a\\b", "C:x", "a\0", "", "a/", "\u{202e}x"] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
        assert!("tests/1.in.pgm".parse::<FileName>().is_ok());
    }

    #[test]
    fn references_read_what_they_print() {
        for text in ["lab/digits", "lab/digits@1.0.0", &format!("b3:{}", "0".repeat(64))] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        for bad in ["digits", "lab/digits@1", "lab/digits@", "b3:12", "lab/", "/digits"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_covers_whole_parts_only() {
        let category: Category = "vision/image-classification".parse().unwrap();
        for (prefix, covers) in [
            ("*", true),
            ("vision", true),
            ("vis", false),
            ("vision/image-classification", true),
            ("vision/image", false),
        ] {
            assert_eq!(category.is_within(&prefix.parse().unwrap()), covers, "{prefix}");
        }
    }
}
