//! Markdown as plain text in a terminal: headings, paragraphs, lists, quotes, tables and code.
//!
//! Nothing of a stranger's text is acted upon: links and pictures are named with their addresses and not followed, tags
//! are left out, and characters that a terminal acts on are shown as escapes.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::super::escape;
use super::super::screen::{width, wrapped};
use super::super::table::Table;

/// Lists and quotes inside each other that are indented; deeper ones stand below the last.
const DEPTH_MAX: usize = 8;

/// What a line of code begins with.
const CODE: &str = "    ";

/// Columns that are left for text however deep it stands.
const TEXT_LEAST_COLUMNS: usize = 20;

/// Lines that show `text`, prose in at most `columns`; code and tables are as wide as they are.
pub(super) fn lines(text: &str, columns: usize) -> Vec<String> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut page = Page { columns, ..Page::default() };
    for event in Parser::new_ext(text, options) {
        page.event(event);
    }
    page.flush();
    while page.lines.last().is_some_and(String::is_empty) {
        page.lines.pop();
    }
    page.lines
}

/// A list or quote that is open.
#[derive(Debug)]
enum Level {
    Quote,
    Bullets,
    /// With the next number.
    Numbers(u64),
}

/// What the text that comes belongs to.
#[derive(Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Prose,
    Code,
    /// Not shown: what describes a page for machines.
    Hidden,
}

/// A page while it is made.
#[derive(Debug, Default)]
struct Page {
    columns: usize,
    lines: Vec<String>,
    /// Text that is not in lines yet.
    text: String,
    within: Within,
    levels: Vec<Level>,
    /// What the next line begins with instead of blanks, for a list's item.
    marker: Option<String>,
    /// Addresses of open links and pictures.
    links: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Page {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.within == Within::Code => self.code(&text),
            Event::Text(text) => self.say(&text),
            Event::Code(text) => self.say(&format!("`{text}`")),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.say(&text),
            Event::Html(text) | Event::InlineHtml(text) => {
                let text = without_tags(&text);
                self.say(&text);
            }
            Event::FootnoteReference(name) => self.say(&format!("[{name}]")),
            Event::SoftBreak => self.say(" "),
            Event::HardBreak => self.flush(),
            Event::Rule => {
                self.line("----".to_owned());
                self.gap();
            }
            Event::TaskListMarker(done) => self.say(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } | Tag::HtmlBlock => {
                self.flush();
                self.gap();
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                if let CodeBlockKind::Fenced(language) = kind
                    && !language.is_empty()
                {
                    self.line(format!("{language}:"));
                }
                self.within = Within::Code;
            }
            Tag::MetadataBlock(_) => self.within = Within::Hidden,
            Tag::BlockQuote(_) => self.open(Level::Quote),
            Tag::List(first) => self.open(first.map_or(Level::Bullets, Level::Numbers)),
            Tag::Item => {
                self.flush();
                self.marker = Some(match self.levels.last_mut() {
                    Some(Level::Numbers(next)) => {
                        let marker = format!("{next}. ");
                        *next = next.saturating_add(1);
                        marker
                    }
                    _ => "- ".to_owned(),
                });
            }
            Tag::Link { dest_url, .. } => self.links.push(dest_url.into_string()),
            Tag::Image { dest_url, .. } => {
                self.links.push(dest_url.into_string());
                self.say("[picture: ");
            }
            Tag::Table(_) => {
                self.flush();
                self.rows.clear();
            }
            Tag::TableHead | Tag::TableRow => self.rows.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => {
                self.flush();
                self.gap();
            }
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::CodeBlock => {
                self.within = Within::Prose;
                self.gap();
            }
            TagEnd::MetadataBlock(_) => self.within = Within::Prose,
            TagEnd::BlockQuote(_) | TagEnd::List(_) => {
                self.flush();
                self.marker = None;
                self.levels.pop();
                if self.levels.is_empty() {
                    self.gap();
                }
            }
            TagEnd::Item => self.flush(),
            TagEnd::Link => {
                let address = self.links.pop().unwrap_or_default();
                // An address that is its own text, and a place in the same page, say nothing more.
                if !address.starts_with('#') && !self.text.ends_with(&address) {
                    self.say(&format!(" ({address})"));
                }
            }
            TagEnd::Image => {
                let address = self.links.pop().unwrap_or_default();
                self.say(&format!("] ({address})"));
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.text);
                if let Some(row) = self.rows.last_mut() {
                    row.push(cell.trim().to_owned());
                }
            }
            TagEnd::Table => self.table(),
            _ => {}
        }
    }

    fn say(&mut self, text: &str) {
        if self.within == Within::Prose {
            self.text.push_str(text);
        }
    }

    fn code(&mut self, text: &str) {
        for line in text.lines() {
            self.line(format!("{CODE}{}", line.replace('\t', "    ")));
        }
    }

    fn open(&mut self, level: Level) {
        self.flush();
        self.levels.push(level);
    }

    fn heading(&mut self, level: HeadingLevel) {
        let text = std::mem::take(&mut self.text);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let under = match level {
            HeadingLevel::H1 => Some("="),
            HeadingLevel::H2 => Some("-"),
            _ => None,
        };
        let shown = width(&escape(&text)).min(self.columns);
        match under {
            Some(under) => {
                self.line(text);
                self.line(under.repeat(shown));
            }
            None => self.line(format!("{text}:").replace("::", ":")),
        }
        self.gap();
    }

    fn table(&mut self) {
        let mut table = Table::plain();
        // Many tables have a head only because Markdown wants one.
        let is_said = |row: &Vec<String>| row.iter().any(|cell| !cell.is_empty());
        for row in self.rows.drain(..).filter(is_said) {
            table.cells(row);
        }
        for line in table.lines() {
            self.line(line);
        }
        self.gap();
    }

    /// Puts the text in lines.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text.trim().is_empty() {
            return;
        }
        let taken = width(&self.indent());
        let room = self.columns.saturating_sub(taken).max(TEXT_LEAST_COLUMNS);
        for line in wrapped(&escape(&flat(&text)), room) {
            self.line(line);
        }
    }

    /// One line behind its indent.
    fn line(&mut self, text: String) {
        let mut start = self.indent();
        if let Some(marker) = self.marker.take() {
            let keep = start.len().saturating_sub(2);
            start.truncate(keep);
            start.push_str(&marker);
        }
        self.lines.push(format!("{start}{}", escape(&text)).trim_end().to_owned());
    }

    fn indent(&self) -> String {
        let levels = self.levels.iter().take(DEPTH_MAX);
        levels.map(|level| if matches!(level, Level::Quote) { "> " } else { "  " }).collect()
    }

    /// An empty line, unless there is one.
    fn gap(&mut self) {
        if self.levels.is_empty() && self.lines.last().is_some_and(|line| !line.is_empty()) {
            self.lines.push(String::new());
        }
    }
}

