"""Writes the samples beside this file with the libraries that people use. They are committed, so tests need none of it.

    python3 -m venv v && v/bin/pip install pyarrow numpy onnx safetensors gguf nbformat && v/bin/python make.py
"""

import json
from pathlib import Path

import gguf
import nbformat
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

HERE = Path(__file__).parent


def table():
    return pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int64()),
            "small": pa.array([1, 2, None], pa.uint8()),
            "score": pa.array([0.5, None, 1.5], pa.float32()),
            "is_right": pa.array([True, False, None]),
            "name": pa.array(["a", "b", None]),
            "day": pa.array([0, 1, 2], pa.date32()),
            "tags": pa.array([["x"], [], ["y", "z"]]),
            "kind": pa.array(["p", "q", "p"]).dictionary_encode(),
        }
    )


def tables():
    data = table()
    pq.write_table(data, HERE / "table.parquet", compression="none")
    pq.write_table(data, HERE / "groups.parquet", row_group_size=1)
    pq.write_table(data.slice(0, 0), HERE / "empty.parquet")
    pq.write_table(data, HERE / "old.parquet", version="1.0", data_page_version="2.0")
    pyarrow.feather.write_feather(data, HERE / "table.feather", compression="uncompressed")
    with pyarrow.ipc.new_file(HERE / "table.arrow", data.schema) as writer:
        writer.write_table(data, max_chunksize=2)
    with pyarrow.ipc.new_stream(HERE / "table.arrows", data.schema) as writer:
        writer.write_table(data)
    pyarrow.csv.write_csv(data.select(["id", "score", "is_right", "name"]), HERE / "table.csv")


def weights():
    rng = np.random.default_rng(7)
    a, b = rng.random((4, 32), np.float32), rng.integers(0, 9, (3,), np.int64)
    save_file({"a.weight": a, "b": b, "scalar": np.array(1, np.float16)}, HERE / "weights.safetensors")
    save_file({}, HERE / "none.safetensors", metadata={"format": "np"})
    writer = gguf.GGUFWriter(HERE / "weights.gguf", "llama")
    writer.add_block_count(1)
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "a", "b"])
    writer.add_tensor("a.weight", a)
    writer.add_tensor("q.weight", gguf.quants.quantize(a, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def graphs():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    w = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [2], [0.0, 1.0])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "bias"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    weights = helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 2])
    graph = helper.make_graph(nodes, "g", [x, weights], [y], [w, bias])
    model = helper.make_model(graph, producer_name="make.py", opset_imports=opsets)
    onnx.checker.check_model(model)
    onnx.save(model, HERE / "linear.onnx")
    onnx.save(model, HERE / "external.onnx", save_as_external_data=True, location="external.onnx.data", size_threshold=0)
    then = helper.make_graph([helper.make_node("Constant", [], ["t"], value=w)], "t", [], [
        helper.make_tensor_value_info("t", TensorProto.FLOAT, [4, 2])])
    cond = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    branch = helper.make_node("If", ["c"], ["o"], then_branch=then, else_branch=then)
    branches = helper.make_model(helper.make_graph([branch], "g", [cond], [out]), opset_imports=opsets)
    onnx.save(branches, HERE / "branches.onnx")


def others():
    cells = [
        nbformat.v4.new_markdown_cell("# Digits\nWhat they look like."),
        nbformat.v4.new_code_cell("1 + 1", outputs=[nbformat.v4.new_output("execute_result", {"text/plain": "2"})]),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), HERE / "digits.ipynb")
    np.save(HERE / "numbers.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    np.savez(HERE / "numbers.npz", a=np.arange(3), b=np.ones(2))
    np.save(HERE / "structured.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i8")]))
    (HERE / "values.jsonl").write_text("".join(json.dumps({"n": n, "t": "\u00e9"}) + "\n" for n in range(3)))


tables()
weights()
graphs()
others()
