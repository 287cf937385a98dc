//! `.guildignore`: files that stay out of a package, as `.gitignore` says it.
//!
//! One pattern a line; `#` begins a comment, `!` takes back what an earlier line left out, `/` at the end means folders
//! only, a `/` elsewhere ties the pattern to the package's folder. `*` stands for anything within a name, `?` for one
//! character, `**` for folders. Classes (`[a-z]`) are refused: a pattern that is read otherwise than its writer meant
//! would publish what should stay. As with git, nothing below a folder that is left out can be taken back.

use std::fs;
use std::io;
use std::path::Path;

use super::error::PackageError;

/// The file with the patterns, at the top of the folder.
pub(super) const IGNORE_FILE: &str = ".guildignore";

/// Longest file of patterns that is read, bytes.
const IGNORE_MAX_BYTES: u64 = 64 * 1024;

/// Most patterns; each is tried on every name.
const PATTERNS_MAX: usize = 1_000;

/// Longest pattern, bytes: that of the longest name, and as much again for `**` and the like.
const PATTERN_MAX_BYTES: usize = 512;

/// What stays out.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    tokens: Vec<Token>,
    takes_back: bool,
    folders_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Char(char),
    /// One character that is no slash.
    One,
    /// Any number of characters that are no slash.
    Many,
    /// Any number of whole folders, each with its slash.
    Folders,
    /// Everything from here on.
    Rest,
}

impl Ignore {
    /// The patterns of the folder `dir`; none when it has no such file.
    pub(super) fn read(dir: &Path) -> Result<Self, PackageError> {
        let path = dir.join(IGNORE_FILE);
        let failed = |source| PackageError::Io { path: path.clone(), source };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
            Ok(found) if found.len() > IGNORE_MAX_BYTES => {
                return Err(failed(io::Error::other(format!(
                    "longer than {IGNORE_MAX_BYTES} bytes"
                ))));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        Self::parse(&text).map_err(|(line, message)| PackageError::Description {
            path: path.clone(),
            line,
            column: 1,
            message,
        })
    }

    /// A mistake comes with its line, from 1.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut rules = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if rules.len() == PATTERNS_MAX {
                return Err((number, format!("more than {PATTERNS_MAX} patterns")));
            }
            if line.len() > PATTERN_MAX_BYTES {
                return Err((number, format!("longer than {PATTERN_MAX_BYTES} bytes")));
            }
            rules.push(Rule::parse(line).map_err(|why| (number, why))?);
        }
        Ok(Self { rules })
    }

    /// Whether a name of the package stays out. The last pattern that matches decides.
    pub(super) fn leaves_out(&self, name: &str, is_folder: bool) -> bool {
        let applies =
            |rule: &&Rule| (is_folder || !rule.folders_only) && matches(&rule.tokens, name);
        self.rules.iter().rev().find(applies).is_some_and(|rule| !rule.takes_back)
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, String> {
        let (takes_back, rest) = match line.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let rest = rest.strip_prefix('\\').unwrap_or(rest);
        let (folders_only, rest) = match rest.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.contains(['[', ']', '\\']) {
            return Err(format!("`{rest}`: only `*`, `**` and `?` are understood in patterns"));
        }
        let is_tied = rest.contains('/');
        let mut left = rest.strip_prefix('/').unwrap_or(rest);
        let mut tokens = if is_tied { Vec::new() } else { vec![Token::Folders] };
        while !left.is_empty() {
            let at_name = matches!(tokens.last(), None | Some(Token::Folders | Token::Char('/')));
            if at_name && let Some(after) = left.strip_prefix("**/") {
                tokens.push(Token::Folders);
                left = after;
            } else if at_name && left == "**" {
                tokens.push(Token::Rest);
                left = "";
            } else if let Some(after) = left.strip_prefix('*') {
                tokens.push(Token::Many);
                left = after;
            } else if let Some(after) = left.strip_prefix('?') {
                tokens.push(Token::One);
                left = after;
            } else {
                let mut chars = left.chars();
                tokens.extend(chars.next().map(Token::Char));
                left = chars.as_str();
            }
        }
        Ok(Self { tokens, takes_back, folders_only })
    }
}

