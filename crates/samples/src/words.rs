//! The words that generated listings and queries are written with: the same for every seed, so that the queries of
//! one generator find the listings of another.

use std::collections::BTreeSet;

use super::random::{Random, Zipf};

/// Made-up words, of about as many as people use in titles of a large model hub.
const MADE_WORDS: usize = 20_000;

/// Seed of the made-up words. Any will do; changing it changes every benchmark's text.
const WORDS_SEED: u64 = 0x6775_696c_6468_616c;

/// Words that machine learning is written about with, roughly the most frequent first.
const REAL_WORDS: &str = "\
    model data image text classification trained detection language learning speech base small large \
    network training dataset fast embedding vision audio recognition segmentation prediction sentiment \
    english medical quantised multilingual generation time series tabular features object deep neural \
    transformer instruct chat question answering translation summarization retrieval search semantic \
    sentence token document video face pose depth anomaly forecasting regression clustering fraud risk \
    credit customer product review news social media tweet email spam toxicity entity named medical \
    clinical patient hospital radiology x-ray chest lung brain tumour retina skin lesion cancer heart ecg \
    genome protein variant cell microscopy pathology drug molecule chemistry material battery energy load \
    grid solar wind turbine power weather rain temperature climate flood river water satellite radar aerial \
    land building road traffic vehicle pedestrian sign plate bus train station ship port drone robot arm \
    grasp policy reinforcement control simulation sensor machine vibration bearing fault maintenance defect \
    inspection weld metal surface quality factory crop leaf plant disease weed soil harvest cattle bird \
    whale sound song music genre noise voice speaker wake keyword call meeting transcript transcription \
    synthesis handwriting digit ocr receipt invoice form table layout scan page caption visual reasoning \
    math code completion python rust javascript sql legal law contract finance bank stock price sales \
    demand retail shop recommendation ranking click user profile privacy federated anonymous secure attack \
    intrusion phishing malware log graph node link knowledge ontology wiki book story poem dialogue \
    assistant agent tool planning game chess german french dutch norwegian spanish italian polish czech \
    finnish swedish danish portuguese greek turkish arabic hindi chinese japanese korean zero few shot \
    fine tuned distilled pruned sparse dense mobile edge tiny nano mini medium huge onnx wasm int8 float \
    adapter lora encoder decoder attention convolution recurrent residual diffusion autoencoder contrastive \
    supervised unsupervised benchmark evaluation metric baseline tutorial example demo experiment robust \
    accurate efficient simple open public annotated labelled synthetic balanced cleaned";

/// All words, the most frequent first.
#[derive(Debug)]
pub(super) struct Words {
    list: Vec<String>,
    real: usize,
    zipf: Zipf,
}

impl Words {
    pub(super) fn new() -> Self {
        let mut seen = BTreeSet::new();
        let mut list: Vec<String> = REAL_WORDS
            .split_whitespace()
            .filter(|word| seen.insert(*word))
            .map(str::to_owned)
            .collect();
        let real = list.len();
        let mut taken: BTreeSet<String> = list.iter().cloned().collect();
        let mut random = Random::new(WORDS_SEED);
        while list.len() < real + MADE_WORDS {
            let word = made_word(&mut random);
            if taken.insert(word.clone()) {
                list.push(word);
            }
        }
        let zipf = Zipf::new(list.len(), 1.0);
        Self { list, real, zipf }
    }

    /// A word, as often as Zipf's law says.
    pub(super) fn draw(&self, random: &mut Random) -> &str {
        &self.list[self.zipf.draw(random)]
    }

    /// The made-up word of this number, counted round and round.
    pub(super) fn made(&self, number: usize) -> &str {
        &self.list[self.real + number % MADE_WORDS]
    }

    /// How many made-up words there are.
    pub(super) const fn made_len() -> usize {
        MADE_WORDS
    }
}

/// Two to four syllables.
fn made_word(random: &mut Random) -> String {
    const STARTS: [&str; 20] = [
        "b", "br", "d", "f", "g", "gl", "h", "j", "k", "kr", "l", "m", "n", "p", "r", "s", "st",
        "t", "v", "z",
    ];
    const MIDDLES: [&str; 8] = ["a", "e", "i", "o", "u", "ai", "ea", "ou"];
    const ENDS: [&str; 8] = ["", "", "", "l", "n", "r", "s", "x"];
    let mut word = String::new();
    for _ in 0..random.between(2, 4) {
        word.push_str(random.one(&STARTS));
        word.push_str(random.one(&MIDDLES));
        word.push_str(random.one(&ENDS));
    }
    word
}
