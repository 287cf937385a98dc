//! What a `guild.toml` names before the folder is a package: its code may not be built yet, its expectations not written.
//!
//! Read without any of the rules: whatever is not as it should be is left to those who report it with its line.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use guildhall_client::package::DESCRIPTION_FILE;
use guildhall_protocol::name::FileName;
use toml::{Table, Value};

/// Longest description that is looked into here, bytes: what the package's reader takes.
const DESCRIPTION_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Keys under `[code.FORM]` that name the code's file.
const CODE_KEYS: [&str; 3] = ["module", "component", "model"];

/// The files that a description names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The code.
    pub(super) code: Option<FileName>,
    /// What unit tests expect, in their order.
    pub(super) expected: Vec<FileName>,
}

impl Named {
    /// What the description of the folder `dir` names; nothing when it cannot be read.
    pub(super) fn read(dir: &Path) -> Self {
        let mut text = String::new();
        let read = File::open(dir.join(DESCRIPTION_FILE))
            .and_then(|file| file.take(DESCRIPTION_MAX_BYTES).read_to_string(&mut text));
        match (read, text.parse::<Table>()) {
            (Ok(_), Ok(table)) => Self::of(&table),
            _ => Self::default(),
        }
    }

    fn of(table: &Table) -> Self {
        let name = |value: &Value| value.as_str().and_then(|text| text.parse::<FileName>().ok());
        // Other kinds have no code to be built; that they have some is a mistake of another sort.
        let kind = table.get("kind").and_then(Value::as_str);
        let is_executed = matches!(kind, None | Some("algorithm" | "model"));
        let forms = table.get("code").and_then(Value::as_table).filter(|_| is_executed);
        let mut forms = forms.into_iter().flat_map(Table::values);
        let code = forms.find_map(|form| CODE_KEYS.iter().find_map(|key| form.get(key)));
        let items =
            |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let tests = items(table.get("tests"));
        let outputs = tests.iter().flat_map(|test| items(test.get("outputs")));
        let expected = outputs.filter_map(|output| output.get("file").and_then(name)).collect();
        Self { code: code.and_then(name), expected }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_code_and_what_is_expected_are_found_in_every_form() {
        let file = |name: &str| name.parse::<FileName>().unwrap();
        for (form, key) in [("command", "module"), ("component", "component"), ("onnx", "model")] {
            let text = format!(
                "[code.{form}]\n{key} = \"a.x\"\n[[tests]]\noutputs = [{{ file = \"t/1\" }}, {{ file = \"../x\" }}]"
            );
            let found = Named::of(&text.parse().unwrap());
            assert_eq!(found, Named { code: Some(file("a.x")), expected: vec![file("t/1")] });
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_names_nothing() {
        for text in ["code = 1\ntests = 2", "[code]\ncommand = []", "[[tests]]\noutputs = 1", ""] {
            assert_eq!(Named::of(&text.parse().unwrap()), Named::default(), "{text}");
        }
        assert_eq!(Named::read(Path::new("/does/not/exist")), Named::default());
    }
}
