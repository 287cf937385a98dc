"""Scores one graph with onnxruntime, when told to.

Arguments: the graph, a file with one record, its type in numpy, its dimensions. Says its version; then, for each line of
stdin, `score RECORDS` takes that many copies of the record at once and says how many seconds that took, and
`output FILE` writes what comes out for one.
"""

import os
import sys
import time

# Before the import: otherwise it reports to its makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime

graph, record, dtype, *dims = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
one = np.fromfile(record, dtype=dtype).reshape(1, *map(int, dims))
print(onnxruntime.__version__, flush=True)
for line in sys.stdin:
    word, value = line.split(maxsplit=1)
    if word == "output":
        session.run(None, {"x": one})[0].astype("<f4").tofile(value.strip())
        print(0, flush=True)
    else:
        records = np.repeat(one, int(value), axis=0)
        since = time.perf_counter()
        session.run(None, {"x": records})
        print(time.perf_counter() - since, flush=True)
