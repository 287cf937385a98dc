//! Networks of convolutions over pictures, with normalisation already folded into the weights, as exporters write them.

use super::write::{Attribute, Graph};

/// Channels, rows and columns of a picture.
pub(super) const PICTURE: [u64; 3] = [3, 224, 224];

/// Numbers that come out for a picture.
pub(super) const CLASSES: u64 = 1_000;

/// Bottleneck blocks of each width in ResNet-50.
const BLOCKS: [(u64, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];

/// What leaves a bottleneck block is this many times as wide as its inside.
const EXPANSION: u64 = 4;

/// Fire modules of SqueezeNet 1.1, between poolings: what they squeeze to and what each half expands to.
const FIRES: [&[(u64, u64)]; 3] =
    [&[(16, 64), (16, 64)], &[(32, 128), (32, 128)], &[(48, 192), (48, 192), (64, 256), (64, 256)]];

/// A convolution with a square kernel.
#[derive(Clone, Copy)]
struct Shape {
    from: u64,
    to: u64,
    kernel: u64,
    stride: i64,
    pad: i64,
    /// Share of the usual size of weights.
    share: f32,
}

impl Shape {
    const fn new(from: u64, to: u64, kernel: u64) -> Self {
        Self { from, to, kernel, stride: 1, pad: 0, share: 1.0 }
    }

    const fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    const fn pad(self, pad: i64) -> Self {
        Self { pad, ..self }
    }
}

fn convolution(graph: &mut Graph, x: &str, shape: Shape) -> String {
    let Shape { from, to, kernel, stride, pad, share } = shape;
    // Keeps what leaves a layer about as large as what enters it.
    let bound = share * (6.0 / (from * kernel * kernel) as f32).sqrt();
    let weight = graph.weight(&[to, from, kernel, kernel], bound);
    let bias = graph.weight(&[to], 0.1);
    let kernel = kernel.cast_signed();
    let attributes = [
        Attribute::Several("kernel_shape", vec![kernel; 2]),
        Attribute::Several("strides", vec![stride; 2]),
        Attribute::Several("pads", vec![pad; 4]),
    ];
    graph.node("Conv", &[x, &weight, &bias], &attributes)
}

fn activated(graph: &mut Graph, x: &str, shape: Shape) -> String {
    let y = convolution(graph, x, shape);
    graph.node("Relu", &[&y], &[])
}

fn pool(graph: &mut Graph, x: &str, pad: i64) -> String {
    let attributes = [
        Attribute::Several("kernel_shape", vec![3; 2]),
        Attribute::Several("strides", vec![2; 2]),
        Attribute::Several("pads", vec![pad; 4]),
    ];
    graph.node("MaxPool", &[x], &attributes)
}

/// ResNet-50: 25.5 million weights, 4.1 thousand million multiplications a picture.
pub(super) fn resnet50() -> Vec<u8> {
    let mut graph = Graph::new(50);
    let mut x = activated(&mut graph, "x", Shape::new(3, 64, 7).stride(2).pad(3));
    x = pool(&mut graph, &x, 1);
    let mut before = 64;
    for (width, blocks) in BLOCKS {
        for block in 0..blocks {
            let stride = if block == 0 && width > 64 { 2 } else { 1 };
            let after = EXPANSION * width;
            let mut y = activated(&mut graph, &x, Shape::new(before, width, 1));
            y = activated(&mut graph, &y, Shape::new(width, width, 3).stride(stride).pad(1));
            // Small beside what it is added to, so that sixteen sums do not grow out of bounds.
            let last = Shape { share: 0.3, ..Shape::new(width, after, 1) };
            y = convolution(&mut graph, &y, last);
            if block == 0 {
                x = convolution(&mut graph, &x, Shape::new(before, after, 1).stride(stride));
            }
            let sum = graph.node("Add", &[&x, &y], &[]);
            x = graph.node("Relu", &[&sum], &[]);
            before = after;
        }
    }
    x = graph.node("GlobalAveragePool", &[&x], &[]);
    x = graph.node("Flatten", &[&x], &[]);
    let (weight, bias) = (graph.weight(&[before, CLASSES], 0.05), graph.weight(&[CLASSES], 0.1));
    let y = graph.node("Gemm", &[&x, &weight, &bias], &[]);
    graph.finish(&PICTURE, &y, CLASSES)
}

/// SqueezeNet 1.1: 1.2 million weights, 0.35 thousand million multiplications a picture.
pub(super) fn squeezenet() -> Vec<u8> {
    let mut graph = Graph::new(11);
    let mut x = activated(&mut graph, "x", Shape::new(3, 64, 3).stride(2));
    let mut before = 64;
    for fires in FIRES {
        x = pool(&mut graph, &x, 0);
        for (squeeze, expand) in fires {
            let y = activated(&mut graph, &x, Shape::new(before, *squeeze, 1));
            let one = activated(&mut graph, &y, Shape::new(*squeeze, *expand, 1));
            let three = activated(&mut graph, &y, Shape::new(*squeeze, *expand, 3).pad(1));
            x = graph.node("Concat", &[&one, &three], &[Attribute::One("axis", 1)]);
            before = 2 * expand;
        }
    }
    x = activated(&mut graph, &x, Shape::new(before, CLASSES, 1));
    x = graph.node("GlobalAveragePool", &[&x], &[]);
    let y = graph.node("Flatten", &[&x], &[]);
    graph.finish(&PICTURE, &y, CLASSES)
}
