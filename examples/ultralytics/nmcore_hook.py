"""Compress what ultralytics exports: a callback for ``on_export_end``.

    python nmcore_hook.py yolo11n.pt --data pictures --macs 0.8 --imgsz 640

Needs ultralytics beside nmcore.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultralytics import YOLO

import nmcore


def compressed(**options: Any) -> Callable[[Any], None]:
    """A callback that writes ``NAME_small.onnx`` beside the exported ``NAME.onnx``.

    Parameters
    ----------
    **options
        Those of :func:`nmcore.compress`, as ``macs=0.8, data="pictures"``.
    """

    def on_export_end(exporter: Any) -> None:
        if exporter.args.format != "onnx":
            raise ValueError(f"format {exporter.args.format!r}: only ONNX can be compressed")
        exported = Path(exporter.file).with_suffix(".onnx")
        target = exported.with_name(f"{exported.stem}_small.onnx")
        result = nmcore.compress(exported, **{"preprocess": "yolo", **options})
        print(result)
        result.save(target)

    return on_export_end


def main() -> None:
    """Export a model with the callback."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="what YOLO() takes, such as yolo11n.pt")
    parser.add_argument("--data", type=Path, help="a folder of pictures, without boxes")
    parser.add_argument("--macs", type=float, default=0.8, help="keep at most this share")
    parser.add_argument("--imgsz", type=int, default=640, help="the size of pictures")
    given = parser.parse_args()

    model = YOLO(given.model)
    model.add_callback("on_export_end", compressed(macs=given.macs, data=given.data))
    model.export(format="onnx", imgsz=given.imgsz)


if __name__ == "__main__":
    main()
