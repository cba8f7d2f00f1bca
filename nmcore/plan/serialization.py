"""Reading plans: from JSON or from what Python holds, with every mistake named.

What a hand or another tool wrote is checked here for its form alone; whether it fits a model is
checked in :mod:`nmcore.plan.replay`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from nmcore.arrays.criteria import CRITERIA
from nmcore.arrays.scaling import BN_FORMS
from nmcore.errors import ArgumentError
from nmcore.options.methods import METHODS
from nmcore.plan.plan import (
    UNTOUCHED,
    VERSION,
    GroupPlan,
    Plan,
    Source,
    as_dict,
)

# A channel takes some ten bytes, so this is enough for millions; a plan is never a gigabyte.
MAX_BYTES = 2**26
# So many letters of a wrong value are shown.
_SHOWN = 40

Check = Callable[[Any], bool]


def plan_of(given: Any) -> Plan:
    """A plan from whatever form it is given in: a file's name, a Plan, or a mapping like the JSON.

    Raises
    ------
    ArgumentError
        It is none of these, or not of the form of a plan.

    Examples
    --------
    >>> plan_of({"groups": {"conv1": [2, 0]}}).groups
    (GroupPlan(name='conv1', width=0, kept=(0, 2), method='', reason='', backward=()),)
    """
    if isinstance(given, Plan):
        return parse(as_dict(given), "the plan")
    if isinstance(given, (str, Path)):
        return load_plan(given)
    if isinstance(given, Mapping):
        return parse(given, "the plan")
    raise ArgumentError(
        f"plan is of type {type(given).__name__}; a file, a Plan or a mapping is needed"
    )


def load_plan(path: str | Path) -> Plan:
    """Read a plan that nmcore saved, or one that says which channels are kept and nothing else.

    The shortest form is ``{"groups": {"conv1": [0, 2, 5]}}``; ``nmcore/plan/plan.schema.json``
    describes all of it. Kept channels may stand in any order.

    Parameters
    ----------
    path : path
        A JSON file.

    Returns
    -------
    Plan
        Not yet compared with any model.

    Raises
    ------
    nmcore.errors.ArgumentError
        The file cannot be read, is no JSON, or holds something else than a plan.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "plan.json")
    ...     _ = path.write_text('{"groups": {"conv1": [5, 0, 2]}}')
    ...     load_plan(path).groups[0].kept
    (0, 2, 5)
    """
    if not isinstance(path, (str, Path)):
        raise ArgumentError(f"path is of type {type(path).__name__}; that of a file is needed")
    path = Path(path)
    where = f"plan {path}"
    try:
        if path.is_dir():
            raise ArgumentError(f"{where} is a directory; a JSON file is needed")
        if not path.is_file():
            raise ArgumentError(f"{where} does not exist")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ArgumentError(f"{where} has {size:,} bytes; a plan has at most {MAX_BYTES:,}")
        # Some editors put a byte order mark in front.
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ArgumentError(f"{where} is no JSON: it is not text in UTF-8") from None
    except OSError as error:
        raise ArgumentError(f"{where} cannot be read: {error.strerror}") from error
    return parse(_json(content, where), where)


def _json(content: str, where: str) -> Any:
    def constant(name: str) -> Any:
        raise ArgumentError(f"{where} holds {name}, which is no number; JSON has none of that name")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            # Python would keep the last one silently.
            if key in found:
                raise ArgumentError(f"{where} names {_show(key)} twice in one object")
            found[key] = value
        return found

    try:
        return json.loads(content, parse_constant=constant, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ArgumentError(f"{where} is no JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise ArgumentError(f"{where} is no plan: its brackets are nested too deeply") from None
    except ArgumentError:
        raise
    except ValueError as error:  # A number of thousands of digits.
        raise ArgumentError(f"{where} is no plan: {error}") from None


def parse(data: Any, where: str) -> Plan:
    """Turn what JSON or Python holds into a plan.

    Parameters
    ----------
    data : object
        A mapping with ``groups`` and, in a plan that nmcore saved, all the rest.
    where : str
        What errors call it.

    Raises
    ------
    ArgumentError
        It has another form.
    """
    if not isinstance(data, Mapping):
        raise ArgumentError(f'{where} is {_show(data)}; an object with "groups" is needed')
    _check_keys(data, _PLAN_KEYS, where)
    version = data.get("plan_version", VERSION)
    if not _is_count(version) or version != VERSION:
        raise ArgumentError(
            f"{where} has plan_version {_show(version)}; this nmcore reads {VERSION}"
        )
    if "groups" not in data:
        raise ArgumentError(f'{where} has no "groups"; {_GROUPS_FORM}')
    return Plan(
        groups=tuple(_groups(data["groups"], where)),
        options=_options(data.get("options", {}), where),
        model=_source(data.get("model"), f"{where}: model"),
        data=_source(data.get("data"), f"{where}: data"),
        call=_text(data.get("call", ""), f"{where}: call"),
        versions=_versions(data.get("versions", {}), f"{where}: versions"),
    )


def _groups(data: Any, where: str) -> Iterator[GroupPlan]:
    if isinstance(data, Mapping):
        items: Iterable[Any] = ({"name": name, "kept": kept} for name, kept in data.items())
    elif _is_list(data):
        items = data
    else:
        raise ArgumentError(f"{where}: groups is {_show(data)}; {_GROUPS_FORM}")
    seen: set[str] = set()
    for number, item in enumerate(items, 1):
        group = _group(item, where, number)
        if group.name in seen:
            raise ArgumentError(f"{where} names group {_show(group.name)} twice")
        seen.add(group.name)
        yield group


def _group(item: Any, where: str, number: int) -> GroupPlan:
    here = f"{where}: group number {number}"
    if not isinstance(item, Mapping):
        raise ArgumentError(f'{here} is {_show(item)}; an object with "name" and "kept" is needed')
    name = item.get("name")
    if not isinstance(name, str):
        raise ArgumentError(f"{here} has the name {_show(name)}; the name of a group is needed")
    here = f"{where}: group {_show(name)}"
    _check_keys(item, _GROUP_KEYS, here)
    if "kept" not in item:
        raise ArgumentError(f'{here} has no "kept"; a list of channels is needed')
    width = item.get("width", 0)
    if not _is_count(width):
        raise ArgumentError(f"{here}: width is {_show(width)}; a number of channels is needed")
    method = _text(item.get("method", ""), f"{here}: method")
    if method and method not in (known := (*METHODS, UNTOUCHED)):
        raise ArgumentError(
            f"{here}: method is {_show(method)}; one of {', '.join(known)} is needed"
        )
    reason = _text(item.get("reason", ""), f"{here}: reason")
    kept = _kept(item["kept"], here)
    return GroupPlan(name, int(width), kept, method, reason, _backward(item, here))


def _backward(item: Mapping[str, Any], where: str) -> tuple[int, ...]:
    given = item.get("backward", ())
    units = given.tolist() if hasattr(given, "tolist") else given
    if not _is_list(units) or not all(map(_is_count, units)):
        raise ArgumentError(f"{where}: backward is {_show(given)}; a list of units is needed")
    return tuple(map(int, units))


def _kept(given: Any, where: str) -> tuple[int, ...]:
    # Python users have arrays.
    channels = given.tolist() if hasattr(given, "tolist") else given
    if not _is_list(channels):
        raise ArgumentError(f"{where}: kept is {_show(given)}; a list of channels is needed")
    if not channels:
        raise ArgumentError(f"{where}: kept is empty; at least one channel has to stay")
    for channel in channels:
        if not _is_count(channel):
            raise ArgumentError(
                f"{where}: kept holds {_show(channel)}; channels are whole numbers from 0"
            )
    kept = sorted(map(int, channels))
    for first, second in pairwise(kept):
        if first == second:
            raise ArgumentError(f"{where}: kept names channel {first} twice")
    return tuple(kept)


def _options(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ArgumentError(f"{where}: options is {_show(data)}; an object is needed")
    here = f"{where}: options"
    _check_keys(data, OPTIONS, here)
    for name, value in data.items():
        check, needed = OPTIONS[name]
        if not check(value):
            raise ArgumentError(f"{here}: {name} is {_show(value)}; {needed} is needed")
    return {name: list(v) if _is_list(v) else v for name, v in data.items()}


def _source(data: Any, where: str) -> Source | None:
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ArgumentError(f'{where} is {_show(data)}; an object with "sha256" is needed')
    _check_keys(data, ("file", "sha256"), where)
    file, digest = data.get("file"), data.get("sha256")
    if file is not None:
        _text(file, f"{where}: file")
    if not isinstance(digest, str) or len(digest) != 64 or set(digest.lower()) - set(_HEX):
        raise ArgumentError(f"{where}: sha256 is {_show(digest)}; 64 hexadecimal digits are needed")
    return Source(file, digest.lower())


def _versions(data: Any, where: str) -> dict[str, str]:
    if not isinstance(data, Mapping):
        raise ArgumentError(f"{where} is {_show(data)}; an object is needed")
    return {name: _text(version, f"{where}: {name}") for name, version in data.items()}


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{where} is {_show(value)}; text is needed")
    return value


def _check_keys(data: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    for key in data:
        if key not in known:
            raise ArgumentError(f"{where} has {_show(key)}; known are {', '.join(known)}")


def _show(value: Any) -> str:
    """A value as JSON has it, cut where it is long."""
    try:
        shown = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        shown = f"of type {type(value).__name__}"
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0; true and false are none."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    return whole and int(value) >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer beyond all floats.
        return False


def _none_or(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_numbers(value: Any) -> bool:
    return _is_list(value) and len(value) > 0 and all(map(_is_number, value))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _are_counts(value: Any) -> bool:
    return _is_list(value) and len(value) > 0 and all(map(_is_count, value))


def _one_of(*names: str) -> tuple[Check, str]:
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


_HEX = "0123456789abcdef"
_PLAN_KEYS = (
    "$schema",
    "plan_version",
    "model",
    "data",
    "options",
    "call",
    "versions",
    "groups",
)
_GROUP_KEYS = ("name", "width", "kept", "method", "reason", "backward")
_GROUPS_FORM = 'a form such as {"groups": {"conv1": [0, 2, 5]}} is needed'

# What a plan can state of the options, how it is checked, and what is needed.
OPTIONS: Mapping[str, tuple[Check, str]] = {
    "method": _one_of("auto", *METHODS),
    "criterion": _one_of("auto", *CRITERIA),
    "threshold": (_none_or(_is_number), "a number or null"),
    "lam": (_none_or(_is_number), "a number or null"),
    "bn_form": _one_of("auto", *BN_FORMS),
    "seed": (_is_count, "a whole number from 0"),
    "samples": (_none_or(_is_count), "a whole number or null"),
    "max_drop": (_none_or(_is_number), "a number or null"),
    "scale": (_none_or(_is_number), "a number or null"),
    "mean": (_none_or(_is_numbers), "a list of numbers or null"),
    "std": (_none_or(_is_numbers), "a list of numbers or null"),
    "preprocess": (_none_or(_is_mapping), "an object or null"),
    "input_shape": (_none_or(_is_mapping), "an object of shapes or null"),
    "states": (lambda value: isinstance(value, bool), "true or false"),
    "vocabulary": (_none_or(_are_counts), "a list of ids or null"),
}