/// Line breaks as blanks: escapes are for what a terminal acts on, and prose is wrapped anyway.
fn flat(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// What stands between tags. An open `<` that is never closed stays as it is.
fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        match tag.split_once('>') {
            Some((_, behind)) => rest = behind,
            None => {
                text.push('<');
                rest = tag;
                break;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_like_a_page() {
        let text = "---\nlicense: mit\n---\n# Digits\n\nReads *small* digits from\npictures, \
                    see [the paper](http://x.example/a).\n\n## Use\n\n```sh\nguild run\tx\n```\n\n\
                    1. one\n2. two is longer than a line can be here\n   - inner\n\n> said\n\n\
                    | metric | value |\n|---|---|\n| f1 | 0.9 |\n\n### More\n<b>bold</b>![cat](c.png)";
        assert_eq!(
            lines(text, 30),
            [
                "Digits",
                "======",
                "",
                "Reads small digits from",
                "pictures, see the paper",
                "(http://x.example/a).",
                "",
                "Use",
                "---",
                "",
                "sh:",
                "    guild run    x",
                "",
                "1. one",
                "2. two is longer than a line",
                "  can be here",
                "  - inner",
                "",
                "> said",
                "",
                "metric  value",
                "f1      0.9",
                "",
                "More:",
                "",
                "bold[picture: cat] (c.png)",
            ]
        );
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        let nasty = "# a\u{1b}[2J\n\n\u{202e}evil `\u{7}`\n\n    \u{1b}]0;title\u{7}\n\n\
                     | \u{1b}c |\n|---|\n| \u{8} |\n\n<script>\u{1b}x</script>\n\n[a](\u{1b}b)";
        for line in lines(nasty, 80) {
            assert!(!line.contains(char::is_control) && !line.contains('\u{202e}'), "{line:?}");
        }
    }

    #[test]
    fn odd_pages_end_in_lines_that_fit() {
        for text in [
            "> ".repeat(5_000) + "x",
            "- ".repeat(5_000) + "x",
            "[".repeat(20_000),
            "*".repeat(20_000),
            "`".repeat(20_001),
            "<".repeat(20_000),
            "| ".repeat(2_000) + "\n" + &"|-".repeat(2_000),
            "\0".repeat(100),
            String::new(),
        ] {
            let prose = lines(&text, 60);
            assert!(prose.len() <= 21_000);
        }
        assert_eq!(lines("> > > > > > > > > > > x", 40), [format!("{}x", "> ".repeat(DEPTH_MAX))]);
    }
}
