"""Asks the digits model of a node as Triton's own client asks Triton: python oip_triton.py URL MODEL TESTS"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

url, model, tests = sys.argv[1], sys.argv[2], Path(sys.argv[3])
client = triton.InferenceServerClient(url)

assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready(model) and client.is_model_ready(model, "1.0.0")
assert not client.is_model_ready("lab-a/nothing")
assert client.get_server_metadata()["name"] == "guildhall"
metadata = client.get_model_metadata(model)
assert metadata["inputs"][0]["shape"] == [-1, 64], metadata
names = [entry["name"] for entry in client.get_model_repository_index()]
assert model in names, names

pictures = np.stack([np.fromfile(tests / f"{n}.in.f32", np.float32) for n in (1, 2, 3)])
classes = [json.loads((tests / f"{n}.out.json").read_text())[0]["value"]["class"] for n in (1, 2, 3)]


def given(array, binary, datatype="FP32"):
    tensor = triton.InferInput("pixels", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


for binary_in in (True, False):
    for binary_out in (True, False):
        outputs = [
            triton.InferRequestedOutput("digit", binary_data=binary_out),
            triton.InferRequestedOutput("digit.confidence", binary_data=binary_out),
        ]
        result = client.infer(model, given(pictures, binary_in), outputs=outputs, request_id="7")
        said = [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("digit")]
        assert said == classes, said
        sure = result.as_numpy("digit.confidence")
        assert sure.shape == (3,) and sure.dtype == np.float32 and 0 < sure.min() <= sure.max() <= 1
        assert result.get_response()["id"] == "7"

everything = client.infer(model, given(pictures[:1], True), model_version="1.0.0", timeout=30_000_000)
assert everything.as_numpy("digit").tolist() == [classes[0].encode()]
assert everything.as_numpy("digit.confidence").shape == (1,)

ranked = [triton.InferRequestedOutput("digit", class_count=3)]
best = client.infer(model, given(pictures, True), outputs=ranked).as_numpy("digit")
assert best[0, 0].decode().endswith(f":{classes[0]}:{classes[0]}"), best

waiting = [client.async_infer(model, given(pictures, True)) for _ in range(3)]
assert all(len(one.get_result().as_numpy("digit")) == 3 for one in waiting)

for wrong, words in [
    (given(pictures.astype(np.float64), True, "FP64"), "its datatype is FP64"),
    (given(pictures[:, :3], True), "its shape is [3, 3]"),
]:
    try:
        client.infer(model, wrong)
    except InferenceServerException as error:
        assert error.status() == "400" and words in error.message(), error
    else:
        raise AssertionError(words)

print("all is well")
