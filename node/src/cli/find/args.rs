//! What `guild search` is told: words as people type them, and flags that say the same and go first.

use clap::Args;
use guildhall_protocol::query::{Gap, PageMark, Query, ShorthandError};

use super::super::{Failure, exit};

/// `guild search`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SearchArgs {
    /// What is looked for, with criteria if you like: digits kind:model 'latency<50ms' accepts:image
    #[arg(value_name = "WORDS")]
    pub(crate) words: Vec<String>,
    /// Criteria as flags.
    #[command(flatten)]
    pub(crate) criteria: Criteria,
    /// What to do with the answer.
    #[command(flatten)]
    pub(crate) answer: Answered,
}

/// Criteria as flags. Each says what the key of the same name does; where both are given, the flag holds.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Criteria (each can also be typed: kind:model, 'latency<50ms')")]
pub(crate) struct Criteria {
    /// algorithm, model, data, notebook or pipeline
    #[arg(long, value_name = "KIND", value_parser = |text: &str| part("kind:", text))]
    pub(crate) kind: Option<Part>,
    /// Category, or the start of one, or a word that means one; `guild categories` lists them
    #[arg(long, alias = "task", value_name = "CATEGORY", value_parser = |text: &str| part("task:", text))]
    pub(crate) category: Option<Part>,
    /// Type that goes in: image, text, image/png, or a full one such as 'tensor(f32, n, 64)', which has to fit
    #[arg(long = "in", alias = "input", value_name = "TYPE", value_parser = |text: &str| part("in:", text))]
    pub(crate) input: Option<Part>,
    /// Type that comes out; likewise
    #[arg(long = "out", alias = "output", value_name = "TYPE", value_parser = |text: &str| part("out:", text))]
    pub(crate) output: Option<Part>,
    /// What goes between two types, either of which may be missing: image/png..text
    #[arg(long, value_name = "IN..OUT", value_parser = |text: &str| part("fits:", text))]
    pub(crate) fits: Option<Part>,
    /// Producer
    #[arg(long, value_name = "ORG", value_parser = |text: &str| part("org:", text))]
    pub(crate) org: Option<Part>,
    /// SPDX licence, for example mit
    #[arg(long, alias = "license", value_name = "SPDX", value_parser = |text: &str| part("licence:", text))]
    pub(crate) licence: Option<Part>,
    /// Declared median latency at most this: 50ms, 1.5s
    #[arg(long, alias = "max-latency", value_name = "TIME", value_parser = |text: &str| part("latency<", text))]
    pub(crate) latency: Option<Part>,
    /// Declared accuracy at least this: 0.9, 90%
    #[arg(long, alias = "min-accuracy", value_name = "SHARE", value_parser = |text: &str| part("accuracy>", text))]
    pub(crate) accuracy: Option<Part>,
    /// The metric that is meant by accuracy [default: the best one of each]
    #[arg(long, value_name = "METRIC", value_parser = |text: &str| part("metric:", text))]
    pub(crate) metric: Option<Part>,
    /// Memory of the contract at most this: 2GiB
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| part("memory<", text))]
    pub(crate) memory: Option<Part>,
    /// Processor cores that are there
    #[arg(long, value_name = "N", value_parser = |text: &str| part("cores:", text))]
    pub(crate) cores: Option<Part>,
    /// Memory of the GPU that is there: 8GiB, or no
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| part("gpu:", text))]
    pub(crate) gpu: Option<Part>,
    /// All files together at most this: 1GB
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| part("size<", text))]
    pub(crate) size: Option<Part>,
    /// An engine that it runs on: onnx, wasm
    #[arg(long, value_name = "ENGINE", value_parser = |text: &str| part("engine:", text))]
    pub(crate) engine: Option<Part>,
    /// Only what this node, or one that lends it hardware, can run
    #[arg(long)]
    pub(crate) runnable: bool,
    /// Name data for each algorithm and model that is found
    #[arg(long)]
    pub(crate) with_data: bool,
}

