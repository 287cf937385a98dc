//! Graphs that misbehave in the library: broken, greedy, endless, of another type, coupled across records.

use guildhall_protocol::interface::{Dim, ElementType, PortType, TensorType};
use guildhall_protocol::wire::PortValue;
use guildhall_sandbox::{CallLimits, Failure};

use super::{start, with_library, with_rounding};
use crate::graphs::{floats, graph, in_memory, node, package, value};
use crate::package::{PATIENT_MS, Package, limits, patient, record};
use crate::sample::{field, number};

/// Changed graphs that are tried: some seconds' worth, and enough that some break in the reader, some in the types, some
/// only while they run.
const MUTANTS: usize = 60;

const LIMITS: CallLimits = CallLimits { scoring_ms: PATIENT_MS, output_bytes: 1 << 20, seed: 0 };

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_broken_model_is_named_as_the_packages_fault() {
    let Some(spawner) = with_library() else { return };
    let parts = [node("Add", &["x", "x"], "y"), value(11, "x", &[2]), value(12, "y", &[2])];
    let whole = graph(&parts);
    let unknown = [node("Frobnicate", &["x"], "y"), value(11, "x", &[2]), value(12, "y", &[2])];
    for (what, broken) in [
        ("cut short", whole[..whole.len() / 2].to_vec()),
        ("noise", crate::sample::noise(500, 7)),
        ("empty", Vec::new()),
        ("an operator that nobody knows", graph(&unknown)),
        ("the library's own format", b"\x08\0\0\0ORTM rest".to_vec()),
    ] {
        let failure = start(&spawner, &package(&broken, &[2]), &patient()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidModel { .. }), "{what}: {failure:?}");
    }
}

#[test]
fn ports_of_another_type_or_shape_are_refused_before_anything_runs() {
    let Some(spawner) = with_library() else { return };
    let parts = [node("Add", &["x", "x"], "y"), value(11, "x", &[2]), value(12, "y", &[2])];
    let graph = graph(&parts);
    let of = |dtype| PortType::Tensor(TensorType { dtype, dims: vec![Dim::Fixed(2)] });
    let doubles = of(ElementType::F64);
    for (input, output) in [
        (doubles.clone(), floats(&[2])),
        (floats(&[2]), doubles),
        (floats(&[3]), floats(&[2])),
        (floats(&[2, 1, 1]), floats(&[2])),
        (PortType::Text, floats(&[2])),
    ] {
        let package = Package::of_files(&[("model.onnx", &graph)]).with_graph(
            "model.onnx",
            ("x", input.clone()),
            ("y", output.clone()),
        );
        match start(&spawner, &package, &patient()).unwrap_err() {
            Failure::InvalidModel { why } => assert!(why.contains("put `"), "{why}"),
            other => panic!("{input} {output}: {other:?}"),
        }
    }
}

#[test]
fn a_graph_that_wants_too_much_memory_meets_its_limit_and_the_next_one_runs() {
    let Some(spawner) = with_library() else { return };
    // The outer product of a column and a row: 10,000 numbers in, 400 MB between, 10,000 out.
    let parts = [
        value(11, "x", &[1, 10_000]),
        value(12, "y", &[1, 10_000]),
        node("Transpose", &["x"], "column"),
        node("MatMul", &["column", "x"], "square"),
        node("MatMul", &["x", "square"], "y"),
    ];
    let package = package(&graph(&parts), &[1, 10_000]);
    let input = vec![0; 40_000];
    let score =
        |memory_bytes| start(&spawner, &package, &in_memory(memory_bytes))?.score(record(&input));
    assert!(score(2 << 30).is_ok());
    let limit_bytes = 16 << 20;
    assert_eq!(score(limit_bytes).unwrap_err(), Failure::MemoryLimit { limit_bytes });
    assert!(score(2 << 30).is_ok());
}

#[test]
fn a_graph_that_takes_too_long_is_stopped_at_its_limit() {
    let Some(spawner) = with_library() else { return };
    let names: Vec<String> = (0..3_000).map(|at| format!("n{at}")).collect();
    let mut parts = vec![value(11, "x", &[300, 300]), value(12, "y", &[300, 300])];
    parts.push(node("MatMul", &["x", "x"], &names[0]));
    for pair in names.windows(2) {
        parts.push(node("MatMul", &[&pair[0], "x"], &pair[1]));
    }
    parts.push(node("MatMul", &[names.last().unwrap(), "x"], "y"));
    let package = package(&graph(&parts), &[300, 300]);
    let mut worker = start(&spawner, &package, &limits(200, 512 << 20, 4 << 20)).unwrap();
    match worker.score(record(&bytes(&[1e-3; 90_000]))) {
        Err(Failure::Timeout { limit_ms: 200, stopped_after_ms }) => {
            assert!(stopped_after_ms >= 200);
        }
        other => panic!("{other:?}"),
    }
}

