//! Operators that tract lacks, or that it has too slow: most of `ai.onnx.ml`.
//!
//! Source: <https://github.com/onnx/onnx/blob/main/docs/Operators-ml.md>; where it is silent, what onnxruntime does. A
//! [`Kernel`] is built from a node of the graph, so its parameters are foreign: each checks them once, on load. Kernels
//! keep nothing between runs.
//!
//! Maps and sequences are no values here; ZipMap goes away before the graph is read (see [`super::source`]).

mod encode;
mod features;
#[cfg(test)]
mod hostile;
mod linear;
mod post;
mod rows;
mod svm;
mod trees;

use std::fmt;
use std::sync::Arc;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Adds what this module has to what tract has, in place of what it has twice.
pub(super) fn register(known: &mut OnnxOpRegister) {
    add::<encode::LabelEncoder>(known);
    add::<encode::OneHotEncoder>(known);
    add::<features::ArrayFeatureExtractor>(known);
    add::<features::Binarizer>(known);
    add::<features::FeatureVectorizer>(known);
    add::<features::Imputer>(known);
    add::<features::Normalizer>(known);
    add::<features::Scaler>(known);
    add::<linear::LinearClassifier>(known);
    add::<svm::Classifier>(known);
    add::<svm::Regressor>(known);
    add::<trees::Classifier>(known);
    add::<trees::Ensemble>(known);
    add::<trees::Regressor>(known);
}

/// What is known of a tensor before there is one.
#[derive(Clone, Debug)]
struct Meta {
    dtype: DatumType,
    shape: TVec<TDim>,
}

impl Meta {
    fn new(dtype: DatumType, shape: impl IntoIterator<Item = TDim>) -> Self {
        Self { dtype, shape: shape.into_iter().collect() }
    }

    /// Rows and columns of what is fed to an operator for tables; a single dimension is one row.
    fn table(&self) -> TractResult<(TDim, TDim)> {
        match &*self.shape {
            [columns] => Ok((1.to_dim(), columns.clone())),
            [rows, columns] => Ok((rows.clone(), columns.clone())),
            other => bail!("it takes rows and columns, not {} dimensions", other.len()),
        }
    }
}

/// What an operator does.
trait Kernel: fmt::Debug + Send + Sync + Sized + 'static {
    /// Its name in ONNX.
    const NAME: &'static str;

    /// Reads the node's parameters and checks them.
    fn build(ctx: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self>;

    /// What comes out, by what goes in.
    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>>;

    /// What comes out; as many tensors, and of these types, as [`Kernel::outputs`] says.
    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>>;
}

fn add<K: Kernel>(known: &mut OnnxOpRegister) {
    known.insert(K::NAME, |ctx, node| {
        let kernel = K::build(ctx, node)?;
        let kept = (0..node.output.len())
            .filter(|at| node.output.get(*at).is_some_and(|name| !name.is_empty()))
            .collect();
        Ok((expand(Own { kernel: Arc::new(kernel), kept }), Vec::new()))
    });
}

/// A kernel as tract wants operators.
#[derive(Debug)]
struct Own<K> {
    kernel: Arc<K>,
    /// Outputs that the graph has a name for.
    kept: Vec<usize>,
}

impl<K> Clone for Own<K> {
    fn clone(&self) -> Self {
        Self { kernel: Arc::clone(&self.kernel), kept: self.kept.clone() }
    }
}

/// Two are the same when they are one: comparing parameters gains nothing.
impl<K> PartialEq for Own<K> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel) && self.kept == other.kept
    }
}

impl<K> Eq for Own<K> {}

impl<K: Kernel> Own<K> {
    fn metas(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let all = self.kernel.outputs(inputs)?;
        self.keep(&all)
    }

    fn keep<T: Clone>(&self, all: &[T]) -> TractResult<Vec<T>> {
        self.kept
            .iter()
            .map(|at| all.get(*at).cloned().context("the graph names more outputs than there are"))
            .collect()
    }
}

impl<K: Kernel> Expansion for Own<K> {
    fn name(&self) -> StaticName {
        K::NAME.into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.kept.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, self.kept.len())?;
        s.given_all(inputs.iter().map(|input| &input.datum_type), move |s, dtypes| {
            s.given_all(inputs.iter().map(|input| &input.shape), move |s, shapes| {
                let metas: Vec<Meta> = dtypes
                    .iter()
                    .zip(shapes)
                    .map(|(dtype, shape)| Meta { dtype: *dtype, shape })
                    .collect();
                for (output, meta) in outputs.iter().zip(self.metas(&metas)?) {
                    s.equals(&output.datum_type, meta.dtype)?;
                    s.equals(&output.shape, meta.shape)?;
                }
                Ok(())
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl<K: Kernel> Op for Own<K> {
    fn name(&self) -> StaticName {
        K::NAME.into()
    }

    op_as_typed_op!();
}

impl<K: Kernel> EvalOp for Own<K> {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs: TVec<&Tensor> = inputs.iter().map(|input| &**input).collect();
        let all = self.kernel.eval(&inputs)?;
        if all.len() == self.kept.len() {
            return Ok(all.into_iter().map(IntoTValue::into_tvalue).collect());
        }
        Ok(self.keep(&all)?.into_iter().map(IntoTValue::into_tvalue).collect())
    }
}

impl<K: Kernel> TypedOp for Own<K> {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let inputs: Vec<Meta> = inputs
            .iter()
            .map(|fact| Meta::new(fact.datum_type, fact.shape.iter().cloned()))
            .collect();
        Ok(self.metas(&inputs)?.into_iter().map(|meta| meta.dtype.fact(meta.shape)).collect())
    }

    as_op!();
}
