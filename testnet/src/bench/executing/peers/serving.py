"""Trains a logistic regression on scikit-learn's pictures of digits and writes it twice: as MLServer takes it, with its
settings, and as a graph. Arguments: the folder and three ports."""

import json
import sys
from pathlib import Path

import joblib
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

folder, http, grpc, metrics = Path(sys.argv[1]), *map(int, sys.argv[2:5])
pictures, digits = load_digits(return_X_y=True)
pictures = (pictures / 16).astype("float32")
model = LogisticRegression(max_iter=1000, random_state=0).fit(pictures, digits)
joblib.dump(model, folder / "model.joblib")
graph = to_onnx(model, pictures[:1], options={"zipmap": False}, target_opset=15)
graph.graph.input[0].name = "x"
for node in graph.graph.node:
    for at, name in enumerate(node.input):
        if name == "X":
            node.input[at] = "x"
(folder / "model.onnx").write_bytes(graph.SerializeToString())
server = {
    "host": "127.0.0.1",
    "http_port": http,
    "grpc_port": grpc,
    "metrics_port": metrics,
    "debug": False,
    "logging_settings": {"version": 1, "disable_existing_loggers": True},
    # Inference in the process that answers, which is faster here than handing requests to another one.
    "parallel_workers": 0,
}
(folder / "settings.json").write_text(json.dumps(server))
implementation = "mlserver_sklearn.SKLearnModel"
parameters = {"uri": "./model.joblib", "version": "1"}
settings = {"name": "digits", "implementation": implementation, "parameters": parameters}
(folder / "model-settings.json").write_text(json.dumps(settings))
