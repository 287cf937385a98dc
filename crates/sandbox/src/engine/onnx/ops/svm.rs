//! Support vector machines: `SVMClassifier` and `SVMRegressor`.
//!
//! Classes are decided pair by pair, each pair has a vote, and probabilities of pairs are joined as libsvm does it:
//! Wu, Lin and Weng, "Probability Estimates for Multi-class Classification by Pairwise Coupling", 2004, method 2.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::post::{Second, Transform, logistic, two};
use super::rows::{Labels, floats, made, only, table, volume};
use super::{Kernel, Meta};

/// Probabilities of pairs are kept away from certainty by this much, as in libsvm.
const PAIR_MARGIN: f64 = 1e-7;

/// How two rows of features are compared.
#[derive(Clone, Copy, Debug)]
enum Likeness {
    Linear,
    Polynomial { gamma: f64, offset: f64, degree: f64 },
    Radial { gamma: f64 },
    Sigmoid { gamma: f64, offset: f64 },
}

impl Likeness {
    fn read(node: &NodeProto) -> TractResult<Self> {
        let given = node.get_attr_opt_vec::<f32>("kernel_params")?.unwrap_or_default();
        let number = |at: usize| f64::from(given.get(at).copied().unwrap_or_default());
        let (gamma, offset, degree) = (number(0), number(1), number(2));
        Ok(match node.get_attr_opt::<&str>("kernel_type")?.unwrap_or("LINEAR") {
            "LINEAR" => Self::Linear,
            "POLY" => Self::Polynomial { gamma, offset, degree },
            "RBF" => Self::Radial { gamma },
            "SIGMOID" => Self::Sigmoid { gamma, offset },
            other => bail!("no kernel_type is named `{other}`"),
        })
    }

    fn of(self, row: &[f32], other: &[f32]) -> f64 {
        let pairs = row.iter().zip(other).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let dot = |pairs: &mut dyn Iterator<Item = (f64, f64)>| pairs.map(|(a, b)| a * b).sum();
        match self {
            Self::Radial { gamma } => {
                let distance: f64 = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
                (-gamma * distance).exp()
            }
            Self::Linear => dot(&mut { pairs }),
            Self::Polynomial { gamma, offset, degree } => {
                let dot: f64 = dot(&mut { pairs });
                gamma.mul_add(dot, offset).powf(degree)
            }
            Self::Sigmoid { gamma, offset } => {
                let dot: f64 = dot(&mut { pairs });
                gamma.mul_add(dot, offset).tanh()
            }
        }
    }
}

/// Rows of features that were kept from training.
#[derive(Debug)]
struct Vectors {
    likeness: Likeness,
    values: Vec<f32>,
    columns: usize,
}

impl Vectors {
    fn read(node: &NodeProto, values: Vec<f32>, count: usize) -> TractResult<Self> {
        if count == 0 || values.is_empty() || !values.len().is_multiple_of(count) {
            bail!("{} numbers are no {count} vectors", values.len());
        }
        let columns = values.len() / count;
        Ok(Self { likeness: Likeness::read(node)?, values, columns })
    }

    /// How much a row is like each of the vectors.
    fn likenesses(&self, row: &[f32]) -> Vec<f64> {
        self.values.chunks(self.columns).map(|vector| self.likeness.of(row, vector)).collect()
    }

    fn check(&self, columns: usize) -> TractResult<()> {
        if columns == self.columns {
            return Ok(());
        }
        bail!("its vectors have {} features, a row has {columns}", self.columns)
    }
}

fn numbers(node: &NodeProto, name: &str) -> TractResult<Vec<f64>> {
    let given = node.get_attr_opt_slice::<f32>(name)?.unwrap_or_default();
    Ok(given.iter().copied().map(f64::from).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "results are of single precision")]
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// `ai.onnx.ml.SVMClassifier`.
#[derive(Debug)]
pub(super) struct Classifier {
    vectors: Vectors,
    labels: Labels,
    /// Which vectors are whose: the place of each class's first, and behind them the end.
    starts: Vec<usize>,
    /// One row of coefficients less than classes, a column for each vector; without vectors, a row for each class.
    coefficients: Vec<f64>,
    rho: Vec<f64>,
    /// Slope and offset for each pair.
    sigmoids: Vec<(f64, f64)>,
    transform: Transform,
}

impl Kernel for Classifier {
    const NAME: &'static str = "SVMClassifier";

