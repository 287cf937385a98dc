//! Licences: whether a text is an SPDX expression, and which one a model hub's licence word stands for.

use spdx::{Expression, ParseMode};

/// Where a word of the Hugging Face Hub is neither an SPDX identifier nor one in other letters. Words with `-only` are
/// those of which the hub does not say `or later`.
const HUB_WORDS: &[(&str, &str)] = &[
    ("agpl-3.0", "AGPL-3.0-only"),
    ("apple-amlr", "LicenseRef-Apple-AMLR"),
    ("apple-ascl", "LicenseRef-Apple-ASCL"),
    ("bigcode-openrail-m", "LicenseRef-BigCode-OpenRAIL-M"),
    ("bigscience-bloom-rail-1.0", "LicenseRef-BigScience-BLOOM-RAIL-1.0"),
    ("bigscience-openrail-m", "LicenseRef-BigScience-OpenRAIL-M"),
    ("bsd", "LicenseRef-BSD"),
    ("c-uda", "C-UDA-1.0"),
    ("cc", "LicenseRef-CC"),
    ("creativeml-openrail-m", "LicenseRef-CreativeML-OpenRAIL-M"),
    ("etalab-2.0", "etalab-2.0"),
    ("gemma", "LicenseRef-Gemma"),
    ("gfdl", "LicenseRef-GFDL"),
    ("gpl", "LicenseRef-GPL"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-3.0", "GPL-3.0-only"),
    ("lgpl", "LicenseRef-LGPL"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-3.0", "LGPL-3.0-only"),
    ("lgpl-lr", "LGPLLR"),
    ("llama2", "LicenseRef-Llama-2"),
    ("llama3", "LicenseRef-Llama-3"),
    ("llama3.1", "LicenseRef-Llama-3.1"),
    ("llama3.2", "LicenseRef-Llama-3.2"),
    ("llama3.3", "LicenseRef-Llama-3.3"),
    ("llama4", "LicenseRef-Llama-4"),
    ("odbl", "ODbL-1.0"),
    ("odc-by", "ODC-By-1.0"),
    ("openrail", "LicenseRef-OpenRAIL"),
    ("openrail++", "LicenseRef-OpenRAIL-plus-plus"),
    ("pddl", "PDDL-1.0"),
];

/// Longest licence that is looked at, bytes: real ones name a handful of identifiers.
const LICENCE_MAX_BYTES: usize = 1024;

/// Identifiers of the list that newer ones took the place of still say what is meant.
const MODE: ParseMode = ParseMode { allow_deprecated: true, ..ParseMode::STRICT };

/// Checks that a text is an SPDX expression; else says why not.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.len() > LICENCE_MAX_BYTES {
        return Err(format!("longer than {LICENCE_MAX_BYTES} bytes"));
    }
    Expression::parse_mode(text, MODE).map(|_| ()).map_err(|error| error.reason.to_string())
}

/// The SPDX expression that a hub's word stands for; `None` for `unknown`, and for `other` without a name. `name` is
/// what a card gives beside `other`.
pub(super) fn of_hub(word: &str, name: Option<&str>) -> Option<String> {
    let word = word.trim();
    if word.len() > LICENCE_MAX_BYTES || word.is_empty() || word.eq_ignore_ascii_case("unknown") {
        return None;
    }
    if word.eq_ignore_ascii_case("other") {
        return name.and_then(own);
    }
    if let Some((_, spdx)) = HUB_WORDS.iter().find(|(hub, _)| hub.eq_ignore_ascii_case(word)) {
        return Some((*spdx).to_owned());
    }
    let listed =
        spdx::identifiers::LICENSES.iter().find(|known| known.name.eq_ignore_ascii_case(word));
    match listed {
        Some(known) => Some(known.name.to_owned()),
        // Somebody wrote an expression where the hub wants a word.
        None if check(word).is_ok() => Some(word.to_owned()),
        None => own(word),
    }
}

/// A name that is on no list, in the form that SPDX has for those.
fn own(name: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = name.trim().chars().take(64).map(plain).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| format!("LicenseRef-{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_hub_become_spdx() {
        for (word, name, spdx) in [
            ("apache-2.0", None, Some("Apache-2.0")),
            ("mit", None, Some("MIT")),
            ("cc-by-4.0", None, Some("CC-BY-4.0")),
            ("cc0-1.0", None, Some("CC0-1.0")),
            ("gpl-3.0", None, Some("GPL-3.0-only")),
            ("openrail", None, Some("LicenseRef-OpenRAIL")),
            ("llama3", None, Some("LicenseRef-Llama-3")),
            ("MIT OR Apache-2.0", None, Some("MIT OR Apache-2.0")),
            ("my own / words", None, Some("LicenseRef-my-own---words")),
            ("other", Some("tongyi-qianwen"), Some("LicenseRef-tongyi-qianwen")),
            ("other", None, None),
            ("unknown", None, None),
            ("", None, None),
        ] {
            assert_eq!(of_hub(word, name).as_deref(), spdx, "{word}");
        }
    }

    #[test]
    fn whatever_the_table_says_is_an_spdx_expression() {
        for (word, spdx) in HUB_WORDS {
            assert_eq!(check(spdx), Ok(()), "{word}");
        }
        assert!(HUB_WORDS.is_sorted(), "so that a second line of one word is seen");
        assert_eq!(check("(Apache-2.0 OR MIT) AND CC-BY-4.0"), Ok(()));
        assert_eq!(check("GPL-3.0"), Ok(()));
        assert!(check("Apache License").is_err());
        assert!(check(&"(".repeat(2_000)).is_err());
    }
}
