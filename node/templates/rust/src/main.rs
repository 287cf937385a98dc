//! Which language is a text in?
//!
//! A stage is a program: one record on stdin, its result on stdout, settings as `--key=value` arguments, exit code 0. It
//! has no files, no network, no environment and no real clock, and every record gets a fresh start of it. This one
//! counts how many words of the text are among the commonest of each language. Replace `judge` by your own work, and say
//! in guild.toml what comes in and goes out.

use std::io::{self, Read, Write};
use std::process::ExitCode;

/// What guild.toml lists as labels, with the commonest words. A fifth one, `und`, is ISO 639 for undetermined.
const LANGUAGES: [(&str, &str); 4] = [
    ("de", "der die das und ist nicht ein eine ich sie es mit von zu den auf"),
    ("en", "the of and to in is it that was for with not this are you on"),
    ("es", "el la los las de que y en un una es no con por para se"),
    ("fr", "le la les des de et est que un une ne pas dans pour qui il"),
];

/// Letters are A to Z and everything beyond ASCII.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii()
}

/// One prediction as JSON. Below `least` known words it does not dare to answer.
fn judge(text: &[u8], least: u64) -> String {
    let mut hits = [0_u64; LANGUAGES.len()];
    for word in text.split(|byte| !is_letter(*byte)) {
        let word = word.to_ascii_lowercase();
        for ((_, words), hits) in LANGUAGES.iter().zip(&mut hits) {
            *hits += u64::from(words.split(' ').any(|known| known.as_bytes() == word));
        }
    }
    let all: u64 = hits.iter().sum();
    // Of equals the first is taken: the smallest distance from the most hits.
    let best = LANGUAGES.iter().zip(hits).min_by_key(|(_, hits)| all - hits);
    match best {
        Some(((code, _), hits)) if all > 0 && all >= least => {
            // Thousandths in whole numbers: the same bytes on every machine.
            let share = (2000 * hits + all) / (2 * all);
            let (whole, rest) = (share / 1000, share % 1000);
            format!(r#"[{{"input":0,"value":{{"class":"{code}"}},"confidence":{whole}.{rest:03}}}]"#)
        }
        _ => r#"[{"input":0,"value":{"class":"und"}}]"#.to_owned(),
    }
}

fn main() -> ExitCode {
    let mut least = 1;
    for setting in std::env::args().skip(1) {
        match setting.strip_prefix("--least=").map(str::parse) {
            Some(Ok(number)) => least = number,
            _ => {
                // What goes to stderr is shown by `guild test --input`.
                eprintln!("not a setting: {setting}; there is --least=NUMBER");
                return ExitCode::from(2);
            }
        }
    }
    let mut text = Vec::new();
    let done = io::stdin()
        .read_to_end(&mut text)
        .and_then(|_| io::stdout().write_all(judge(&text, least).as_bytes()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