/// What to do with the answer.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Answer")]
pub(crate) struct Answered {
    /// Most results on a page [default: 20, at most 100]
    #[arg(long, value_name = "N", conflicts_with = "one", value_parser = limit)]
    pub(crate) limit: Option<usize>,
    /// A further page, by the mark that the one before ends with
    #[arg(long, value_name = "MARK", conflicts_with = "one")]
    pub(crate) page: Option<PageMark>,
    /// Count the answers by kind, category and so on
    #[arg(long)]
    pub(crate) facets: bool,
    /// Ask no other node
    #[arg(long)]
    pub(crate) local: bool,
    /// Let the words travel to the nodes that are asked; without it they get the criteria alone
    #[arg(long)]
    pub(crate) share_text: bool,
    /// Only the best one, and why it is
    #[arg(long)]
    pub(crate) one: bool,
    /// What would fill the gaps of a pipeline: a folder with its guild.toml, in which `package = "?"` stands for what is
    /// missing, or the reference of one
    #[arg(long = "for", value_name = "PIPELINE", conflicts_with_all = ["fits", "page", "one"])]
    pub(crate) pipeline: Option<String>,
    /// Why each result stands where it does
    #[arg(long)]
    pub(crate) explain: bool,
}

/// A query of which one flag's part is set.
#[derive(Clone, Debug)]
pub(crate) struct Part(Box<Query>);

/// What a flag says is read as the key of its name, so that both understand the same and refuse in the same words.
fn part(key: &str, value: &str) -> Result<Part, String> {
    let quoted = format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    Query::read(&format!("{key}{quoted}")).map(|query| Part(Box::new(query))).map_err(|error| {
        match error {
            ShorthandError::Value { why, .. } => why,
            error => error.to_string(),
        }
    })
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => {
            Err("a whole number above 0 is needed; more than 100 are never shown at once"
                .to_owned())
        }
    }
}

impl Criteria {
    /// The flags that were given.
    fn parts(&self) -> impl Iterator<Item = &Query> {
        [
            &self.kind,
            &self.category,
            &self.input,
            &self.output,
            &self.fits,
            &self.org,
            &self.licence,
            &self.latency,
            &self.accuracy,
            &self.metric,
            &self.memory,
            &self.cores,
            &self.gpu,
            &self.size,
            &self.engine,
        ]
        .into_iter()
        .flatten()
        .map(|Part(query)| query.as_ref())
    }
}

impl SearchArgs {
    /// Words that look like criteria and are none.
    pub(super) fn unread(&self) -> Vec<String> {
        Query::unread_keys(&self.words.join(" "))
    }

    /// The query that is meant.
    ///
    /// # Errors
    /// When the words make none; it says which.
    pub(super) fn query(&self) -> Result<Query, Failure> {
        let typed = self.words.join(" ");
        let mut query = Query::read(&typed).map_err(|error| {
            Failure::new(exit::USAGE, error.to_string()).with_help("guild search --help")
        })?;
        for part in self.criteria.parts() {
            overlay(&mut query, part);
        }
        query.runnable |= self.criteria.runnable;
        query.with_data |= self.criteria.with_data;
        let answer = &self.answer;
        query.limit = answer.limit.unwrap_or_default();
        query.page = answer.page;
        query.facets = answer.facets;
        query.local = answer.local;
        query.share_text = answer.share_text;
        // Flags and words can agree each for itself and break a bound together.
        query.check().map_err(|error| Failure::new(exit::USAGE, error.to_string()))?;
        Ok(query)
    }
}