/// An input or output whose first dimension is open: float32.
fn open(place: u8, name: &str, dims: &[u16]) -> Vec<u8> {
    let batch = field(1, &field(2, b"N"));
    let rest = dims.iter().flat_map(|dim| field(1, &number(1, *dim)));
    let shape: Vec<u8> = batch.into_iter().chain(rest).collect();
    let tensor = field(1, &[number(1, 1), field(2, &shape)].concat());
    field(place, &[field(1, name.as_bytes()), field(2, &tensor)].concat())
}

fn row(values: &[f32]) -> Vec<PortValue> {
    record(&bytes(values))
}

#[test]
fn records_share_a_run_and_each_gets_its_own() {
    let Some(spawner) = with_library() else { return };
    let parts = [node("Add", &["x", "x"], "y"), open(11, "x", &[2]), open(12, "y", &[2])];
    let package = with_rounding(package(&graph(&parts), &[2]));
    let mut worker = start(&spawner, &package, &patient()).unwrap();
    let mut records: Vec<_> = (0..100_u8).map(|at| row(&[f32::from(at), 1.0])).collect();
    records[7] = record(b"odd");
    let found = worker.score_all(records, &LIMITS).unwrap().records;
    assert_eq!(found.len(), 100);
    for (at, end) in (0_u8..).zip(found) {
        if at == 7 {
            assert!(matches!(end, Err(Failure::BadInput { .. })), "{end:?}");
        } else {
            assert_eq!(end.unwrap()[0].bytes, bytes(&[2.0 * f32::from(at), 2.0]));
        }
    }
}

/// Adds to each row how many rows there are, and the length of one.
fn counting() -> Package {
    // Attribute `to`: a number, 1 for float32.
    let to = field(5, &[field(1, b"to"), number(3, 1), vec![0xa0, 0x01, 0x02]].concat());
    let cast = [field(1, b"shape"), field(2, b"size"), field(3, b"size"), field(4, b"Cast"), to];
    let parts = [
        node("Shape", &["x"], "shape"),
        field(1, &cast.concat()),
        node("Add", &["x", "size"], "y"),
        open(11, "x", &[2]),
        open(12, "y", &[2]),
    ];
    package(&graph(&parts), &[2])
}

#[test]
fn only_where_rounding_is_allowed_does_a_run_take_several_records() {
    let Some(spawner) = with_library() else { return };
    let (exact, rounding) = (counting(), with_rounding(counting()));
    for (package, together) in [(exact, 1.0), (rounding, 3.0)] {
        let mut worker = start(&spawner, &package, &patient()).unwrap();
        let records = vec![row(&[0.0, 0.0]); 3];
        for end in worker.score_all(records, &LIMITS).unwrap().records {
            assert_eq!(end.unwrap()[0].bytes, bytes(&[together, 2.0]));
        }
    }
}

#[test]
fn a_graph_that_yields_no_share_for_each_record_gets_them_one_by_one() {
    let Some(spawner) = with_library() else { return };
    // The sum over everything that went in; everything in one row, whose length shows only then.
    let sum = [node("ReduceSum", &["x"], "y"), open(11, "x", &[2]), value(12, "y", &[1, 1])];
    let flat = [number(1, 1), number(2, 7), field(8, b"flat"), field(9, &[0xff; 8])].concat();
    let flatten = [
        node("Reshape", &["x", "flat"], "y"),
        field(5, &flat),
        open(11, "x", &[2]),
        open(12, "y", &[]),
    ];
    for (parts, dims, wanted) in [
        (&sum[..], [1], [&[3.0_f32][..], &[7.0], &[11.0]]),
        (&flatten, [2], [&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]]),
    ] {
        let package = Package::of_files(&[("model.onnx", &graph(parts))]).with_graph(
            "model.onnx",
            ("x", floats(&[2])),
            ("y", floats(&dims)),
        );
        let mut worker = start(&spawner, &with_rounding(package), &patient()).unwrap();
        for _ in 0..2 {
            let records = vec![row(&[1.0, 2.0]), row(&[3.0, 4.0]), row(&[5.0, 6.0])];
            let found = worker.score_all(records, &LIMITS).unwrap().records;
            let found: Vec<_> =
                found.into_iter().map(|end| end.unwrap()[0].bytes.clone()).collect();
            assert_eq!(found, wanted.map(bytes));
        }
    }
}

