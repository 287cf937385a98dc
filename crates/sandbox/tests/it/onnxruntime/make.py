"""Writes the graphs beside this file, as scikit-learn's users export them, and what onnxruntime in Python says of some
records. They are committed, so tests need none of it.

    python3 -m venv v && v/bin/pip install scikit-learn skl2onnx onnxruntime && v/bin/python make.py
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).parent


def write(name, model, feeds):
    """The graph, and a line for each record: the label and the scores by class."""
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(model.SerializeToString())
    labels, scores = session.run(["output_label", "output_probability"], feeds)
    records = [
        {"label": str(label), "scores": {str(key): float(value) for key, value in row.items()}}
        for label, row in zip(labels, scores)
    ]
    for name_of_input, values in feeds.items():
        for record, value in zip(records, values):
            record.setdefault("inputs", {})[name_of_input] = value.tolist()
    lines = ",\n".join(json.dumps(record) for record in records)
    (HERE / f"{name}.json").write_text(f"[\n{lines}\n]\n")


def forest():
    """A forest over string labels, with everything as it comes: a label, and ZipMap's list of maps."""
    iris = load_iris()
    names = np.array(iris.target_names)[iris.target]
    model = RandomForestClassifier(n_estimators=12, max_depth=4, random_state=1)
    x = iris.data.astype(np.float32)
    model.fit(x, names)
    write("forest", to_onnx(model, x[:1], target_opset=17), {"X": x[::10]})


def columns():
    """Columns of text and numbers, each an input of its own."""
    random = np.random.default_rng(7)
    city = random.choice(["Bern", "Lyon", "Riga"], 200).astype(object)
    kind = random.choice(["flat", "house"], 200).astype(object)
    size = random.uniform(20, 200, 200)
    rent = np.where(size * (1 + (city == "Lyon")) + 40 * (kind == "house") > 160, "high", "low")
    table = np.stack([city, kind, size.astype(object)], axis=1)
    model = Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        ("text", OneHotEncoder(handle_unknown="ignore"), [0, 1]),
                        ("numbers", StandardScaler(), [2]),
                    ]
                ),
            ),
            ("classes", LogisticRegression()),
        ]
    )
    model.fit(table, rent)
    kinds = [
        ("city", StringTensorType([None, 1])),
        ("kind", StringTensorType([None, 1])),
        ("size", FloatTensorType([None, 1])),
    ]
    graph = to_onnx(model, initial_types=kinds, target_opset=17)
    some = slice(0, 15)
    feeds = {
        "city": city[some].reshape(-1, 1),
        "kind": kind[some].reshape(-1, 1),
        "size": size[some].astype(np.float32).reshape(-1, 1),
    }
    write("columns", graph, feeds)


forest()
columns()
