"""Makes everything in this folder that is data: model, images, test vectors.

    python train.py

Run it twice and nothing changes: seeds are fixed and versions are pinned
(requirements.txt). It does not build the two wasm modules; their build.sh does.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import pathlib

import numpy as np
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HERE = pathlib.Path(__file__).resolve().parent
SEED = 7
HELD_OUT = 360


def prepare(image, maxval):
    """What prepare.wasm computes, from any 2-D array of samples: 64 float32.

    Along a side of n pixels a pixel is 8 units long and a cell n units; the
    matrices hold how many units of each pixel lie in each cell.
    """

    def shares(n):
        p, c = np.arange(n)[None, :], np.arange(8)[:, None]
        return np.maximum(np.minimum(8 * p + 8, n * (c + 1)) - np.maximum(8 * p, n * c), 0)

    height, width = image.shape
    sums = shares(height) @ image.astype(np.int64) @ shares(width).T
    full = height * width * maxval
    return (((32 * sums + full) // (2 * full)).astype(np.float32) / np.float32(16)).ravel()


def pgm(image, maxval=255, comment=""):
    height, width = image.shape
    header = f"P5\n{comment}{width} {height}\n{maxval}\n".encode()
    return header + image.astype(">u2" if maxval > 255 else "u1").tobytes()


def resize(digit, height, width, maxval=255):
    """An 8x8 digit (0..16) blown up by repeating pixels, in 0..maxval."""
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    return np.floor(digit[rows][:, columns] * maxval / 16 + 0.5).astype(np.int64)


def write(path, content):
    path = HERE / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def train(x, y):
    model = MLPClassifier((64, 64), alpha=1e-3, max_iter=600, random_state=SEED).fit(x, y)
    onnx = convert_sklearn(
        model,
        name="digits",
        initial_types=[("X", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset={"": 15, "ai.onnx.ml": 3},  # at most: it needs, and says, 14 and 1
    )
    inputs, outputs = onnx.graph.input, onnx.graph.output
    for port in [*inputs, *outputs]:
        port.type.tensor_type.shape.dim[0].dim_param = "N"  # one name for the batch everywhere
    return onnx.SerializeToString(deterministic=True)


def main():
    digits = load_digits()
    train_x, held_x, train_y, held_y = train_test_split(
        digits.images, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=SEED
    )
    model = train((train_x.reshape(-1, 64) / 16).astype(np.float32), train_y)
    write("model/model.onnx", model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    labels, reference = ["file,label"], ["file,prediction,confidence"]
    correct, margins, tensors, answers = 0, [], [], []
    for i, (digit, truth) in enumerate(zip(held_x, held_y)):
        image = resize(digit, 24, 24)
        tensor = prepare(image, 255)
        assert np.array_equal(tensor, digit.ravel().astype(np.float32) / 16)
        label, probabilities = session.run(["label", "probabilities"], {"X": tensor[None]})
        best = np.sort(probabilities[0])[::-1]
        assert probabilities[0][label[0]] == best[0]
        file = f"images/{i:04}.pgm"
        write(f"images/{file}", pgm(image))
        labels.append(f"{file},{truth}")
        reference.append(f"{file},{label[0]},{best[0]!s}")
        correct += int(label[0] == truth)
        margins.append(best[0] - best[1])
        tensors.append(tensor)
        answers.append({"input": 0, "value": {"class": str(label[0])}, "confidence": float(str(best[0]))})
    write("images/labels.csv", "\n".join(labels) + "\n")
    write("images/reference.csv", "\n".join(reference) + "\n")

    # Test vectors that travel in the packages. prepare's cover what it promises:
    # the usual size; 16-bit samples, a comment and a broken factor; too few pixels.
    usual = [resize(held_x[i], 24, 24) for i in range(3)]
    cases = [
        (usual[0], 255, ""),
        (resize(held_x[1], 30, 20, 65535), 65535, "# 16 bits a sample\n"),
        (resize(held_x[2], 5, 3, 100), 100, ""),
    ]
    for n, (image, maxval, comment) in enumerate(cases, 1):
        write(f"prepare/tests/{n}.in.pgm", pgm(image, maxval, comment))
        write(f"prepare/tests/{n}.out.f32", prepare(image, maxval).astype("<f4").tobytes())
    for n, image in enumerate(usual, 1):
        write(f"stuck/tests/{n}.in.pgm", pgm(image))
        write(f"stuck/tests/{n}.out.f32", prepare(image, 255).astype("<f4").tobytes())
    write("stuck/poison.pgm", pgm(resize(held_x[0], 20, 20)))
    for n in (1, 2, 3):
        write(f"model/tests/{n}.in.f32", tensors[n - 1].astype("<f4").tobytes())
        write(f"model/tests/{n}.out.json", json.dumps([answers[n - 1]], separators=(",", ":")) + "\n")

    least = int(np.argmin(margins))
    print(f"accuracy on the {HELD_OUT} held-out images: {correct}/{HELD_OUT} = {correct / HELD_OUT:.4f}")
    print(f"smallest margin between best and second: {margins[least]:.4f} (image {least:04})")


if __name__ == "__main__":
    main()