    fn build(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let labels = Labels::read(node, "classlabels_ints", "classlabels_strings")?;
        let classes = labels.len();
        let shares = node.get_attr_opt_vec::<usize>("vectors_per_class")?.unwrap_or_default();
        let coefficients = numbers(node, "coefficients")?;
        let rho = numbers(node, "rho")?;
        let mut starts = vec![0_usize];
        for share in &shares {
            let last = starts.last().copied().unwrap_or_default();
            starts.push(last.checked_add(*share).context("too many vectors")?);
        }
        let count = starts.last().copied().unwrap_or_default();
        let pairs = classes.checked_mul(classes.saturating_sub(1)).context("too many classes")? / 2;
        let vectors = if count > 0 {
            let all = node.get_attr_opt_vec::<f32>("support_vectors")?.unwrap_or_default();
            let wanted = count.checked_mul(classes.saturating_sub(1));
            if shares.len() != classes || Some(coefficients.len()) != wanted || rho.len() != pairs {
                bail!(
                    "its vectors, coefficients and offsets are not as many as its classes ask for"
                );
            }
            Vectors::read(node, all, count)?
        } else {
            let all = node.get_attr_opt_vec::<f32>("coefficients")?.unwrap_or_default();
            if rho.is_empty() {
                bail!("it has no rho");
            }
            Vectors { likeness: Likeness::Linear, ..Vectors::read(node, all, classes)? }
        };
        let (slopes, offsets) = (numbers(node, "prob_a")?, numbers(node, "prob_b")?);
        if slopes.len() != offsets.len() || !slopes.is_empty() && slopes.len() != pairs {
            bail!("{} and {} sigmoids for {pairs} pairs", slopes.len(), offsets.len());
        }
        let sigmoids = slopes.into_iter().zip(offsets).collect();
        let transform = Transform::read(node)?;
        Ok(Self { vectors, labels, starts, coefficients, rho, sigmoids, transform })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let (rows, _) = only(inputs)?.table()?;
        let width = self.width().to_dim();
        let labels = Meta::new(self.labels.dtype(), [rows.clone()]);
        Ok(vec![labels, Meta::new(DatumType::F32, [rows, width])])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let (rows, columns) = table(input)?;
        self.vectors.check(columns)?;
        let mut winners = Vec::with_capacity(rows);
        let mut scores = Vec::with_capacity(volume(&[rows, self.width()])?);
        for row in floats(input)?.chunks(columns) {
            winners.push(self.score(row, &mut scores));
        }
        Ok(vec![self.labels.pick(&winners)?, made(&[rows, self.width()], narrow(&scores))?])
    }
}

impl Classifier {
    const fn has_pairs(&self) -> bool {
        self.starts.len() > 1
    }

    /// Scores of a row: of classes if they are probabilities or there are two, else of pairs.
    fn width(&self) -> usize {
        match self.labels.len() {
            classes if !self.has_pairs() || !self.sigmoids.is_empty() => classes,
            2 => 2,
            _ => self.rho.len(),
        }
    }

    /// Adds a row's scores and returns its class.
    fn score(&self, row: &[f32], scores: &mut Vec<f64>) -> usize {
        let start = scores.len();
        let likenesses = self.vectors.likenesses(row);
        if !self.has_pairs() {
            let offset = self.rho.first().copied().unwrap_or_default();
            scores.extend(likenesses.iter().map(|likeness| likeness + offset));
            let row = scores.get_mut(start..).unwrap_or_default();
            let best = first_best(row);
            self.transform.apply(row);
            return best;
        }
        let (pairs, votes) = self.decide(&likenesses);
        let best = first_best(&votes);
        if !self.sigmoids.is_empty() {
            scores.extend(self.probabilities(&pairs));
        } else if let [one] = pairs.as_slice() {
            let kind = match self.transform {
                Transform::None => Second::Negative,
                _ => Second::Complement,
            };
            scores.extend(two(self.transform, *one, kind));
            return best;
        } else {
            scores.extend(&pairs);
        }
        self.transform.apply(scores.get_mut(start..).unwrap_or_default());
        best
    }

    /// Each pair's distance, and how many pairs each class won.
    fn decide(&self, likenesses: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let classes = self.labels.len();
        let mut pairs = Vec::with_capacity(self.rho.len());
        let mut votes = vec![0.0; classes];
        let part = |class: usize, against: usize| -> f64 {
            let ends = (self.starts.get(class), self.starts.get(class + 1));
            let (Some(from), Some(to)) = ends else { return 0.0 };
            let row = against * likenesses.len();
            let coefficients = self.coefficients.get(row + from..row + to).unwrap_or_default();
            let likenesses = likenesses.get(*from..*to).unwrap_or_default();
            coefficients.iter().zip(likenesses).map(|(c, k)| c * k).sum()
        };
        for one in 0..classes {
            for other in one + 1..classes {
                let offset = self.rho.get(pairs.len()).copied().unwrap_or_default();
                let distance = part(one, other - 1) + part(other, one) + offset;
                let winner = if distance > 0.0 { one } else { other };
                if let Some(votes) = votes.get_mut(winner) {
                    *votes += 1.0;
                }
                pairs.push(distance);
            }
        }
        (pairs, votes)
    }