/// Runs all readings of the pattern at once, so that no pattern takes more than its length for each character.
fn matches(tokens: &[Token], name: &str) -> bool {
    let mut states = vec![false; tokens.len() + 1];
    let mut next = states.clone();
    enter(tokens, &mut states, 0);
    for c in name.chars() {
        next.fill(false);
        for (at, token) in tokens.iter().enumerate() {
            if states.get(at) != Some(&true) {
                continue;
            }
            let stays = match token {
                Token::Char(wanted) => {
                    if *wanted == c {
                        enter(tokens, &mut next, at + 1);
                    }
                    false
                }
                Token::One => {
                    if c != '/' {
                        enter(tokens, &mut next, at + 1);
                    }
                    false
                }
                Token::Many => {
                    if c != '/' {
                        enter(tokens, &mut next, at);
                    }
                    false
                }
                Token::Folders => {
                    if c == '/' {
                        enter(tokens, &mut next, at + 1);
                    }
                    true
                }
                Token::Rest => {
                    enter(tokens, &mut next, at + 1);
                    true
                }
            };
            if stays && let Some(state) = next.get_mut(at) {
                *state = true;
            }
        }
        std::mem::swap(&mut states, &mut next);
    }
    states.last() == Some(&true)
}

/// Comes to `at`, and to what follows it when it may stand for nothing.
fn enter(tokens: &[Token], states: &mut [bool], mut at: usize) {
    loop {
        if let Some(state) = states.get_mut(at) {
            *state = true;
        }
        match tokens.get(at) {
            Some(Token::Many | Token::Folders) => at += 1,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_as_git_reads_them() {
        for (pattern, name, is_folder, out) in [
            ("*.log", "a.log", false, true),
            ("*.log", "deep/er/a.log", false, true),
            ("*.log", "a.log.txt", false, false),
            ("/top.txt", "top.txt", false, true),
            ("/top.txt", "a/top.txt", false, false),
            ("a/b.txt", "a/b.txt", false, true),
            ("a/b.txt", "x/a/b.txt", false, false),
            ("build/", "build", true, true),
            ("build/", "x/build", true, true),
            ("build/", "build", false, false),
            ("**/tmp/*.bin", "tmp/1.bin", false, true),
            ("**/tmp/*.bin", "a/b/tmp/1.bin", false, true),
            ("**/tmp/*.bin", "a/btmp/1.bin", false, false),
            ("a/**/b", "a/b", false, true),
            ("a/**/b", "a/x/y/b", false, true),
            ("a/**", "a/x/y", false, true),
            ("a/**", "a", true, false),
            ("?.txt", "ä.txt", false, true),
            ("?.txt", "ab.txt", false, false),
            ("checkpoint-*", "checkpoint-500", true, true),
            ("\\#odd", "#odd", false, true),
            ("# remark", "# remark", false, false),
        ] {
            let ignore = Ignore::parse(pattern).unwrap();
            assert_eq!(ignore.leaves_out(name, is_folder), out, "`{pattern}` and `{name}`");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let ignore = Ignore::parse("*.bin\n!keep.bin\n\nkeep.bin/").unwrap();
        assert!(ignore.leaves_out("other.bin", false));
        assert!(!ignore.leaves_out("keep.bin", false));
        assert!(ignore.leaves_out("keep.bin", true));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        assert_eq!(Ignore::parse("a\n[ab].txt").unwrap_err().0, 2);
        assert_eq!(Ignore::parse(&"x".repeat(PATTERN_MAX_BYTES + 1)).unwrap_err().0, 1);
        let many = "x\n".repeat(PATTERNS_MAX + 1);
        assert_eq!(Ignore::parse(&many).unwrap_err().0, PATTERNS_MAX + 1);
    }

    #[test]
    fn a_pattern_of_stars_takes_no_longer_than_its_length() {
        let ignore = Ignore::parse(&"*a".repeat(250)).unwrap();
        assert!(!ignore.leaves_out(&"a".repeat(249), false));
        assert!(ignore.leaves_out(&"a".repeat(255), false));
    }
}
