//! A small network of attention over words, written out in plain operators, as exporters did for years.

use super::write::{Attribute, Graph};

/// Words of a text.
pub(super) const WORDS: u64 = 128;

/// Words that it knows.
pub(super) const VOCABULARY: u64 = 30_522;

/// Numbers for a word, and for the text.
pub(super) const WIDTH: u64 = 384;

/// Numbers between the two halves of a layer's second part.
const INNER: u64 = 1_536;

/// Layers, and what attends in each.
const LAYERS: usize = 6;
const HEADS: i64 = 12;
const HEAD_WIDTH: i64 = 32;

/// MiniLM with six layers: 22.6 million weights, about half of which are its vocabulary. The mean over its words comes
/// out; no word is left out as padding would be.
pub(super) fn minilm() -> Vec<u8> {
    let mut graph = Graph::new(6);
    let vocabulary = graph.weight(&[VOCABULARY, WIDTH], 1.0);
    let places = graph.weight(&[WORDS, WIDTH], 1.0);
    let words = graph.node("Gather", &[&vocabulary, "x"], &[]);
    let sum = graph.node("Add", &[&words, &places], &[]);
    let mut x = normal(&mut graph, &sum);
    for _ in 0..LAYERS {
        let y = attention(&mut graph, &x);
        let sum = graph.node("Add", &[&x, &y], &[]);
        x = normal(&mut graph, &sum);
        let y = linear(&mut graph, &x, WIDTH, INNER);
        let y = bent(&mut graph, &y);
        let y = linear(&mut graph, &y, INNER, WIDTH);
        let sum = graph.node("Add", &[&x, &y], &[]);
        x = normal(&mut graph, &sum);
    }
    let over_words = [Attribute::Several("axes", vec![1]), Attribute::One("keepdims", 0)];
    let y = graph.node("ReduceMean", &[&x], &over_words);
    graph.finish_whole(&[WORDS], &y, WIDTH)
}

fn linear(graph: &mut Graph, x: &str, from: u64, to: u64) -> String {
    let weight = graph.weight(&[from, to], (3.0 / from as f32).sqrt());
    let bias = graph.weight(&[to], 0.1);
    let y = graph.node("MatMul", &[x, &weight], &[]);
    graph.node("Add", &[&y, &bias], &[])
}

/// Mean 0 and variance 1 over the numbers of a word, then weights.
fn normal(graph: &mut Graph, x: &str) -> String {
    let last = || [Attribute::Several("axes", vec![-1]), Attribute::One("keepdims", 1)];
    let mean = graph.node("ReduceMean", &[x], &last());
    let from_mean = graph.node("Sub", &[x, &mean], &[]);
    let two = graph.constant(&[], 2.0);
    let square = graph.node("Pow", &[&from_mean, &two], &[]);
    let variance = graph.node("ReduceMean", &[&square], &last());
    let epsilon = graph.constant(&[], 1e-12);
    let variance = graph.node("Add", &[&variance, &epsilon], &[]);
    let deviation = graph.node("Sqrt", &[&variance], &[]);
    let y = graph.node("Div", &[&from_mean, &deviation], &[]);
    let (weight, bias) = (graph.constant(&[WIDTH], 1.0), graph.weight(&[WIDTH], 0.1));
    let y = graph.node("Mul", &[&y, &weight], &[]);
    graph.node("Add", &[&y, &bias], &[])
}

/// Half of it for negative numbers, and all of it for positive ones, with a soft bend: GELU.
fn bent(graph: &mut Graph, x: &str) -> String {
    let root = graph.constant(&[], std::f32::consts::SQRT_2);
    let y = graph.node("Div", &[x, &root], &[]);
    let y = graph.node("Erf", &[&y], &[]);
    let one = graph.constant(&[], 1.0);
    let y = graph.node("Add", &[&y, &one], &[]);
    let y = graph.node("Mul", &[x, &y], &[]);
    let half = graph.constant(&[], 0.5);
    graph.node("Mul", &[&y, &half], &[])
}

fn attention(graph: &mut Graph, x: &str) -> String {
    let heads = graph.list(&[0, 0, HEADS, HEAD_WIDTH]);
    let part = |graph: &mut Graph, order: [i64; 4]| {
        let y = linear(graph, x, WIDTH, WIDTH);
        let y = graph.node("Reshape", &[&y, &heads], &[]);
        graph.node("Transpose", &[&y], &[Attribute::Several("perm", order.to_vec())])
    };
    let query = part(graph, [0, 2, 1, 3]);
    let key = part(graph, [0, 2, 3, 1]);
    let value = part(graph, [0, 2, 1, 3]);
    let scores = graph.node("MatMul", &[&query, &key], &[]);
    let root = graph.constant(&[], (HEAD_WIDTH as f32).sqrt());
    let scores = graph.node("Div", &[&scores, &root], &[]);
    let shares = graph.node("Softmax", &[&scores], &[Attribute::One("axis", -1)]);
    let y = graph.node("MatMul", &[&shares, &value], &[]);
    let y = graph.node("Transpose", &[&y], &[Attribute::Several("perm", vec![0, 2, 1, 3])]);
    let whole = graph.list(&[0, 0, WIDTH.cast_signed()]);
    let y = graph.node("Reshape", &[&y, &whole], &[]);
    linear(graph, &y, WIDTH, WIDTH)
}
