"""Inputs that lie beside a model: folders ``test_data_set_*``, as the ONNX model zoo has them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

log = logging.getLogger(__name__)
_INPUT = re.compile(r"input_(\d+)\.pb")


def examples(model: Path, names_of: Callable[[], Sequence[str]]) -> list[dict[str, NDArray[Any]]]:
    """What a model can be fed with, one mapping a folder, in the order of their names.

    A folder holds ``input_0.pb``, ``input_1.pb`` and so on, each a tensor; one without a name is
    for the input of that number. Folders that hold something else are left out.

    Parameters
    ----------
    model : Path
        Its file.
    names_of : callable
        Gives the names of its inputs; called only where there are folders.
    """
    found: list[dict[str, NDArray[Any]]] = []
    folders = sorted(model.parent.glob("test_data_set_*"))
    names = names_of() if folders else []
    for folder in folders:
        feeds = {}
        for path in folder.glob("input_*.pb"):
            number = _INPUT.fullmatch(path.name)
            try:
                tensor = onnx.load_tensor(str(path))
                array = onnx.numpy_helper.to_array(tensor)
            except Exception as error:  # a sequence, or a damaged file
                log.info("%s is left out: %s", path, error)
                continue
            place = int(number.group(1)) if number else len(names)
            name = names[place] if tensor.name not in names and place < len(names) else tensor.name
            feeds[name] = array
        if set(names) <= set(feeds):
            found.append(feeds)
    return found