#[test]
fn one_record_that_an_operator_refuses_fails_alone() {
    let Some(spawner) = with_library() else { return };
    // Rows of a table by number: 0 or 1.
    let table = [number(1, 2), number(1, 1), number(2, 1), field(4, &bytes(&[10.0, 20.0]))];
    let table = field(5, &[table.concat(), field(8, b"table")].concat());
    let index = {
        let mut value = open(11, "x", &[1]);
        let float = number(1, 1);
        let at = value.windows(3).position(|window| window == float).unwrap();
        value[at..at + 3].copy_from_slice(&number(1, 7));
        value
    };
    let gather =
        [field(1, b"table"), field(1, b"x"), field(2, b"y"), field(3, b"y"), field(4, b"Gather")];
    let parts = [field(1, &gather.concat()), table, index, open(12, "y", &[1, 1])];
    let dims = vec![Dim::Fixed(1)];
    let number = PortType::Tensor(TensorType { dtype: ElementType::I64, dims });
    let package = Package::of_files(&[("model.onnx", &graph(&parts))]).with_graph(
        "model.onnx",
        ("x", number),
        ("y", floats(&[1, 1])),
    );
    let mut worker = start(&spawner, &with_rounding(package), &patient()).unwrap();
    let records = [0_i64, 1, 9, 1, 0].map(|at| record(&at.to_le_bytes())).to_vec();
    let found = worker.score_all(records, &LIMITS).unwrap().records;
    let ends: Vec<_> = found.iter().map(|end| end.as_ref().map(|v| v[0].bytes.clone())).collect();
    let (ten, twenty) = (bytes(&[10.0]), bytes(&[20.0]));
    assert!(matches!(ends[2], Err(Failure::BadInput { .. })), "{ends:?}");
    for (at, wanted) in [(0, &ten), (1, &twenty), (3, &twenty), (4, &ten)] {
        assert_eq!(ends[at].as_ref().unwrap(), wanted);
    }
    assert!(worker.is_alive());
}

#[test]
fn weights_outside_the_graph_are_not_looked_for() {
    let Some(spawner) = with_library() else { return };
    // A tensor that says it lies in etc/passwd, seen from the worker's folder, which is the root.
    let entry = |key: &[u8], value: &[u8]| field(13, &[field(1, key), field(2, value)].concat());
    let tensor = [
        number(1, 2),
        number(2, 1),
        field(8, b"w"),
        entry(b"location", b"etc/passwd"),
        entry(b"length", b"8"),
        number(14, 1),
    ];
    let parts = [
        node("Add", &["x", "w"], "y"),
        field(5, &tensor.concat()),
        value(11, "x", &[2]),
        value(12, "y", &[2]),
    ];
    let failure = start(&spawner, &package(&graph(&parts), &[2]), &patient()).unwrap_err();
    assert!(matches!(failure, Failure::InvalidModel { .. }), "{failure:?}");
}

#[test]
fn a_graph_with_any_bytes_changed_ends_in_an_answer() {
    let Some(spawner) = with_library() else { return };
    let whole = include_bytes!("columns.onnx");
    let mut random = crate::sample::Random(11);
    let mut refused = 0;
    for _ in 0..MUTANTS {
        let mut mutant = whole.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(mutant.len());
            mutant[at] = random.next().to_le_bytes()[0];
        }
        match start(&spawner, &super::exports::columns(&mutant), &patient()) {
            Ok(mut worker) => {
                let ended = worker.score(vec![
                    PortValue::new("city", "Riga"),
                    PortValue::new("kind", "flat"),
                    PortValue::new("size", bytes(&[70.0])),
                ]);
                assert!(!matches!(ended, Err(Failure::Internal { .. })), "{ended:?}");
            }
            Err(failure) => {
                assert!(!matches!(failure, Failure::Internal { .. }), "{failure:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    let intact = super::exports::columns(whole);
    assert!(start(&spawner, &intact, &patient()).is_ok());
}
