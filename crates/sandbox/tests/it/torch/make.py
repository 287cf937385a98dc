"""Graphs as torch.onnx.export writes them, with fixed random weights, and what onnxruntime makes of them. PyTorch itself
takes gigabytes, so they are put together from the same nodes by hand.

    python3 -m venv v && v/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 && v/bin/python make.py

Writes models.bin (all graphs, one behind the other) and expected.json beside this file.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

HERE = Path(__file__).parent
rng = np.random.default_rng(3)
CASES = []


class Graph:
    """Nodes and weights while a graph is put together."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def w(self, value, dtype=np.float32):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def r(self, *shape, scale=0.3):
        return self.w(rng.normal(0, scale, shape))

    def i(self, *values):
        return self.w(values, np.int64)

    def one(self, value):
        return self.w(value, np.int64)

    def n(self, op, *inputs, out=None, outs=1, **attributes):
        names = [out] if out else [f"n{len(self.nodes)}_{k}" for k in range(outs)]
        self.nodes.append(h.make_node(op, list(inputs), names, **attributes))
        return names[0] if outs == 1 else names

    def case(self, name, inputs, outputs, feed, opset=17, dims=None):
        graph = h.make_graph(self.nodes, name, inputs, outputs, self.weights)
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], producer_name="pytorch", ir_version=8)
        onnx.checker.check_model(model)
        CASES.append((name, model, feed, dims or {}))


def f(name, *shape):
    return h.make_tensor_value_info(name, T.FLOAT, shape)


def ints(name, *shape):
    return h.make_tensor_value_info(name, T.INT64, shape)


