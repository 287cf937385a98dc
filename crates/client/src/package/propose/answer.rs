//! What a proposal leaves open: asked on a terminal, or named all at once.

use guildhall_protocol::name::{Category, NameError};
use guildhall_protocol::vocabulary;

use super::super::licence;
use super::{Proposal, Proposed, Source};

/// Longest summary that is taken from a terminal, bytes: what a listing takes.
const SUMMARY_MAX_BYTES: usize = guildhall_protocol::limits::TEXT_MAX_BYTES;

/// Something that a person is asked, because files do not say it or say it badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the keys of guild.toml")]
pub enum Question {
    Name,
    Version,
    Category,
    Licence,
    Summary,
}

impl Question {
    /// Every question, in the order in which they are asked.
    pub const ALL: [Self; 5] =
        [Self::Name, Self::Version, Self::Category, Self::Licence, Self::Summary];

    /// As it is asked, with an example where one helps.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Version => "version",
            Self::Category => "category (domain/task, such as vision/image-classification)",
            Self::Licence => "licence (SPDX, such as Apache-2.0, or unknown)",
            Self::Summary => "summary (one sentence)",
        }
    }
}

/// A key that must be in `guild.toml` and follows from nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsaid {
    /// The key.
    pub key: &'static str,
    /// A line that says it.
    pub example: &'static str,
}

impl Proposal {
    /// Everything that must still be said, in the order of a `guild.toml`.
    #[must_use]
    pub fn unsaid(&self) -> Vec<Unsaid> {
        let keys = [
            (self.kind.is_some(), "kind", "kind = \"data\""),
            (self.name.is_some(), "name", "name = \"my-package\""),
            (self.version.is_some(), "version", "version = \"0.1.0\""),
            (
                self.categories.is_some(),
                "categories",
                "categories = [\"vision/image-classification\"]",
            ),
            (self.summary.is_some(), "summary", "summary = \"One sentence.\""),
        ];
        let open = keys.into_iter().filter(|(is_said, ..)| !is_said);
        open.map(|(_, key, example)| Unsaid { key, example }).collect()
    }

    /// What is worth asking: whatever is neither written nor given.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let is_settled = |from: Option<&Source>| {
            matches!(
                from,
                Some(Source::Written | Source::Given | Source::GivenInstead | Source::Answered)
            )
        };
        let is_open = |question: &Question| {
            !is_settled(match question {
                Question::Name => self.name.as_ref().map(|said| &said.from),
                Question::Version => self.version.as_ref().map(|said| &said.from),
                Question::Category => self.categories.as_ref().map(|said| &said.from),
                Question::Licence => self.licence.as_ref().map(|said| &said.from),
                Question::Summary => self.summary.as_ref().map(|said| &said.from),
            })
        };
        Question::ALL.into_iter().filter(is_open).collect()
    }

    /// What an empty answer stands for.
    #[must_use]
    pub fn default_answer(&self, question: Question) -> Option<String> {
        match question {
            Question::Name => self.name.as_ref().map(|said| said.value.to_string()),
            Question::Version => self.version.as_ref().map(|said| said.value.to_string()),
            Question::Category => self.categories.as_ref().map(|said| {
                said.value.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }),
            Question::Licence => self.licence.as_ref().map(|said| said.value.clone()),
            Question::Summary => self.summary.as_ref().map(|said| said.value.clone()),
        }
    }

    /// Takes an answer; an empty one keeps what is proposed.
    ///
    /// # Errors
    /// Why it cannot be that, in words.
    pub fn answer(&mut self, question: Question, text: &str) -> Result<(), String> {
        let text = text.trim();
        let words = |error: NameError| error.to_string();
        if text.is_empty() {
            return match self.default_answer(question) {
                Some(_) => Ok(()),
                // Nobody has to know a licence; a warning says what that means.
                None if question == Question::Licence => Ok(()),
                None => Err("there is no default".to_owned()),
            };
        }
        match question {
            Question::Name => set(&mut self.name, text.parse().map_err(words)?),
            Question::Version => set(
                &mut self.version,
                text.parse().map_err(|_| "a version has three numbers, as in 1.0.0".to_owned())?,
            ),
            Question::Category => {
                let list = text.split(',').map(|one| category(one.trim()));
                set(&mut self.categories, list.collect::<Result<Vec<_>, _>>()?);
            }
            Question::Licence => {
                if text != super::super::draft::LICENCE_UNKNOWN {
                    licence::check(text).map_err(|why| format!("no SPDX expression: {why}"))?;
                }
                set(&mut self.licence, text.to_owned());
            }
            Question::Summary if text.len() > SUMMARY_MAX_BYTES => {
                return Err(format!("longer than {SUMMARY_MAX_BYTES} bytes"));
            }
            Question::Summary => set(&mut self.summary, text.to_owned()),
        }
        Ok(())
    }
}

/// A category, or what a word such as `ocr` stands for in the vocabulary.
fn category(text: &str) -> Result<Category, String> {
    let error = match text.parse::<Category>() {
        Ok(category) => return Ok(category),
        Err(error) => error,
    };
    if let Some(category) = vocabulary::meant(text).and_then(vocabulary::Entry::category) {
        return Ok(category);
    }
    Err(match vocabulary::nearest(text).as_slice() {
        [] => error.to_string(),
        near => format!("{error}; did you mean {}?", near.join(", ")),
    })
}

fn set<T>(place: &mut Option<Proposed<T>>, value: T) {
    *place = Some(Proposed { value, from: Source::Answered });
}
