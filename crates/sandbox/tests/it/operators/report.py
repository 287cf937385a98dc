"""Writes docs/onnx-operators.md: which of ONNX's own node tests the engine passes, operator by operator.

    cargo test -p guildhall-sandbox --lib --no-run      # prints BINARY
    python3 -m venv v && v/bin/pip install onnx==1.23.2 && v/bin/python report.py BINARY
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

DOCS = Path(__file__).parents[5] / "docs" / "onnx-operators.md"
TYPES = {np.dtype(t): t for t in ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]}


def plain(name, value):
    """A tensor as the engine's side reads it, or none for what is no tensor of a type that ports have."""
    if not isinstance(value, np.ndarray):
        value = np.asarray(value) if np.isscalar(value) else None
    if value is None:
        return None
    if value.dtype.kind in "OUS":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in value.reshape(-1)]
        return {"name": name, "type": "text", "shape": list(value.shape), "texts": texts}
    if value.dtype not in TYPES:
        return None
    return {"name": name, "type": TYPES[value.dtype], "shape": list(value.shape), "hex": value.tobytes().hex()}


def fixed(model, inputs):
    """The model with all inputs but the first inside it: exporters write shapes, axes and weights so."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    for value, array in list(zip(graph.input, inputs))[1:]:
        graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
    del graph.input[1:]
    return model.SerializeToString()


def cases(folder):
    """All node tests; each with the operator that it is about."""
    from onnx.backend.test.case.node import collect_testcases

    found = {}
    for case in collect_testcases(None):
        graph = case.model.graph
        operators = {node.op_type for node in graph.node}
        if case.model.functions or "_expanded" in case.name:
            continue
        operator = next(iter(operators)) if len(operators) == 1 else graph.node[-1].op_type
        domain = next((n.domain for n in graph.node if n.op_type == operator), "")
        if domain not in ("", "ai.onnx.ml"):
            continue
        inputs, outputs = case.data_sets[0]
        names = [i.name for i in graph.input], [o.name for o in graph.output]
        sides = [[plain(n, v) for n, v in zip(ns, vs)] for ns, vs in zip(names, (inputs, outputs))]
        label = f"{domain}.{operator}".lstrip(".")
        if any(v is None for side in sides for v in side):
            found[case.name] = (label, None)
            continue
        (folder / case.name).with_suffix(".onnx").write_bytes(case.model.SerializeToString())
        (folder / case.name).with_suffix(".fixed").write_bytes(fixed(case.model, inputs))
        io = {"inputs": sides[0], "outputs": sides[1], "rtol": case.rtol, "atol": case.atol}
        (folder / case.name).with_suffix(".json").write_text(json.dumps(io))
        found[case.name] = (label, True)
    return found


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        found = cases(folder)
        ran = subprocess.run(
            [sys.argv[1], "--ignored", "--nocapture", "--test-threads=1", "onnx::operators::report"],
            env={**os.environ, "GUILDHALL_OPERATOR_TESTS": str(folder)},
            capture_output=True,
            text=True,
        )
    results = {}
    for line in ran.stdout.splitlines():
        if line.startswith("case\t"):
            _, name, why = line.split("\t", 2)
            results[name] = why
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text("".join(f"{found[n][0]}\t{n}\t{w}\n" for n, w in sorted(results.items())))
    table = defaultdict(lambda: [0, 0, 0])
    for name, (operator, usable) in found.items():
        row = table[operator]
        if not usable:
            row[2] += 1
        elif results.get(name) == "pass":
            row[0] += 1
        else:
            row[1] += 1
    groups = defaultdict(list)
    for operator, (passed, failed, other) in sorted(table.items()):
        kind = "all" if passed and not failed else "some" if passed else "none" if failed else "other"
        share = f"`{operator}`" if kind in ("all", "none", "other") else f"`{operator}` ({passed} of {passed + failed})"
        groups[kind].append(share)
    passed, failed = sum(r[0] for r in table.values()), sum(r[1] for r in table.values())
    text = f"""# ONNX operators of the built-in engine

What the engine `onnx` does with the node tests that come with the Python package onnx {onnx.__version__}: it passes
{passed} of the {passed + failed} whose inputs and outputs are tensors of types that ports have. Made by
`crates/sandbox/tests/it/operators/report.py`. The tests hand shapes, axes and weights over as inputs; where the engine
wants them to be constants, as exporters write them, they are. A failure is a wrong result, an attribute or type that is
not taken, or an operator that is missing. A model whose operators are missing is refused when it is published, with
their names.

## Operators that pass all of their tests

{", ".join(groups["all"])}

## Operators that pass some

{", ".join(groups["some"])}

## Operators that pass none

{", ".join(groups["none"])}

## Operators whose tests have sequences, optional values or types that ports do not have

{", ".join(groups["other"])}
"""
    DOCS.write_text(text)
    print(passed, "of", passed + failed, "pass;", ran.stderr[-300:])


main()
