//! The vocabulary of categories: the list itself, what words are taken for, and the page that shows it.

use std::collections::BTreeSet;

use guildhall_protocol::name::{Category, CategoryPrefix};
use guildhall_protocol::vocabulary::{self, DOMAINS, Entry, NEAREST_MAX, entries, meant, nearest};
use proptest::prelude::*;

/// Longest description: a line of a terminal beside a name.
const DESCRIPTION_MAX_CHARS: usize = 90;

#[test]
fn every_entry_is_a_category_of_a_domain_with_a_sentence() {
    for entry in entries() {
        assert_eq!(entry.category().unwrap().as_str(), entry.name);
        assert!(DOMAINS.iter().any(|domain| domain.name == entry.domain()), "{}", entry.name);
        assert!(entry.description.ends_with('.'), "{}", entry.name);
        assert!(entry.description.starts_with(char::is_uppercase), "{}", entry.name);
        assert!(entry.description.chars().count() <= DESCRIPTION_MAX_CHARS, "{}", entry.name);
        if let Some((task, _)) = entry.name.rsplit_once('/').filter(|(task, _)| task.contains('/'))
        {
            assert!(entries().any(|other| other.name == task), "{} has no task above", entry.name);
        }
    }
    assert!(DOMAINS.iter().all(|domain| entries().any(|entry| entry.domain() == domain.name)));
}

#[test]
fn no_name_stands_for_two_entries() {
    let names: Vec<_> = entries().map(|entry| entry.name).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
    let mut words = BTreeSet::new();
    for entry in entries() {
        for word in entry.hub_tasks().chain(entry.synonyms()) {
            assert!(words.insert(word), "{word} stands there twice");
            assert!(word.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-')), "{word}");
            assert_eq!(meant(word), Some(entry), "{word}");
        }
    }
    let mut domains = BTreeSet::new();
    for domain in &DOMAINS {
        for word in domain.synonyms().chain([domain.name]) {
            assert!(domains.insert(word), "{word} stands there twice");
        }
    }
}

#[test]
fn the_tasks_of_the_hub_have_their_categories() {
    for (task, name) in [
        ("image-classification", "vision/image-classification"),
        ("text-classification", "text/classification"),
        ("text2text-generation", "text/generation"),
        ("automatic-speech-recognition", "audio/automatic-speech-recognition"),
        ("graph-ml", "graph/graph-ml"),
        ("robotics", "control/robotics"),
        ("named-entity-recognition", "text/token-classification/named-entities"),
    ] {
        assert_eq!(vocabulary::of_hub_task(task).map(|entry| entry.name), Some(name));
    }
    assert_eq!(vocabulary::of_hub_task("ocr"), None, "a synonym is no task of the hub");
}

#[test]
fn what_is_listed_or_ones_own_is_known() {
    for (text, is_known) in [
        ("vision/image-classification", true),
        ("vision/image-classification/digits", true),
        ("vision/image-classification/x-digits", true),
        ("vision/x-conditioning", true),
        ("vision/x-conditioning/of-mri/heads", true),
        ("x-lab/anything", true),
        ("x-lab/x-anything", true),
        ("vision/image-classification/numbers", false),
        ("vision/images", false),
        ("vision/images/x-mine", false),
        ("biology/x-cells", false),
        ("nlp/translation", false),
        ("text/image-classification", false),
        ("digits/vision", false),
    ] {
        let category: Category = text.parse().unwrap();
        assert_eq!(vocabulary::is_known(&category), is_known, "{text}");
        assert_eq!(vocabulary::is_known_prefix(&category.into()), is_known, "{text}");
    }
    for (text, is_known) in [
        ("*", true),
        ("vision", true),
        ("x-lab", true),
        ("vis", false),
        ("nlp", false),
        ("text/token-classification", true),
    ] {
        let prefix: CategoryPrefix = text.parse().unwrap();
        assert_eq!(vocabulary::is_known_prefix(&prefix), is_known, "{text}");
    }
    let category: Category = "text/translation".parse().unwrap();
    assert_eq!(vocabulary::entry_of(&category).map(Entry::task), Some("translation"));
}

#[test]
fn people_say_it_in_their_own_words() {
    for (words, name) in [
        ("image-classification", "vision/image-classification"),
        ("Image Classification", "vision/image-classification"),
        ("image_classification", "vision/image-classification"),
        ("image/classification", "vision/image-classification"),
        ("cv/image-classification", "vision/image-classification"),
        ("sentiment", "text/classification/sentiment"),
        ("sentiment analysis", "text/classification/sentiment"),
        ("ner", "text/token-classification/named-entities"),
        ("nlp/ner", "text/token-classification/named-entities"),
        ("text/named-entities", "text/token-classification/named-entities"),
        ("ocr", "vision/image-to-text/ocr"),
        ("vision/ocr", "vision/image-to-text/ocr"),
        ("asr", "audio/automatic-speech-recognition"),
        ("speech to text", "audio/automatic-speech-recognition"),
        ("speech/recognition", "audio/automatic-speech-recognition"),
        ("tts", "audio/text-to-speech"),
        ("translation", "text/translation"),
        ("nlp/translation", "text/translation"),
        ("nlp/classification", "text/classification"),
        (" text/translation ", "text/translation"),
        ("embeddings", "text/feature-extraction"),
        ("pose", "vision/keypoint-detection/pose"),
        ("forecast", "tabular/time-series-forecasting"),
        ("gnn", "graph/graph-ml"),
        ("chat", "text/generation/chat"),
    ] {
        assert_eq!(meant(words).map(|entry| entry.name), Some(name), "{words}");
        assert_eq!(nearest(words).first(), Some(&name), "{words}");
    }
    for words in ["", "/", "classification", "music", "vision", "zoology", "vision/translation"] {
        assert_eq!(meant(words), None, "{words}");
    }
    assert_eq!(meant("physics/translation"), None, "it says where it belongs, and not there");
}

#[test]
fn slips_are_seen_through() {
    for (text, name) in [
        ("vision/image-clasification", "vision/image-classification"),
        ("image-classifcation", "vision/image-classification"),
        ("vision/classification", "vision/image-classification"),
        ("text/sumarisation", "text/summarization"),
        ("tranlsation", "text/translation"),
        ("txt/translation", "text/translation"),
        ("sentimnet", "text/classification/sentiment"),
        ("nlp/token-clasification", "text/token-classification"),
        ("object-dectection", "vision/object-detection"),
        ("vision/segmentaiton", "vision/image-segmentation"),
        ("audio/clasification", "audio/classification"),
        ("tabular/regresion", "tabular/regression"),
        ("speech-recogniton", "audio/automatic-speech-recognition"),
        ("reinforcment-learning", "control/reinforcement-learning"),
        ("robotic", "control/robotics"),
        ("forcasting", "tabular/time-series-forecasting"),
        ("super-resolutoin", "vision/image-to-image/super-resolution"),
        ("molecule-chemistry", "graph/graph-ml/molecules"),
        ("bird-recognition", "audio/classification/wildlife"),
    ] {
        assert!(nearest(text).contains(&name), "{text}: {:?}", nearest(text));
    }
    for (text, domain) in [("nlp", "text"), ("computer vision", "vision"), ("visoin", "vision")] {
        assert_eq!(nearest(text).first(), Some(&domain), "{text}");
    }
    assert_eq!(nearest("robotics")[..2], ["control/robotics", "control"]);
    assert_eq!(
        nearest("classification"),
        ["text/classification", "audio/classification", "tabular/classification"]
    );
    for text in ["", "/", "zoology", "qqqq", "to", "x-lab/zoology", &"a".repeat(10_000)] {
        assert_eq!(nearest(text), [""; 0], "{text}");
    }
}

proptest! {
    // Every case is compared with the whole list.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_name_with_one_wrong_letter_is_still_found(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), letter in "[a-z]",
    ) {
        let all: Vec<_> = entries().collect();
        let entry = which.get(&all);
        let start = entry.domain().len() + 1;
        let at = start + at.index(entry.name.len() - start);
        let mut changed = entry.name.to_owned();
        changed.replace_range(at..=at, &letter);
        // A wrong letter makes another word of a shorter name.
        prop_assume!(entry.task().len() >= 4);
        prop_assert!(nearest(&changed).contains(&entry.name), "{changed}: {:?}", nearest(&changed));
    }

    #[test]
    fn any_text_has_at_most_so_many_neighbours(text in ".{0,400}") {
        let found = nearest(&text);
        prop_assert!(found.len() <= NEAREST_MAX);
        prop_assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
        if let Some(entry) = meant(&text) {
            prop_assert_eq!(found.first(), Some(&entry.name));
        }
    }
}

