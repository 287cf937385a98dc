//! What classifiers and regressors do to their scores at the end.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// `post_transform` of `ai.onnx.ml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl Transform {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(match node.get_attr_opt::<&str>("post_transform")?.unwrap_or("NONE") {
            "NONE" => Self::None,
            "SOFTMAX" => Self::Softmax,
            "LOGISTIC" => Self::Logistic,
            "SOFTMAX_ZERO" => Self::SoftmaxZero,
            "PROBIT" => Self::Probit,
            other => bail!("no post_transform is named `{other}`"),
        })
    }

    /// By the numbers of the operator `TreeEnsemble`.
    pub(super) fn from_number(number: i64) -> TractResult<Self> {
        Ok(match number {
            0 => Self::None,
            1 => Self::Softmax,
            2 => Self::Logistic,
            3 => Self::SoftmaxZero,
            4 => Self::Probit,
            other => bail!("no post_transform has the number {other}"),
        })
    }

    /// Applied to one row.
    pub(super) fn apply(self, row: &mut [f64]) {
        match self {
            Self::None => {}
            Self::Softmax => softmax(row, false),
            Self::SoftmaxZero => softmax(row, true),
            Self::Logistic => row.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Probit => row.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }
}

/// What is missing of a second class's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Second {
    /// The one score is a probability already.
    Complement,
    /// The one score is a distance: the other class has its negative.
    Negative,
}

/// The scores of two classes from the score of the second.
pub(super) fn two(transform: Transform, score: f64, second: Second) -> [f64; 2] {
    match (second, transform) {
        (Second::Complement, _) => [1.0 - score, score],
        (Second::Negative, Transform::Logistic) => [logistic(-score), logistic(score)],
        (Second::Negative, _) => [-score, score],
    }
}

pub(super) fn logistic(score: f64) -> f64 {
    let v = 1.0 / (1.0 + (-score.abs()).exp());
    if score < 0.0 { 1.0 - v } else { v }
}

/// `keeps_zeros`: a score of zero stays one.
fn softmax(row: &mut [f64], keeps_zeros: bool) {
    let is_kept = |score: f64| keeps_zeros && score.abs() <= 1e-7;
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = if is_kept(*score) { 0.0 } else { (*score - top).exp() };
        sum += *score;
    }
    if sum > 0.0 {
        row.iter_mut().for_each(|score| *score /= sum);
    }
}

/// The inverse of the normal distribution's function, by Winitzki's formula for the inverse of the error function.
fn probit(score: f64) -> f64 {
    let x = 2.0f64.mul_add(score, -1.0);
    let ln = x.mul_add(-x, 1.0).ln();
    let first = 2.0 / (std::f64::consts::PI * 0.147) + 0.5 * ln;
    let root = (first.mul_add(first, -ln / 0.147)).sqrt() - first;
    std::f64::consts::SQRT_2 * root.sqrt().copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_do_what_their_names_say() {
        let after = |transform: Transform, row: &[f64]| {
            let mut row = row.to_vec();
            transform.apply(&mut row);
            row.iter().map(|v| (v * 1e4).round() / 1e4).collect::<Vec<_>>()
        };
        assert_eq!(after(Transform::Logistic, &[0.0, 2.0, -800.0]), [0.5, 0.8808, 0.0]);
        assert_eq!(after(Transform::Softmax, &[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(after(Transform::SoftmaxZero, &[0.0, 1.0, 1.0]), [0.0, 0.5, 0.5]);
        assert_eq!(after(Transform::Probit, &[0.5]), [0.0]);
        assert!((after(Transform::Probit, &[0.975])[0] - 1.96).abs() < 0.01);
    }
}
