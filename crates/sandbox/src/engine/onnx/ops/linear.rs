//! `LinearClassifier`, which tract has for numbers as labels only.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::post::{Second, Transform, two};
use super::rows::{Labels, floats, made, only, table, volume};
use super::{Kernel, Meta};

/// `ai.onnx.ml.LinearClassifier`.
#[derive(Debug)]
pub(super) struct LinearClassifier {
    labels: Labels,
    /// A row of weights for each score.
    coefficients: Vec<f32>,
    intercepts: Vec<f64>,
    columns: usize,
    transform: Transform,
}

impl Kernel for LinearClassifier {
    const NAME: &'static str = "LinearClassifier";

    fn build(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let labels = Labels::read(node, "classlabels_ints", "classlabels_strings")?;
        let coefficients = node.get_attr_vec::<f32>("coefficients")?;
        let given = node.get_attr_opt_vec::<f32>("intercepts")?.unwrap_or_default();
        let scores = if given.is_empty() { labels.len() } else { given.len() };
        if !(scores == labels.len() || scores == 1 && labels.len() == 2) {
            bail!("{scores} scores for {} classes", labels.len());
        }
        if coefficients.is_empty() || !coefficients.len().is_multiple_of(scores) {
            bail!("{} coefficients for {scores} scores", coefficients.len());
        }
        let mut intercepts: Vec<f64> = given.into_iter().map(f64::from).collect();
        intercepts.resize(scores, 0.0);
        let columns = coefficients.len() / scores;
        let transform = Transform::read(node)?;
        Ok(Self { labels, coefficients, intercepts, columns, transform })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let (rows, _) = only(inputs)?.table()?;
        let labels = Meta::new(self.labels.dtype(), [rows.clone()]);
        Ok(vec![labels, Meta::new(DatumType::F32, [rows, self.labels.len().to_dim()])])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let (rows, columns) = table(input)?;
        if columns != self.columns {
            bail!("it has weights for {} features, a row has {columns}", self.columns);
        }
        let classes = self.labels.len();
        let mut winners = Vec::with_capacity(rows);
        let mut scores: Vec<f32> = Vec::with_capacity(volume(&[rows, classes])?);
        for row in floats(input)?.chunks(columns) {
            let (winner, row) = self.score(row);
            winners.push(winner);
            #[expect(clippy::cast_possible_truncation, reason = "scores are of single precision")]
            scores.extend(row.into_iter().map(|score| score as f32));
        }
        Ok(vec![self.labels.pick(&winners)?, made(&[rows, classes], scores)?])
    }
}

impl LinearClassifier {
    /// A row's class and its scores.
    fn score(&self, row: &[f32]) -> (usize, Vec<f64>) {
        let rows = self.coefficients.chunks(self.columns).zip(&self.intercepts);
        let mut scores: Vec<f64> = rows
            .map(|(weights, intercept)| {
                let products = weights.iter().zip(row).map(|(w, x)| f64::from(*w) * f64::from(*x));
                products.sum::<f64>() + intercept
            })
            .collect();
        if let [one] = scores.as_slice()
            && self.labels.len() == 2
        {
            let both = two(self.transform, *one, Second::Negative);
            return (usize::from(*one > 0.0), both.to_vec());
        }
        let mut best = 0;
        for (at, score) in scores.iter().enumerate() {
            if scores.get(best).is_none_or(|top| score > top) {
                best = at;
            }
        }
        self.transform.apply(&mut scores);
        (best, scores)
    }
}
