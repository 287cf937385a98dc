"""Says the versions of what is here, and where the library of onnxruntime lies."""

import importlib.metadata as metadata
import importlib.util
import platform
from pathlib import Path

print("Python", platform.python_version())
for name in ("onnxruntime", "mlserver", "scikit-learn"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        pass
found = importlib.util.find_spec("onnxruntime")
if found and found.origin:
    for library in sorted((Path(found.origin).parent / "capi").glob("libonnxruntime.so*")):
        print("library", library)
