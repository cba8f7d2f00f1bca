"""Run an Olive workflow with nmcore as a pass of it.

    python compress.py IN.onnx OUT_FOLDER --macs 0.6 [--data FILE.npz]

Needs olive-ai beside nmcore.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from olive.package_config import OlivePackageConfig
from olive.workflows import run

HERE = Path(__file__).parent


def packages() -> dict[str, object]:
    """What Olive knows of passes, with the one of this folder."""
    known = OlivePackageConfig.load_default_config().model_dump()
    known["passes"]["NmcoreCompression"] = {
        "module_path": "nmcore_pass.NmcoreCompression",
        "supported_providers": ["*"],
        "supported_accelerators": ["*"],
        "supported_precisions": ["*"],
        "supported_algorithms": [],
        "supported_quantization_encodings": [],
        "module_dependencies": [],
        "extra_dependencies": [],
    }
    return known


def main() -> None:
    """Write the smaller model into a folder, as Olive does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN.onnx")
    parser.add_argument("target", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--macs", type=float, default=0.6, help="keep at most this share")
    parser.add_argument("--data", type=Path, help="inputs that are ready for the model")
    given = parser.parse_args()

    sys.path.insert(0, str(HERE))  # where Olive finds the pass
    compression = {"type": "NmcoreCompression", "macs": given.macs}
    if given.data is not None:
        compression["data"] = str(given.data.resolve())
    workflow = {
        "input_model": {"type": "ONNXModel", "model_path": str(given.source.resolve())},
        "passes": {"compression": compression},
        "output_dir": str(given.target.resolve()),
        "cache_dir": str(given.target.resolve() / "cache"),
        "evaluate_input_model": False,
    }
    run(workflow, package_config=packages())


if __name__ == "__main__":
    main()
