"""Runs the real modules over the real data, and says what does not hold.

    python check.py

prepare.wasm's output on each image goes into onnxruntime and must give the
prediction that images/reference.csv promises; test vectors must hold byte for
byte; malformed images must be refused; stuck.wasm must need stopping.
"""

import csv
import json
import pathlib
import tempfile
import threading

import numpy as np
import onnxruntime
import wasmtime

import train

HERE = pathlib.Path(__file__).resolve().parent
ALLOWED = {"fd_read", "fd_write", "fd_close", "fd_seek", "fd_fdstat_get", "proc_exit"}
TIMEOUT = 2  # seconds

config = wasmtime.Config()
config.epoch_interruption = True
engine = wasmtime.Engine(config)
linker = wasmtime.Linker(engine)
linker.define_wasi()
modules = {n: wasmtime.Module.from_file(engine, str(HERE / n / f"{n}.wasm")) for n in ("prepare", "stuck")}


def run(name, data):
    """(exit code, or None if it had to be stopped; stdout; stderr)"""
    with tempfile.TemporaryDirectory() as d:
        stdin, stdout, stderr = (pathlib.Path(d, f) for f in ("in", "out", "err"))
        stdin.write_bytes(data)
        wasi = wasmtime.WasiConfig()
        wasi.stdin_file, wasi.stdout_file, wasi.stderr_file = map(str, (stdin, stdout, stderr))
        store = wasmtime.Store(engine)
        store.set_wasi(wasi)
        store.set_epoch_deadline(1)
        start = linker.instantiate(store, modules[name]).exports(store)["_start"]
        alarm = threading.Timer(TIMEOUT, engine.increment_epoch)
        alarm.start()
        try:
            start(store)
            code = 0
        except wasmtime.ExitTrap as e:
            code = e.code
        except wasmtime.Trap as e:
            if e.trap_code != wasmtime.TrapCode.INTERRUPT:
                raise
            code = None
        finally:
            alarm.cancel()
        del start, store
        return code, stdout.read_bytes(), stderr.read_text().strip()


def rows(file):
    with open(HERE / "images" / file, newline="") as f:
        return list(csv.DictReader(f))


def main():
    for name, module in modules.items():
        imports = {(i.module, i.name) for i in module.imports}
        assert imports <= {("wasi_snapshot_preview1", n) for n in ALLOWED}, imports
        print(f"{name}.wasm imports: {', '.join(sorted(n for _, n in imports))}")
        for n in (1, 2, 3):
            tests = HERE / name / "tests"
            want = (0, (tests / f"{n}.out.f32").read_bytes(), "")
            assert run(name, (tests / f"{n}.in.pgm").read_bytes()) == want, (name, n)

    session = onnxruntime.InferenceSession(HERE / "model/model.onnx", providers=["CPUExecutionProvider"])

    def classify(raw):
        label, probabilities = session.run(None, {"X": np.frombuffer(raw, "<f4").reshape(1, 64)})
        return int(label[0]), float(probabilities[0].max())

    for n in (1, 2, 3):
        [want] = json.loads((HERE / f"model/tests/{n}.out.json").read_text())
        label, confidence = classify((HERE / f"model/tests/{n}.in.f32").read_bytes())
        assert str(label) == want["value"]["class"] and abs(confidence - want["confidence"]) < 1e-5

    same = correct = 0
    reference, labels = rows("reference.csv"), rows("labels.csv")
    for want, truth in zip(reference, labels, strict=True):
        assert want["file"] == truth["file"]
        code, out, err = run("prepare", (HERE / "images" / want["file"]).read_bytes())
        assert (code, len(out), err) == (0, 256, ""), (want["file"], code, err)
        label, confidence = classify(out)
        same += label == int(want["prediction"]) and abs(confidence - float(want["confidence"])) < 1e-5
        correct += label == int(truth["label"])
    print(f"as in reference.csv: {same}/{len(reference)}; right: {correct}/{len(reference)}")
    assert same == len(reference)

    random = np.random.default_rng(1)
    sizes = [(1, 1), (1, 4096), (4096, 1), (8, 8), (7, 9), (16, 24), (333, 257), (1000, 1500), (4096, 4096)]
    for height, width in sizes:
        for maxval in (1, 16, 255, 256, 65535):
            image = random.integers(0, maxval + 1, (height, width))
            out = run("prepare", train.pgm(image, maxval))
            assert out == (0, train.prepare(image, maxval).tobytes(), ""), (height, width, maxval, out)
            white = np.full((height, width), maxval)
            if height * width < 10**6:
                assert run("prepare", train.pgm(white, maxval))[1] == np.ones(64, "<f4").tobytes()
    for fine in (b"P5#a\n#b\n 1#c\r1\t9 \x09", b"P5\n1 1\n9#end\n\x09", b"P5 1 1 9\n\x09"):
        assert run("prepare", fine) == (0, np.ones(64, "<f4").tobytes(), ""), fine

    bad = {
        b"": "P5", b"P2 1 1 9 9": "P5", b"P5": "no width", b"P5x": "no width", b"P5 -1 1 9 0": "no width",
        b"P5 1": "no height", b"P5 1x1 9 0": "no height", b"P5 1 1": "no maxval", b"P5 1 1 #9": "no maxval",
        b"P5 1 1 9": "no white space", b"P5 0 1 9 0": "width", b"P5 4097 1 9 0": "width",
        b"P5 1 0 9 0": "height", b"P5 1 99999999999999 9 0": "height", b"P5 1 4294967297 9 0": "height",
        b"P5 1 1 0 0": "maxval", b"P5 1 1 65536 00": "maxval", b"P5 1 1 9 ": "end before",
        b"P5 1 1 256 0": "end before", b"P5 1 1 9 \x0a": "larger", b"P5 1 1 9 \x00\x00": "after the image",
    }
    for data, why in bad.items():
        code, out, err = run("prepare", data)
        assert code == 1 and out == b"" and why in err, (data, code, out, err)
    print(f"prepare: {len(sizes) * 5} sizes and depths exact; {len(bad)} malformed images refused")

    poison = (HERE / "stuck/poison.pgm").read_bytes()
    assert run("stuck", poison) == (None, b"", ""), "stuck.wasm should not have ended"
    print(f"stuck.wasm on poison.pgm: stopped after {TIMEOUT} s")
    print(f"prepare.wasm on poison.pgm: a {classify(run('prepare', poison)[1])[0]}; it is a {labels[0]['label']}")


if __name__ == "__main__":
    main()
