//! Tree ensembles: `TreeEnsembleClassifier`, `TreeEnsembleRegressor` and the newer `TreeEnsemble`.
//!
//! Where the specification is vague about two classes, this follows onnxruntime, whose answers people compare with.

mod draft;
mod forest;
#[cfg(test)]
mod tests;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use self::draft::{Drafts, TARGETS_MAX, numbers};
use self::forest::{Aggregate, Forest, Rows, Sum};
use super::post::{Second, Transform, two};
use super::rows::{Labels, floats, made, only, slice, table, volume};
use super::{Kernel, Meta};

/// Rows of a tensor through the trees.
fn results(forest: &Forest, input: &Tensor) -> TractResult<(usize, Vec<Sum>)> {
    let (rows, columns) = table(input)?;
    let sums = if input.datum_type() == DatumType::F64 {
        forest.results(&Rows::Double(slice::<f64>(input)?), columns)?
    } else {
        forest.results(&Rows::Single(&floats(input)?), columns)?
    };
    Ok((rows, sums))
}

#[expect(clippy::cast_possible_truncation, reason = "results are of single precision")]
fn narrow(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

/// Numbers to begin with, one for each target or one for all.
fn base(ctx: &ParsingContext<'_>, node: &NodeProto, targets: usize) -> TractResult<Vec<f64>> {
    let base = numbers(ctx, node, "base_values")?.map(|(base, _)| base).unwrap_or_default();
    if base.is_empty() || base.len() == targets || base.len() == 1 {
        return Ok(base);
    }
    bail!("{} base values for {targets} targets", base.len())
}

/// `ai.onnx.ml.TreeEnsembleClassifier`.
#[derive(Debug)]
pub(super) struct Classifier {
    forest: Forest,
    labels: Labels,
    base: Vec<f64>,
    transform: Transform,
    /// Two classes, and leaves speak of one of them only.
    has_one_score: bool,
    all_positive: bool,
}

impl Kernel for Classifier {
    const NAME: &'static str = "TreeEnsembleClassifier";

    fn build(ctx: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let labels = Labels::read(node, "classlabels_int64s", "classlabels_strings")?;
        if labels.len() > TARGETS_MAX {
            bail!("more than {TARGETS_MAX} classes");
        }
        let drafts = Drafts::named(ctx, node, "class", labels.len())?;
        let mut spoken: Vec<u32> = drafts.weights.iter().map(|(target, _)| *target).collect();
        spoken.sort_unstable();
        spoken.dedup();
        Ok(Self {
            has_one_score: labels.len() == 2 && spoken.len() == 1,
            all_positive: drafts.weights.iter().all(|(_, weight)| *weight >= 0.0),
            forest: Forest::new(&drafts, labels.len(), Aggregate::Sum)?,
            base: base(ctx, node, labels.len())?,
            transform: Transform::read(node)?,
            labels,
        })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let (rows, _) = only(inputs)?.table()?;
        Ok(vec![
            Meta::new(self.labels.dtype(), [rows.clone()]),
            Meta::new(DatumType::F32, [rows, self.labels.len().to_dim()]),
        ])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (rows, mut sums) = results(&self.forest, only(inputs)?)?;
        let classes = self.labels.len();
        let mut winners = Vec::with_capacity(rows);
        let mut scores = Vec::with_capacity(volume(&[rows, classes])?);
        for row in sums.chunks_mut(classes.max(1)) {
            winners.push(self.finish(row, &mut scores));
        }
        Ok(vec![self.labels.pick(&winners)?, made(&[rows, classes], narrow(scores))?])
    }
}

impl Classifier {
    /// Adds a row's scores and returns its class.
    fn finish(&self, row: &mut [Sum], scores: &mut Vec<f64>) -> usize {
        if let [first, second] = row {
            return self.finish_two(first, second, scores);
        }
        for (sum, base) in row.iter_mut().zip(self.base.iter().cycle()) {
            sum.value += base;
            sum.is_hit = true;
        }
        let mut best = 0;
        for (at, sum) in row.iter().enumerate() {
            let is_better = row.get(best).is_none_or(|top| !top.is_hit || sum.value > top.value);
            if sum.is_hit && is_better {
                best = at;
            }
        }
        let start = scores.len();
        scores.extend(row.iter().map(|sum| sum.value));
        self.transform.apply(scores.get_mut(start..).unwrap_or_default());
        best
    }

    fn finish_two(&self, first: &mut Sum, second: &mut Sum, scores: &mut Vec<f64>) -> usize {
        let speaks_of_second = second.is_hit;
        match self.base.as_slice() {
            [one, other] if speaks_of_second => {
                first.value += one;
                second.value += other;
            }
            [one, other] => {
                // One sum and two base values: both are meant for the second class.
                second.value = other + first.value;
                first.value = one - second.value;
                second.is_hit = true;
            }
            [one] => first.value += one,
            _ => {}
        }
        let positive = if speaks_of_second { second.value } else { first.value };
        let is_second = if self.has_one_score && self.all_positive {
            positive > 0.5
        } else if speaks_of_second && !self.has_one_score {
            second.value > first.value
        } else {
            positive > 0.0
        };
        if second.is_hit {
            let mut both = [first.value, second.value];
            self.transform.apply(&mut both);
            scores.extend(both);
        } else if self.transform == Transform::Probit {
            let mut one = [first.value];
            self.transform.apply(&mut one);
            scores.extend([1.0 - one[0], one[0]]);
        } else {
            let kind = if self.all_positive { Second::Complement } else { Second::Negative };
            scores.extend(two(self.transform, first.value, kind));
        }
        usize::from(is_second)
    }
}

/// `ai.onnx.ml.TreeEnsembleRegressor`.
#[derive(Debug)]
pub(super) struct Regressor {
    forest: Forest,
    targets: usize,
    base: Vec<f64>,
    transform: Transform,
}

/// How many targets a node says it has.
fn targets_of(node: &NodeProto) -> TractResult<usize> {
    let targets = node.get_attr_opt::<i64>("n_targets")?.unwrap_or(1);
    let fitting = usize::try_from(targets).ok().filter(|n| (1..=TARGETS_MAX).contains(n));
    fitting.with_context(|| format!("{targets} targets, not 1 to {TARGETS_MAX}"))
}

/// Rows of targets after base values and transform.
fn targets(
    forest: &Forest,
    input: &Tensor,
    width: usize,
    base: &[f64],
    transform: Transform,
) -> TractResult<(usize, Vec<f64>)> {
    let (rows, sums) = results(forest, input)?;
    let mut values: Vec<f64> = sums.into_iter().map(|sum| sum.value).collect();
    for row in values.chunks_mut(width.max(1)) {
        for (value, base) in row.iter_mut().zip(base.iter().cycle()) {
            *value += base;
        }
        transform.apply(row);
    }
    Ok((rows, values))
}

impl Kernel for Regressor {
    const NAME: &'static str = "TreeEnsembleRegressor";

    fn build(ctx: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let targets = targets_of(node)?;
        let aggregate = match node.get_attr_opt::<&str>("aggregate_function")?.unwrap_or("SUM") {
            "SUM" => Aggregate::Sum,
            "AVERAGE" => Aggregate::Average,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            other => bail!("no aggregate_function is named `{other}`"),
        };
        let drafts = Drafts::named(ctx, node, "target", targets)?;
        Ok(Self {
            forest: Forest::new(&drafts, targets, aggregate)?,
            targets,
            base: base(ctx, node, targets)?,
            transform: Transform::read(node)?,
        })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let (rows, _) = only(inputs)?.table()?;
        Ok(vec![Meta::new(DatumType::F32, [rows, self.targets.to_dim()])])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let (rows, values) =
            targets(&self.forest, input, self.targets, &self.base, self.transform)?;
        Ok(vec![made(&[rows, self.targets], narrow(values))?])
    }
}

/// `ai.onnx.ml.TreeEnsemble`, version 5 of the operator set.
#[derive(Debug)]
pub(super) struct Ensemble {
    forest: Forest,
    targets: usize,
    transform: Transform,
}

impl Kernel for Ensemble {
    const NAME: &'static str = "TreeEnsemble";

    fn build(ctx: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let targets = targets_of(node)?;
        let aggregate = match node.get_attr_opt::<i64>("aggregate_function")?.unwrap_or(1) {
            0 => Aggregate::Average,
            1 => Aggregate::Sum,
            2 => Aggregate::Min,
            3 => Aggregate::Max,
            other => bail!("no aggregate_function has the number {other}"),
        };
        let drafts = Drafts::numbered(ctx, node, targets)?;
        let transform = node.get_attr_opt::<i64>("post_transform")?.unwrap_or(0);
        Ok(Self {
            forest: Forest::new(&drafts, targets, aggregate)?,
            targets,
            transform: Transform::from_number(transform)?,
        })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let input = only(inputs)?;
        let (rows, _) = input.table()?;
        Ok(vec![Meta::new(input.dtype, [rows, self.targets.to_dim()])])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let (rows, values) = targets(&self.forest, input, self.targets, &[], self.transform)?;
        let shape = [rows, self.targets];
        if input.datum_type() == DatumType::F64 {
            return Ok(vec![made(&shape, values)?]);
        }
        Ok(vec![made(&shape, narrow(values))?.cast_to_dt(input.datum_type())?.into_owned()])
    }
}
