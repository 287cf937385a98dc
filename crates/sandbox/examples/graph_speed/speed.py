"""Inference through a worker beside onnxruntime in Python: same graph, same library, same threads, same run.

    cargo build --release -p guildhall-sandbox --example graph_speed
    python3 -m venv v && v/bin/pip install numpy onnx onnxruntime
    v/bin/python crates/sandbox/examples/graph_speed/speed.py target/release/examples/graph_speed [THREADS [ROUNDS]]

The graph is a residual network of 18 layers over pictures of 96 x 96, with weights from a fixed seed. Rounds alternate,
so that whatever else the machine does hits both sides. A round is its best call. Shown for each side: the median of its
rounds, the best and the worst, and two ratios to Python: of the medians, and of the best, which is the one to read on a
busy machine.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Before the import: otherwise it reports to its makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIZE = 96
DIMS = (3, SIZE, SIZE)


def network():
    """Convolutions with batch normalisation already folded in, as exporters write them."""
    random = np.random.default_rng(1)
    nodes, weights = [], []

    def weight(shape, fan_in):
        name = f"w{len(weights)}"
        values = random.normal(0, (1 / fan_in) ** 0.5, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
        return name

    def node(op, inputs, **attributes):
        name = f"n{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def convolution(x, channels_in, channels, kernel, stride):
        w = weight((channels, channels_in, kernel, kernel), channels_in * kernel * kernel)
        b = weight((channels,), 100)
        pad = kernel // 2
        return node("Conv", [x, w, b], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)

    x = node("Relu", [convolution("x", 3, 64, 7, 2)])
    x = node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    before = 64
    for channels in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if block == 0 and channels > 64 else 1
            y = node("Relu", [convolution(x, before, channels, 3, stride)])
            y = convolution(y, channels, channels, 3, 1)
            if before != channels:
                x = convolution(x, before, channels, 1, stride)
            x = node("Relu", [node("Add", [x, y])])
            before = channels
    x = node("Flatten", [node("GlobalAveragePool", [x])])
    nodes.append(helper.make_node("Gemm", [x, weight((512, 1000), 512), weight((1000,), 100)], ["y"]))
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *DIMS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1000])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Python:
    def __init__(self, graph, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph, options)

    def calls(self, records, calls):
        x = (np.arange(np.prod(DIMS)) % 251).astype(np.float32).reshape(1, *DIMS)
        x = np.repeat(x, records, axis=0)
        took = []
        for _ in range(calls):
            started = time.perf_counter()
            self.session.run(None, {"x": x})
            took.append((time.perf_counter() - started) * 1e6)
        return took


class Worker:
    def __init__(self, program, graph, library, threads):
        arguments = [program, graph, library, str(threads), *map(str, DIMS)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True)

    def calls(self, records, calls):
        self.process.stdin.write(f"{records} {calls}\n")
        self.process.stdin.flush()
        return [float(took) for took in self.process.stdout.readline().split()]

    def peak_bytes(self):
        return int(self.process.communicate()[0])


def main():
    program = str(Path(sys.argv[1]).resolve())
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 9
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    with tempfile.TemporaryDirectory() as folder:
        graph = str(Path(folder) / "residual.onnx")
        onnx.save(network(), graph)
        sides = {
            "Python": Python(graph, threads),
            "onnxruntime": Worker(program, graph, str(library), threads),
            "built in": Worker(program, graph, "built-in", threads),
        }
        print(f"onnxruntime {onnxruntime.__version__}, {threads} threads, ms a record")
        for records, calls in ((1, 16), (32, 2)):
            took = {name: [] for name in sides}
            for side in sides.values():
                side.calls(records, 2)
            for round_ in range(rounds):
                for name, side in sides.items():
                    if name != "built in" or round_ < 3:
                        took[name].append(min(side.calls(records, calls)))
            base, best = statistics.median(took["Python"]), min(took["Python"])
            for name, values in took.items():
                value = statistics.median(values)
                low, high = (f"{x / records / 1000:.2f}" for x in (min(values), max(values)))
                print(
                    f"{records:3} at once  {name:12} {value / records / 1000:8.2f}"
                    f"  ({low} to {high})  {value / base:.3f} x, best {min(values) / best:.3f} x"
                )
        for name, side in sides.items():
            if isinstance(side, Worker):
                print(f"{name}: at most {side.peak_bytes() / 1e6:.0f} MB beyond an idle worker")


main()