/// Lets what `part` sets take the place of what `query` has.
fn overlay(query: &mut Query, part: &Query) {
    fn over<T: Clone>(slot: &mut Option<T>, part: &Option<T>) {
        if part.is_some() {
            slot.clone_from(part);
        }
    }
    over(&mut query.kind, &part.kind);
    over(&mut query.category, &part.category);
    over(&mut query.org, &part.org);
    over(&mut query.licence, &part.licence);
    over(&mut query.max_latency_ms, &part.max_latency_ms);
    over(&mut query.min_accuracy, &part.min_accuracy);
    over(&mut query.metric, &part.metric);
    over(&mut query.max_memory_bytes, &part.max_memory_bytes);
    over(&mut query.cores, &part.cores);
    over(&mut query.gpu_memory_bytes, &part.gpu_memory_bytes);
    over(&mut query.max_len_bytes, &part.max_len_bytes);
    over(&mut query.engine, &part.engine);
    // A family asks for the port, a full type for a fit: one takes the place of the other.
    let Gap { input, output } = &part.fits;
    if part.input.is_some() || input.is_some() {
        query.input.clone_from(&part.input);
        query.fits.input.clone_from(input);
    }
    if part.output.is_some() || output.is_some() {
        query.output.clone_from(&part.output);
        query.fits.output.clone_from(output);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(line: &[&str]) -> SearchArgs {
        let line = ["guild", "search"].iter().chain(line);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Search(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn query(line: &[&str]) -> Query {
        args(line).query().unwrap()
    }

    #[test]
    fn words_are_read_and_flags_say_the_same() {
        let typed = query(&[
            "small",
            "digits kind:model task:vision/image-to-text/ocr",
            "accepts:image/png",
            "yields:text org:lab-a licence:mit latency<50ms accuracy>0.9 metric:cer memory<2GiB",
            "cores:4 gpu:no size<1GB engine:onnx runnable",
        ]);
        let flags = "--kind model --category vision/image-to-text/ocr --in image/png --out text --org lab-a \
                     --licence mit --latency 50ms --accuracy 90% --metric cer --memory 2GiB \
                     --cores 4 --gpu no --size 1GB --engine onnx --runnable small digits";
        assert_eq!(query(&flags.split_whitespace().collect::<Vec<_>>()), typed);
        let json = serde_json::to_value(&typed).unwrap();
        let expected = json!({
            "text": "small digits", "kind": "model",
            "category": "vision/image-to-text/ocr",
            "input": "image/png", "output": "text", "org": "lab-a", "licence": "mit",
            "max_latency_ms": 50.0, "min_accuracy": 0.9, "metric": "cer",
            "max_memory_bytes": 2_u64 << 30, "cores": 4, "gpu_memory_bytes": 0,
            "max_len_bytes": 1_000_000_000, "engine": "onnx", "runnable": true, "limit": 0,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn the_flags_of_the_first_version_still_work() {
        let old = ["--input", "image", "--output", "text", "--max-latency", "5"];
        let new = ["--in", "image", "--out", "text", "--latency", "5ms"];
        assert_eq!(query(&old), query(&new));
        let old = query(&["--min-accuracy", "0.9", "--memory", "64 MiB"]);
        assert_eq!((old.min_accuracy, old.max_memory_bytes), (Some(0.9), Some(64 << 20)));
    }

    #[test]
    fn a_flag_takes_the_place_of_what_was_typed() {
        let given = query(&["kind:data latency<5ms accepts:image", "--kind", "model"]);
        assert_eq!((given.kind.unwrap().as_str(), given.max_latency_ms), ("model", Some(5.0)));
        let full = query(&["accepts:image", "--in", "tensor(f32, n, 64)"]);
        assert!(full.input.is_none() && full.fits.input.is_some());
        let family = query(&["fits:image..text", "--in", "text"]);
        assert_eq!(family.fits.to_string(), "..text");
        assert_eq!(family.input.map(String::from).as_deref(), Some("text"));
    }

    #[test]
    fn a_reference_is_not_free_text() {
        let exact = query(&["lab-a/digits@1.0.0"]);
        assert_eq!(exact.text, None);
        assert_eq!(exact.reference.unwrap().to_string(), "lab-a/digits@1.0.0");
        assert_eq!(query(&["vision/digits"]).text.as_deref(), Some("vision/digits"));
        assert_eq!(query(&[]), Query::default());
    }

    #[test]
    fn words_that_make_no_query_are_a_usage_error_that_names_them() {
        let refused = args(&["digits", "licens:mit"]).query().unwrap_err();
        assert_eq!(refused.code, exit::USAGE);
        assert!(refused.message.contains("`license:mit`"), "{}", refused.message);
        let long = "x".repeat(5_000);
        assert_eq!(args(&[&long]).query().unwrap_err().code, exit::USAGE);
    }
}
