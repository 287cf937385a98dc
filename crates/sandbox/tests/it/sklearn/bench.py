"""Times tree ensembles in the engine and in onnxruntime with one thread, one after the other.

    cargo test --release -p guildhall-sandbox --lib --no-run   # prints BINARY
    v/bin/python bench.py BINARY                               # v as in make.py
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
from skl2onnx import to_onnx
from sklearn import datasets, ensemble

warnings.filterwarnings("ignore")
X, y = datasets.load_digits(return_X_y=True)
X = X.astype(np.float32)
MODELS = {
    "forest": ensemble.RandomForestClassifier(50, random_state=0, n_jobs=1).fit(X, y),
    "boosting": ensemble.GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=0).fit(X, y),
    "regression": ensemble.GradientBoostingRegressor(n_estimators=100, max_depth=5, random_state=0).fit(X, y),
}


def median_us(call):
    times = []
    for _ in range(300):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1e6)
    return sorted(times)[150]


with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    X[:128].tofile(folder / "rows.f32")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, model in MODELS.items():
        (folder / f"{name}.onnx").write_bytes(to_onnx(model, X[:1]).SerializeToString())
        settings = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
        for zip_map, kind in [(False, "without ZipMap"), (True, "as exported by default")]:
            onx = to_onnx(model, X[:1], options=None if zip_map else settings)
            session = ort.InferenceSession(onx.SerializeToString(), options)
            for batch in [1, 128]:
                rows = X[:batch]
                took = median_us(lambda: session.run(None, {"X": rows}))
                print(f"onnxruntime {name} {kind} batch {batch}: {took:.1f} us")
    print(
        subprocess.run(
            [sys.argv[1], "--ignored", "--nocapture", "--test-threads=1", "onnx::bench::measure"],
            env={**os.environ, "GUILDHALL_BENCH_MODELS": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
