//! Arbitrary types of ports, few enough that two of them often fit and all families meet.

use guildhall_protocol::interface::{
    Column, Dim, ElementType, JsonType, LocationKind, MediaTypes, PortType, PredictionKind,
    PredictionType, TableType, TensorType,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// A type whose words come from a short list.
pub(crate) fn port_type() -> impl Strategy<Value = PortType> {
    with_words(
        select(["n", "m", "a"].map(str::to_owned).to_vec()),
        select(["image/png", "image/jpeg", "x/y", "text/plain"].map(str::to_owned).to_vec()),
    )
}

/// A type whose names, labels, schemas and media types come from `words` and `media`.
pub(crate) fn with_words(
    words: impl Strategy<Value = String> + Clone + 'static,
    media: impl Strategy<Value = String> + Clone + 'static,
) -> impl Strategy<Value = PortType> {
    let media = move || vec(media.clone(), 0..3).prop_map(|media_types| MediaTypes { media_types });
    let dim = prop_oneof![
        select(std::vec![1_u64, 3, 4, 8, 64, u64::MAX]).prop_map(Dim::Fixed),
        words.clone().prop_map(Dim::Named),
        Just(Dim::Free),
    ];
    let number = select(std::vec![
        ElementType::Bool,
        ElementType::U8,
        ElementType::I64,
        ElementType::F32,
        ElementType::F64
    ]);
    let cell = prop_oneof![number.clone(), Just(ElementType::Text)];
    let column = (words.clone(), cell).prop_map(|(name, dtype)| Column { name, dtype });
    let location =
        select(std::vec![LocationKind::Box, LocationKind::TextWindow, LocationKind::FrameIndices]);
    let value = select(std::vec![
        PredictionKind::Text,
        PredictionKind::Class,
        PredictionKind::Number,
        PredictionKind::Vector
    ]);
    prop_oneof![
        3 => (number, vec(dim, 0..5))
            .prop_map(|(dtype, dims)| PortType::Tensor(TensorType { dtype, dims })),
        2 => vec(column, 0..3).prop_map(|columns| PortType::Table(TableType { columns })),
        1 => Just(PortType::Text),
        1 => media().prop_map(PortType::Image),
        1 => media().prop_map(PortType::Audio),
        1 => media().prop_map(PortType::Video),
        1 => media().prop_map(PortType::Bytes),
        1 => option::of(words.clone())
            .prop_map(|schema| PortType::Json(JsonType { schema })),
        2 => (value, vec(words, 0..3), option::of(location)).prop_map(
            |(value, labels, location)| PortType::Prediction(PredictionType { value, labels, location })
        ),
    ]
}
