//! Interfaces: which output of one stage feeds which input of the next.
//!
//! Every output feeds one input at most and every input is fed by one output at most. Required inputs come before
//! optional ones, better fits before worse, equal names before others, then the order of the ports: the same interfaces
//! always give the same answer. Where that greedy choice leaves a required input unfed, outputs are passed on along
//! chains until as many required inputs are fed as can be; the sum of the worths need not be the greatest.

use super::{Fit, Misfit, fit};
use crate::interface::Port;

/// How the outputs of one stage feed the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFit {
    /// One for every input, in their order.
    pub feeds: Vec<Feed>,
}

/// How one input is fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The input's name.
    pub input: String,
    /// Whether a run may leave it out.
    pub optional: bool,
    /// The output's name; `None` when nothing is left that fits.
    pub output: Option<String>,
    /// How they go together. Without an output: why the nearest one does not fit.
    pub fit: Fit,
}

impl InterfaceFit {
    /// Whether every required input is fed, by adapters if need be.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.required().all(|feed| feed.output.is_some())
    }

    /// Whether every required input is fed by values as they are.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.required().all(|feed| feed.fit.is_direct())
    }

    /// The worst of the required inputs' fits, 0 if one is not fed. Without required inputs the best of the optional
    /// ones counts, and 1 if there are none.
    #[must_use]
    pub fn worth(&self) -> f64 {
        let worst = self.required().map(|feed| feed.fit.worth()).reduce(f64::min);
        let best = || self.feeds.iter().map(|feed| feed.fit.worth()).reduce(f64::max);
        worst.or_else(best).unwrap_or(1.0)
    }

    fn required(&self) -> impl Iterator<Item = &Feed> {
        self.feeds.iter().filter(|feed| !feed.optional)
    }
}

/// Assigns `outputs` to `inputs`.
#[must_use]
pub fn interface_fit(outputs: &[Port], inputs: &[Port]) -> InterfaceFit {
    let mut pairs: Vec<Pair> = Vec::new();
    for (input, to) in inputs.iter().enumerate() {
        for (output, from) in outputs.iter().enumerate() {
            let fit = fit(&from.port_type, &to.port_type);
            if fit.is_possible() {
                let rank = (to.optional, 1.0 - fit.worth(), from.name != to.name);
                pairs.push(Pair { input, output, fit, rank });
            }
        }
    }
    pairs.sort_by(|a, b| {
        let order = a.rank.0.cmp(&b.rank.0).then(a.rank.1.total_cmp(&b.rank.1));
        order.then((a.rank.2, a.input, a.output).cmp(&(b.rank.2, b.input, b.output)))
    });
    let mut taken = Taken(Vec::new());
    for pair in &pairs {
        if taken.by_output(pair.output).is_none() && taken.by_input(pair.input).is_none() {
            taken.0.push(pair);
        }
    }
    for (input, _) in inputs.iter().enumerate().filter(|(_, port)| !port.optional) {
        if taken.by_input(input).is_none() {
            taken.make_room(input, &pairs, &mut Vec::new());
        }
    }
    let feeds = inputs.iter().enumerate().map(|(place, port)| {
        let pair = taken.by_input(place);
        let output = pair.and_then(|pair| outputs.get(pair.output));
        Feed {
            input: port.name.clone(),
            optional: port.optional,
            output: output.map(|output| output.name.clone()),
            fit: pair.map_or_else(|| unfed(port, outputs), |pair| pair.fit.clone()),
        }
    });
    InterfaceFit { feeds: feeds.collect() }
}

/// An output and an input that it could feed.
struct Pair {
    input: usize,
    output: usize,
    fit: Fit,
    /// Sorts what is preferred to the front.
    rank: (bool, f64, bool),
}

/// The pairs that are chosen.
struct Taken<'p>(Vec<&'p Pair>);

impl<'p> Taken<'p> {
    fn by_input(&self, input: usize) -> Option<&'p Pair> {
        self.0.iter().find(|pair| pair.input == input).copied()
    }

    fn by_output(&self, output: usize) -> Option<&'p Pair> {
        self.0.iter().find(|pair| pair.output == output).copied()
    }

    /// Feeds `input` by an output whose input can be fed by another one, or is optional. Goes at most as deep as there
    /// are outputs, none of which is tried twice.
    fn make_room(&mut self, input: usize, pairs: &'p [Pair], tried: &mut Vec<usize>) -> bool {
        for pair in pairs.iter().filter(|pair| pair.input == input) {
            if tried.contains(&pair.output) {
                continue;
            }
            tried.push(pair.output);
            let before = self.by_output(pair.output);
            let is_free = match before {
                None => true,
                Some(before) => before.rank.0 || self.make_room(before.input, pairs, tried),
            };
            if is_free {
                self.0.retain(|one| one.output != pair.output && one.input != input);
                self.0.push(pair);
                return true;
            }
        }
        false
    }
}

/// Why no output feeds `port`.
fn unfed(port: &Port, outputs: &[Port]) -> Fit {
    let nearest = outputs.iter().map(|output| (output, fit(&output.port_type, &port.port_type)));
    let why = match nearest
        .reduce(|best, next| if next.1.worth() > best.1.worth() { next } else { best })
    {
        None => "there is no output".to_owned(),
        Some((_, Fit::Impossible(why))) => return Fit::Impossible(why),
        Some((output, _)) => format!("`{}` feeds another input", output.name),
    };
    Fit::Impossible(Misfit(why))
}