def convolutions():
    g = Graph()
    x = g.n("Conv", "input", g.r(8, 3, 3, 3), g.r(8), kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    x = g.n("BatchNormalization", x, g.w(np.ones(8)), g.r(8), g.r(8), g.w(np.ones(8) * 1.5), epsilon=1e-5)
    x = g.n("Relu", x)
    y = g.n("Conv", x, g.r(8, 1, 3, 3), group=8, kernel_shape=[3, 3], pads=[1] * 4)
    y = g.n("HardSwish", y)
    y = g.n("Conv", y, g.r(8, 8, 1, 1), g.r(8), kernel_shape=[1, 1])
    x = g.n("Add", x, y)
    x = g.n("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.n("Clip", x, g.w(0.0), g.w(6.0))
    x = g.n("GlobalAveragePool", x)
    x = g.n("Flatten", x, axis=1)
    g.n("Gemm", x, g.r(5, 8), g.r(5), out="output", transB=1)
    feed = {"input": rng.normal(size=(4, 3, 16, 16)).astype(np.float32)}
    g.case("convolutions", [f("input", "batch", 3, 16, 16)], [f("output", "batch", 5)], feed)


def fixed_batch():
    """Exported without dynamic axes: one image at a time."""
    g = Graph()
    x = g.n("Conv", "input", g.r(4, 1, 3, 3), g.r(4), kernel_shape=[3, 3], pads=[1] * 4)
    x = g.n("Reshape", g.n("Relu", x), g.i(1, 256))
    g.n("Softmax", g.n("Gemm", x, g.r(3, 256), g.r(3), transB=1), out="output", axis=1)
    feed = {"input": rng.normal(size=(3, 1, 8, 8)).astype(np.float32)}
    g.case("fixed_batch", [f("input", 1, 1, 8, 8)], [f("output", 1, 3)], feed, opset=11)


def norm(g, x, width, fused):
    if fused:
        return g.n("LayerNormalization", x, g.w(np.ones(width)), g.r(width), axis=-1, epsilon=1e-12)
    d = g.n("Sub", x, g.n("ReduceMean", x, axes=[-1]))
    v = g.n("ReduceMean", g.n("Pow", d, g.w(2.0)), axes=[-1])
    s = g.n("Div", d, g.n("Sqrt", g.n("Add", v, g.w(1e-12))))
    return g.n("Add", g.n("Mul", s, g.w(np.ones(width))), g.r(width))


def encoder(name, fused, opset):
    """A sentence encoder like MiniLM: shapes taken from the input while it runs, as the exporter writes them."""
    g, width, heads, vocabulary = Graph(), 16, 2, 50
    size = g.n("Shape", "input_ids")
    batch = g.n("Gather", size, g.one(0), axis=0)
    length = g.n("Gather", size, g.one(1), axis=0)
    x = g.n("Gather", g.r(vocabulary, width), "input_ids")
    x = g.n("Add", x, g.n("Gather", g.r(2, width), "token_type_ids"))
    places = g.n("Slice", g.w(np.arange(64)[None], np.int64), g.i(0), g.n("Unsqueeze", length, g.i(0)), g.i(1)) if opset > 12 else None
    x = g.n("Add", x, g.n("Gather", g.r(64, width), places)) if places else x
    x = norm(g, x, width, fused)
    lift = (lambda t, axis: g.n("Unsqueeze", t, g.i(axis))) if opset > 12 else (lambda t, axis: g.n("Unsqueeze", t, axes=[axis]))
    mask = g.n("Cast", lift(lift("attention_mask", 1), 2), to=T.FLOAT)
    mask = g.n("Mul", g.n("Sub", g.w(1.0), mask), g.w(-10000.0))

    def split(t, last):
        shape = g.n("Concat", lift(batch, 0), lift(length, 0), g.i(heads), g.i(width // heads), axis=0)
        return g.n("Transpose", g.n("Reshape", t, shape), perm=[0, 2, 3, 1] if last else [0, 2, 1, 3])

    for _ in range(2):
        q, k, v = (g.n("Add", g.n("MatMul", x, g.r(width, width)), g.r(width)) for _ in range(3))
        scores = g.n("Div", g.n("MatMul", split(q, False), split(k, True)), g.w(np.sqrt(width / heads)))
        weights = g.n("Softmax", g.n("Add", scores, mask), axis=3)
        seen = g.n("Transpose", g.n("MatMul", weights, split(v, False)), perm=[0, 2, 1, 3])
        seen = g.n("Reshape", seen, g.n("Concat", lift(batch, 0), lift(length, 0), g.i(width), axis=0))
        x = norm(g, g.n("Add", x, g.n("Add", g.n("MatMul", seen, g.r(width, width)), g.r(width))), width, fused)
        y = g.n("Add", g.n("MatMul", x, g.r(width, 4 * width)), g.r(4 * width))
        y = g.n("Mul", g.n("Mul", y, g.n("Add", g.n("Erf", g.n("Div", y, g.w(np.sqrt(2)))), g.w(1.0))), g.w(0.5))
        x = norm(g, g.n("Add", x, g.n("Add", g.n("MatMul", y, g.r(4 * width, width)), g.r(width))), width, fused)
    g.n("Identity", x, out="last_hidden_state")
    shown = g.n("Expand", g.n("Cast", lift("attention_mask", 2), to=T.FLOAT), g.n("Shape", x))
    reduce = (lambda t: g.n("ReduceSum", t, g.i(1), keepdims=0)) if opset > 12 else (lambda t: g.n("ReduceSum", t, axes=[1], keepdims=0))
    total = g.n("Clip", reduce(shown), g.w(1e-9)) if opset > 10 else reduce(shown)
    pooled = g.n("Div", reduce(g.n("Mul", x, shown)), total)
    length2 = g.n("ReduceL2", pooled, axes=[1], keepdims=1) if opset < 18 else g.n("ReduceL2", pooled, g.i(1), keepdims=1)
    g.n("Div", pooled, g.n("Expand", g.n("Clip", length2, g.w(1e-12)), g.n("Shape", pooled)), out="sentence_embedding")
    rows = 4
    mask = np.ones((rows, 7), np.int64)
    mask[1, 5:] = 0
    feed = {
        "input_ids": rng.integers(0, vocabulary, (rows, 7)),
        "attention_mask": mask,
        "token_type_ids": np.zeros((rows, 7), np.int64),
    }
    dims = {n: ["seq"] for n in feed} | {"last_hidden_state": ["seq", width]}
    g.case(
        name,
        [ints(n, "batch", "seq") for n in feed],
        [f("last_hidden_state", "batch", "seq", width), f("sentence_embedding", "batch", width)],
        feed,
        opset,
        dims,
    )


def recurrent():
    for op, gates in [("LSTM", 4), ("GRU", 3), ("RNN", 1)]:
        for direction, ways in [("forward", 1), ("bidirectional", 2), ("reverse", 1)]:
            g, hidden, width = Graph(), 6, 5
            x = g.n("Transpose", "input", perm=[1, 0, 2])
            attributes = {"linear_before_reset": 1} if op == "GRU" else {}
            y = g.n(
                op, x, g.r(ways, gates * hidden, width), g.r(ways, gates * hidden, hidden), g.r(ways, 2 * gates * hidden),
                direction=direction, hidden_size=hidden, outs=3 if op == "LSTM" else 2, **attributes,
            )
            s = g.n("Transpose", y[0], perm=[2, 0, 1, 3])
            s = g.n("Reshape", s, g.i(0, 0, -1))
            last = g.n("Gather", s, g.one(-1), axis=1)
            both = g.n("Reshape", g.n("Transpose", y[1], perm=[1, 0, 2]), g.i(-1, ways * hidden))
            g.n("Gemm", g.n("Concat", last, both, axis=1), g.r(3, 2 * ways * hidden), g.r(3), out="output", transB=1)
            feed = {"input": rng.normal(size=(3, 9, width)).astype(np.float32)}
            g.case(f"{op}_{direction}".lower(), [f("input", "batch", 9, width)], [f("output", "batch", 3)], feed)


def pictures():
    g = Graph()
    x = g.n("Conv", "input", g.r(4, 3, 3, 3), kernel_shape=[3, 3], pads=[1] * 4)
    up = g.n("Resize", x, "", g.w([1, 1, 2, 2]), mode="linear", coordinate_transformation_mode="half_pixel")
    near = g.n("Resize", x, "", g.w([1, 1, 2, 2]), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    y = g.n("Concat", up, near, axis=1)
    y = g.n("ConvTranspose", y, g.r(8, 4, 2, 2), g.r(4), kernel_shape=[2, 2], strides=[2, 2])
    y = g.n("InstanceNormalization", y, g.w(np.ones(4)), g.r(4))
    y = g.n("PRelu", y, g.r(4, 1, 1))
    y = g.n("Pad", y, g.i(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    y = g.n("AveragePool", y, kernel_shape=[3, 3], strides=[3, 3])
    g.n("DepthToSpace", y, out="output", blocksize=2, mode="CRD")
    feed = {"input": rng.normal(size=(3, 3, 6, 6)).astype(np.float32)}
    g.case("pictures", [f("input", "batch", 3, 6, 6)], [f("output", "batch", 1, 16, 16)], feed)
    g = Graph()
    g.n("GridSample", "input", "grid", out="output", mode="bilinear", padding_mode="zeros", align_corners=0)
    feed = {
        "input": rng.normal(size=(2, 2, 5, 5)).astype(np.float32),
        "grid": rng.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32),
    }
    g.case("grid_sample", [f("input", "batch", 2, 5, 5), f("grid", "batch", 3, 3, 2)], [f("output", "batch", 2, 3, 3)], feed)


def others():
    g = Graph()
    y = g.n("Einsum", "input", g.r(4, 6), equation="bti,ij->btj")
    y = g.n("Where", g.n("Greater", y, g.w(0.0)), y, g.n("Mul", y, g.w(0.1)))
    y = g.n("CumSum", y, g.one(1))
    y = g.n("Mod", y, g.w(3.0), fmod=1)
    y = g.n("Trilu", y, upper=0)
    y = g.n("ScatterND", y, g.w([[0]], np.int64), g.n("Gather", y, g.i(0), axis=0))
    best = g.n("TopK", y, g.i(2), axis=-1, outs=2)
    g.n("GatherElements", y, best[1], out="picked", axis=2)
    g.n("ReduceMax", y, out="most", axes=[1], keepdims=0)
    feed = {"input": rng.normal(size=(3, 5, 4)).astype(np.float32)}
    g.case("others", [f("input", "batch", 5, 4)], [f("picked", "batch", 5, 2), f("most", "batch", 6)], feed)


def rows_that_meet():
    """Each row less the mean of all: a graph that gives another result in company. Expected is what a row gives alone."""
    g = Graph()
    g.n("Sub", "input", g.n("ReduceMean", "input", axes=[0]), out="output")
    feed = {"input": rng.normal(size=(4, 3)).astype(np.float32)}
    g.case("rows_that_meet", [f("input", "batch", 3)], [f("output", "batch", 3)], feed)


def plain(value):
    value = np.asarray(value)
    flat = value.reshape(-1)
    values = [float(f"{v:.9g}") for v in flat] if value.dtype.kind == "f" else [int(v) for v in flat]
    return {"type": str(value.dtype), "shape": list(value.shape), "values": values}


def main():
    convolutions()
    fixed_batch()
    encoder("encoder_17", True, 17)
    encoder("encoder_12", False, 12)
    recurrent()
    pictures()
    others()
    rows_that_meet()
    blob, listed = b"", []
    for name, model, feed, dims in CASES:
        raw = model.SerializeToString()
        session = ort.InferenceSession(raw)
        rows = len(next(iter(feed.values())))
        alone = session.get_inputs()[0].shape[0] == 1 or name == "rows_that_meet"
        parts = [{k: v[r : r + 1] for k, v in feed.items()} for r in range(rows)] if alone else [feed]
        found = [np.concatenate(column) for column in zip(*(session.run(None, part) for part in parts))]
        listed.append(
            {
                "name": name,
                "at": len(blob),
                "len": len(raw),
                "inputs": {k: plain(v) for k, v in feed.items()},
                "outputs": {o.name: plain(v) for o, v in zip(session.get_outputs(), found)},
                "dims": dims,
            }
        )
        blob += raw
    (HERE / "models.bin").write_bytes(blob)
    (HERE / "expected.json").write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in listed) + "\n]\n")
    print(len(listed), "graphs,", len(blob), "bytes")


main()