    fn probabilities(&self, pairs: &[f64]) -> Vec<f64> {
        let classes = self.labels.len();
        let mut first_wins = vec![0.0; classes * classes];
        let mut all = pairs.iter().zip(&self.sigmoids);
        for one in 0..classes {
            for other in one + 1..classes {
                let Some((distance, (slope, offset))) = all.next() else { continue };
                let chance = 1.0 - logistic(slope.mul_add(*distance, *offset));
                let chance = chance.clamp(PAIR_MARGIN, 1.0 - PAIR_MARGIN);
                for (at, chance) in
                    [(one * classes + other, chance), (other * classes + one, 1.0 - chance)]
                {
                    if let Some(cell) = first_wins.get_mut(at) {
                        *cell = chance;
                    }
                }
            }
        }
        coupled(&first_wins, classes)
    }
}

fn first_best(scores: &[f64]) -> usize {
    let mut best = 0;
    for (at, score) in scores.iter().enumerate() {
        if scores.get(best).is_none_or(|top| score > top) {
            best = at;
        }
    }
    best
}

/// Probabilities of classes from those of pairs: `wins` has at row i, column j how likely i is, given that it is i or j.
fn coupled(wins: &[f64], classes: usize) -> Vec<f64> {
    let at = |i: usize, j: usize| wins.get(i * classes + j).copied().unwrap_or_default();
    let mut q = Vec::with_capacity(classes * classes);
    for i in 0..classes {
        for j in 0..classes {
            q.push(if i == j {
                (0..classes).filter(|k| *k != i).map(|k| at(k, i) * at(k, i)).sum()
            } else {
                -at(j, i) * at(i, j)
            });
        }
    }
    let count = f64::from(u32::try_from(classes).unwrap_or(u32::MAX));
    let mut p = vec![1.0 / count; classes];
    for _ in 0..classes.max(100) {
        let mut qp: Vec<f64> =
            q.chunks(classes).map(|row| row.iter().zip(&p).map(|(q, p)| q * p).sum()).collect();
        let mut pqp: f64 = p.iter().zip(&qp).map(|(p, qp)| p * qp).sum();
        if qp.iter().all(|one| (one - pqp).abs() < 0.005 / count) {
            break;
        }
        for (t, row) in q.chunks(classes).enumerate() {
            let (Some(own), Some(qpt)) = (row.get(t), qp.get(t)) else { continue };
            let step = (pqp - qpt) / own;
            pqp = step.mul_add(step.mul_add(*own, 2.0 * qpt), pqp) / ((1.0 + step) * (1.0 + step));
            if let Some(p) = p.get_mut(t) {
                *p += step;
            }
            for ((qp, q), p) in qp.iter_mut().zip(row).zip(&mut p) {
                *qp = step.mul_add(*q, *qp) / (1.0 + step);
                *p /= 1.0 + step;
            }
        }
    }
    p
}

/// `ai.onnx.ml.SVMRegressor`.
#[derive(Debug)]
pub(super) struct Regressor {
    vectors: Vectors,
    coefficients: Vec<f64>,
    rho: f64,
    /// Without support vectors, the coefficients are the one vector.
    is_linear: bool,
    is_one_class: bool,
    transform: Transform,
}

impl Kernel for Regressor {
    const NAME: &'static str = "SVMRegressor";

    fn build(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let count = node.get_attr_opt::<usize>("n_supports")?.unwrap_or(0);
        let coefficients = numbers(node, "coefficients")?;
        let is_linear = count == 0;
        let vectors = if is_linear {
            let all = node.get_attr_opt_vec::<f32>("coefficients")?.unwrap_or_default();
            Vectors { likeness: Likeness::Linear, ..Vectors::read(node, all, 1)? }
        } else {
            if coefficients.len() != count {
                bail!("{} coefficients for {count} vectors", coefficients.len());
            }
            let all = node.get_attr_opt_vec::<f32>("support_vectors")?.unwrap_or_default();
            Vectors::read(node, all, count)?
        };
        Ok(Self {
            vectors,
            coefficients,
            rho: numbers(node, "rho")?.first().copied().context("it has no rho")?,
            is_linear,
            is_one_class: node.get_attr_opt::<i64>("one_class")?.unwrap_or(0) != 0,
            transform: Transform::read(node)?,
        })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let (rows, _) = only(inputs)?.table()?;
        Ok(vec![Meta::new(DatumType::F32, [rows, 1.to_dim()])])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let (rows, columns) = table(input)?;
        self.vectors.check(columns)?;
        let mut values: Vec<f64> = floats(input)?
            .chunks(columns)
            .map(|row| {
                let likenesses = self.vectors.likenesses(row);
                let sum: f64 = if self.is_linear {
                    likenesses.iter().sum()
                } else {
                    likenesses.iter().zip(&self.coefficients).map(|(k, c)| k * c).sum()
                };
                sum + self.rho
            })
            .collect();
        if self.is_one_class {
            values.iter_mut().for_each(|value| *value = if *value > 0.0 { 1.0 } else { -1.0 });
        }
        values.chunks_mut(1).for_each(|row| self.transform.apply(row));
        Ok(vec![made(&[rows, 1], narrow(&values))?])
    }
}
