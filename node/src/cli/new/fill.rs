//! What stands in the files of a new stage: templates that are carried in the program, with what was asked for filled in.

use std::path::Path;

use include_dir::{Dir, DirEntry, File, include_dir};

use super::language::{Form, Language};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// The interface of the full form, as everybody has it.
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");

/// The text of a template that stands in the README and is no file of its own.
const TOOLS: &str = "TOOLS.md";

/// The patterns' file is carried without its dot, so that it means nothing where it is carried.
const IGNORE: (&str, &str) = ("guildignore", ".guildignore");

/// The part of `guild.toml` that depends on the form, for each of both.
const CODE: [&str; 2] = ["command.toml", "component.toml"];

/// What a person said of the stage.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) name: String,
    pub(super) category: String,
    pub(super) summary: String,
    pub(super) licence: String,
}

/// A file of a new stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewFile {
    /// Below the stage's folder, with `/` between names.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Every file of a new stage, in order of name.
pub(super) fn files(language: Language, said: &Said) -> Vec<NewFile> {
    let mut files = Vec::new();
    for folder in ["common", language.folder()] {
        let at = Path::new(folder);
        for file in TEMPLATES.get_dir(at).into_iter().flat_map(all) {
            let name = slashed(file.path().strip_prefix(at).unwrap_or(file.path()));
            if name == TOOLS || CODE.contains(&name.as_str()) {
                continue;
            }
            let name = if name == IGNORE.0 { IGNORE.1.to_owned() } else { name };
            let bytes = match file.contents_utf8() {
                Some(text) if folder == "common" => filled(text, language, said).into_bytes(),
                _ => file.contents().to_vec(),
            };
            files.push(NewFile { name, bytes });
        }
    }
    if language.form() == Form::Component {
        let wit = all(&WIT).into_iter().map(|file| NewFile {
            name: format!("wit/{}", slashed(file.path())),
            bytes: file.contents().to_vec(),
        });
        files.extend(wit);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// The files of a folder and of those in it.
fn all<'a>(dir: &'a Dir<'a>) -> Vec<&'a File<'a>> {
    let below = |entry: &'a DirEntry<'a>| match entry {
        DirEntry::Dir(dir) => all(dir),
        DirEntry::File(file) => vec![file],
    };
    dir.entries().iter().flat_map(below).collect()
}

fn slashed(path: &Path) -> String {
    let names = path.iter().map(|name| name.to_string_lossy().into_owned());
    names.collect::<Vec<_>>().join("/")
}

/// A text with everything in double braces replaced. Values come last, so that none is read as a template.
fn filled(text: &str, language: Language, said: &Said) -> String {
    let part = |name: &str| {
        let file = TEMPLATES.get_file(name);
        file.and_then(File::contents_utf8).unwrap_or_default()
    };
    let [command, component] = CODE;
    let code = match language.form() {
        Form::Command => part(&format!("common/{command}")),
        Form::Component => part(&format!("common/{component}")),
    };
    let tools = part(&format!("{}/{TOOLS}", language.folder()));
    let rows = language.files().iter().map(|(name, what)| format!("| `{name}` | {what} |"));
    let (scoring_ms, memory) = language.limits();
    let is_toml = text.contains("{{CODE}}");
    let quoted = |value: &str| if is_toml { escaped(value) } else { value.to_owned() };
    let fields: [(&str, String); 10] = [
        ("{{FILES}}", rows.collect::<Vec<_>>().join("\n")),
        ("{{TOOLS}}", tools.trim_end().to_owned()),
        ("{{CODE}}\n", code.to_owned()),
        ("{{LANG}}", language.folder().to_owned()),
        ("{{SCORING_MS}}", format!("{scoring_ms:<17}")),
        ("\"{{MEMORY}}\"", format!("{:<21}", format!("\"{memory}\""))),
        ("{{NAME}}", quoted(&said.name)),
        ("{{CATEGORY}}", quoted(&said.category)),
        ("{{LICENCE}}", quoted(&said.licence)),
        ("{{SUMMARY}}", quoted(&said.summary)),
    ];
    fields.into_iter().fold(text.to_owned(), |text, (field, value)| text.replace(field, &value))
}

/// A text as it stands between the quotes of a TOML string.
fn escaped(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => made.extend(['\\', c]),
            c if c.is_control() => made.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => made.push(c),
        }
    }
    made
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn said(summary: &str) -> Said {
        Said {
            name: "words".into(),
            category: "text/classification/language".into(),
            summary: summary.into(),
            licence: "MIT".into(),
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_every_file_that_is_named_is_there() {
        for language in Language::value_variants() {
            let files = files(*language, &said("Says which."));
            let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
            for file in files.iter().filter(|file| !file.name.starts_with("tests/")) {
                let text = std::str::from_utf8(&file.bytes).unwrap();
                for brace in ["{{NAME", "{{CODE", "{{TOOLS", "{{FILES", "{{MEM", "{{SUM"] {
                    assert!(!text.contains(brace), "{}: {brace}", file.name);
                }
            }
            for (name, _) in language.files() {
                let is_there = names.iter().any(|file| file.starts_with(name));
                assert!(is_there, "{}: {name}", language.folder());
            }
            for name in ["guild.toml", "README.md", ".guildignore", "tests/french.in.txt"] {
                assert!(names.contains(&name), "{}: {name}", language.folder());
            }
            assert_eq!(
                names.iter().any(|name| name.starts_with("wit/")),
                language.form() == Form::Component
            );
        }
    }

    #[test]
    fn what_a_person_says_stays_a_text_of_toml() {
        let odd = "Says \"yes\" \\ no\n{{NAME}}.";
        let files = files(Language::C, &said(odd));
        let file = files.iter().find(|file| file.name == "guild.toml").unwrap();
        let text = std::str::from_utf8(&file.bytes).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["summary"].as_str(), Some(odd));
        assert_eq!(table["name"].as_str(), Some("words"));
        assert_eq!(table["contract"]["memory"].as_str(), Some("2 MiB"));
    }
}
