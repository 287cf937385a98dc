//! The end of a node's log, for error messages.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// How much of the end of a log is read, bytes.
const TAIL_MAX_BYTES: u64 = 8 * 1024;

/// How many of the last lines are shown: enough for an error with its causes and what led to it.
const TAIL_MAX_LINES: usize = 20;

/// The last lines of a log, or why there are none.
pub(crate) fn tail(path: &Path) -> String {
    match read_end(path) {
        Ok(end) if end.trim().is_empty() => "(it is empty)".to_owned(),
        Ok(end) => {
            let lines: Vec<&str> = end.trim_end().lines().collect();
            let from = lines.len().saturating_sub(TAIL_MAX_LINES);
            lines.iter().skip(from).map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("({}: {error})", path.display()),
    }
}

fn read_end(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len_bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(len_bytes.saturating_sub(TAIL_MAX_BYTES)))?;
    let mut end = Vec::new();
    file.take(TAIL_MAX_BYTES).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_long_log_is_short_and_holds_the_last_line() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("node.log");
        let text: String = (0..10_000).map(|line| format!("line {line}\n")).collect();
        std::fs::write(&path, text)?;
        let tail = tail(&path);
        assert_eq!(tail.lines().count(), TAIL_MAX_LINES);
        assert_eq!(tail.lines().last(), Some("  line 9999"));
        Ok(())
    }

    #[test]
    fn a_log_that_is_not_there_is_named() {
        assert!(tail(Path::new("/nowhere/node.log")).contains("/nowhere/node.log"));
    }
}