/// What `docs/categories.md` shows below its introduction.
fn page() -> String {
    let mut lines = Vec::new();
    for domain in &DOMAINS {
        let others: Vec<_> = domain.synonyms().map(|word| format!("`{word}`")).collect();
        let others = others.join(", ");
        lines.push(format!(
            "\n## {}\n\n{} Also called {others}.\n",
            domain.name, domain.description
        ));
        lines.push(
            "| category | what is done | on the Hub | other words |\n|---|---|---|---|".into(),
        );
        for entry in entries().filter(|entry| entry.domain() == domain.name) {
            let hub: Vec<_> = entry.hub_tasks().collect();
            let words: Vec<_> = entry.synonyms().collect();
            let (hub, words) = (hub.join(", "), words.join(", "));
            lines.push(format!("| `{}` | {} | {hub} | {words} |", entry.name, entry.description));
        }
    }
    lines.join("\n") + "\n"
}

/// `GUILDHALL_BLESS=1` writes the list anew.
#[test]
fn the_page_shows_the_list_as_it_is() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/categories.md");
    let written = std::fs::read_to_string(PAGE).unwrap();
    let start = written.find("\n## ").expect("the introduction ends at the first domain");
    if std::env::var_os("GUILDHALL_BLESS").is_some() {
        std::fs::write(PAGE, format!("{}{}", &written[..start], page())).unwrap();
        return;
    }
    assert!(written[start..] == page(), "docs/categories.md is not the list: bless it");
}
