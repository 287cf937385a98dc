//! Paths as a shell takes them, for lines that people copy and run.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Characters that no shell gives a meaning anywhere in a word.
const PLAIN: &str = "/._-+,@%:=";

/// `path` as one word of a POSIX shell: as it is when no character means anything there, else in single quotes. What
/// cannot be seen or is no UTF-8 is written as `$'\x1b'`, which bash, zsh and POSIX of 2024 understand. A path never
/// begins with a hyphen here, so that no command takes it for an option.
#[must_use]
pub fn shell_quote(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let option = if bytes.first() == Some(&b'-') { "./" } else { "" };
    let Ok(text) = std::str::from_utf8(bytes) else { return escaped(option, bytes) };
    // A letter of any script is shown as what it is; other characters outside ASCII may be marks that cannot be seen.
    if !text.chars().all(|c| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric()) {
        return escaped(option, bytes);
    }
    if !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || PLAIN.contains(c)) {
        return format!("{option}{text}");
    }
    format!("'{option}{}'", text.replace('\'', r"'\''"))
}

fn escaped(option: &str, bytes: &[u8]) -> String {
    let mut word = format!("$'{option}");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => word.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => word.push(char::from(*byte)),
            // Three octal digits end by themselves, whatever follows.
            byte => {
                // Writing to a string does not fail.
                let _ = write!(word, "\\{byte:03o}");
            }
        }
    }
    word.push('\'');
    word
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::process::Command;

    use super::*;

    #[test]
    fn plain_paths_stay_as_they_are() {
        for path in ["/srv/guild", "a/b-c_1.0.toml", "größe/x@1"] {
            assert_eq!(shell_quote(Path::new(path)), path);
        }
    }

    #[test]
    fn a_shell_reads_back_the_same_bytes() {
        let nasty: &[&[u8]] = &[
            b"",
            b"two words",
            b"it's",
            b"$(touch x); `id` & \"$HOME\"",
            b"~root",
            b"-rf",
            b"-r f",
            b"a\nb",
            b"a\x1b[31m1",
            b"\xff\xfe1'\\",
            b"#x",
            b"*",
            "\u{202e}exe\u{200b}".as_bytes(),
        ];
        for bytes in nasty {
            let word = shell_quote(Path::new(OsStr::from_bytes(bytes)));
            assert!(!word.chars().any(char::is_control), "{word:?}");
            let said = Command::new("bash").args(["-c", &format!("printf %s {word}")]).output();
            let read = said.unwrap().stdout;
            let read = read.strip_prefix(b"./").unwrap_or(&read);
            assert_eq!(read, *bytes, "{word}");
        }
    }
}
