//! Parameters that no exporter writes: each is an error when the graph is read, or a result, never a panic.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, ModelProto};

use super::*;

fn attribute(name: &str) -> AttributeProto {
    AttributeProto { name: name.to_owned(), ..AttributeProto::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { r#type: AttributeType::Ints as i32, ints: ints.to_vec(), ..attribute(name) }
}

fn floats(name: &str, floats: &[f32]) -> AttributeProto {
    let r#type = AttributeType::Floats as i32;
    AttributeProto { r#type, floats: floats.to_vec(), ..attribute(name) }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { r#type: AttributeType::Int as i32, i, ..attribute(name) }
}

fn text(name: &str, text: &str) -> AttributeProto {
    let s = text.as_bytes().to_vec();
    AttributeProto { r#type: AttributeType::String as i32, s, ..attribute(name) }
}

fn texts(name: &str, texts: &[&str]) -> AttributeProto {
    let strings = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    AttributeProto { r#type: AttributeType::Strings as i32, strings, ..attribute(name) }
}

fn build<K: Kernel>(attributes: &[AttributeProto]) -> TractResult<K> {
    let (framework, model) = (tract_onnx::onnx(), ModelProto::default());
    let ctx = ParsingContext {
        onnx_operator_set_version: 18,
        framework: &framework,
        model: &model,
        parent_graphs: Vec::new(),
        model_dir: None,
        template: InferenceModel::default(),
    };
    K::build(&ctx, &NodeProto { attribute: attributes.to_vec(), ..NodeProto::default() })
}

fn row(values: &[f32]) -> Tensor {
    Tensor::from_shape(&[1, values.len()], values).unwrap()
}

/// A machine of two classes and two vectors of two features.
fn machine() -> Vec<AttributeProto> {
    vec![
        ints("classlabels_ints", &[0, 1]),
        ints("vectors_per_class", &[1, 1]),
        floats("support_vectors", &[0.0, 1.0, 1.0, 0.0]),
        floats("coefficients", &[1.0, -1.0]),
        floats("rho", &[0.5]),
        text("kernel_type", "RBF"),
        floats("kernel_params", &[0.5, 0.0, 3.0]),
    ]
}

fn with(mut attributes: Vec<AttributeProto>, changed: AttributeProto) -> Vec<AttributeProto> {
    attributes.retain(|attribute| attribute.name != changed.name);
    attributes.push(changed);
    attributes
}

#[test]
fn machines_whose_parts_do_not_fit_are_refused() {
    let good = build::<svm::Classifier>(&machine()).unwrap();
    assert_eq!(good.eval(&[&row(&[0.0, 1.0])]).unwrap()[1].shape(), [1, 2]);
    assert!(good.eval(&[&row(&[0.0])]).is_err(), "too few features");
    assert!(good.eval(&[&row(&[f32::NAN, f32::INFINITY])]).is_ok());
    for changed in [
        ints("vectors_per_class", &[1, i64::MAX]),
        ints("vectors_per_class", &[-1, 1]),
        ints("vectors_per_class", &[2]),
        ints("vectors_per_class", &[1, 2]),
        floats("support_vectors", &[0.0, 1.0, 1.0]),
        floats("support_vectors", &[]),
        floats("coefficients", &[1.0]),
        floats("rho", &[]),
        floats("prob_a", &[1.0]),
        text("kernel_type", "WAVELET"),
        text("post_transform", "ODD"),
        ints("classlabels_ints", &[]),
        floats("classlabels_ints", &[0.0]),
        texts("classlabels_strings", &["a"]),
    ] {
        let name = changed.name.clone();
        assert!(build::<svm::Classifier>(&with(machine(), changed)).is_err(), "{name}");
    }
    assert!(
        build::<svm::Regressor>(&[int("n_supports", i64::MAX), floats("rho", &[0.0])]).is_err()
    );
    assert!(build::<svm::Regressor>(&[int("n_supports", -1)]).is_err());
    assert!(build::<svm::Regressor>(&[]).is_err());
}

#[test]
fn lists_of_the_wrong_length_are_refused() {
    let labels = || ints("classlabels_ints", &[0, 1, 2]);
    for attributes in [
        vec![],
        vec![labels()],
        vec![labels(), floats("coefficients", &[])],
        vec![labels(), floats("coefficients", &[1.0, 2.0])],
        vec![labels(), floats("coefficients", &[1.0; 4]), floats("intercepts", &[1.0; 2])],
    ] {
        assert!(build::<linear::LinearClassifier>(&attributes).is_err(), "{attributes:?}");
    }
    assert!(build::<encode::LabelEncoder>(&[]).is_err());
    let keys = || texts("keys_strings", &["a", "b"]);
    assert!(build::<encode::LabelEncoder>(&[keys(), ints("values_int64s", &[1])]).is_err());
    assert!(build::<encode::OneHotEncoder>(&[]).is_err());
    let both = [ints("cats_int64s", &[1]), texts("cats_strings", &["a"])];
    assert!(build::<encode::OneHotEncoder>(&both).is_err());
    assert!(build::<features::Imputer>(&[]).is_err());
    assert!(build::<features::Normalizer>(&[text("norm", "L7")]).is_err());
    let scaler = build::<features::Scaler>(&[floats("scale", &[1.0, 2.0])]).unwrap();
    assert!(scaler.eval(&[&row(&[1.0, 2.0, 3.0])]).is_err());
    assert!(scaler.eval(&[]).is_err());
}

#[test]
fn places_and_categories_beyond_the_end_are_errors() {
    let picker = build::<features::ArrayFeatureExtractor>(&[]).unwrap();
    let values = row(&[1.0, 2.0]);
    for place in [2, -1, i64::MAX] {
        assert!(picker.eval(&[&values, &tensor1(&[place])]).is_err());
    }
    assert!(picker.eval(&[&tensor0(1.0_f32), &tensor1(&[0_i64])]).is_err());
    assert!(picker.eval(&[&values]).is_err());
    let strict = [texts("cats_strings", &["a"]), int("zeros", 0)];
    let strict = build::<encode::OneHotEncoder>(&strict).unwrap();
    let unknown = tensor1(&["b".to_owned()]);
    assert!(strict.eval(&[&unknown]).unwrap_err().to_string().contains("unknown"));
    // Numbers where texts belong are found before anything runs.
    assert!(strict.outputs(&[Meta::new(DatumType::F32, [1.to_dim()])]).is_err());
}

#[test]
fn every_empty_table_is_an_empty_result() {
    let scaler = build::<features::Scaler>(&[]).unwrap();
    let none = Tensor::zero::<f32>(&[0, 4]).unwrap();
    assert_eq!(scaler.eval(&[&none]).unwrap()[0].shape(), [0, 4]);
    let normalizer = build::<features::Normalizer>(&[]).unwrap();
    let narrow = Tensor::zero::<f32>(&[3, 0]).unwrap();
    assert_eq!(normalizer.eval(&[&narrow]).unwrap()[0].shape(), [3, 0]);
}
