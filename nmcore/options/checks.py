"""What options may be: one table of checks for Python and the command line."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from numbers import Real
from pathlib import Path
from typing import Any

from nmcore.arrays.criteria import CRITERIA
from nmcore.arrays.scaling import BN_FORMS
from nmcore.data.normalisation import normalisation
from nmcore.data.preprocessing import FORM, NUMBERS, spelt_out
from nmcore.errors import ArgumentError
from nmcore.options.amounts import BUDGETS
from nmcore.options.methods import METHODS, THEN

# Takes what was given and returns it in its plain form; a TypeError or ValueError says that it
# cannot be used.
Form = Callable[[Any], Any]

# So many letters of an unusable value are shown.
_SHOWN = 60


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in their plain forms: Python's own numbers, tuples of names, sequences as tuples.

    Parameters
    ----------
    given : mapping of str to object
        Arguments by their names in :func:`nmcore.compress`. None stands for what is not given.

    Returns
    -------
    dict
        The same names; arguments that no check is known for are passed on, and ``preprocess``
        becomes the scale, mean and std that it stands for, and a mapping of what else it says.

    Raises
    ------
    ArgumentError
        An argument is of the wrong kind or out of range; the message names it, what it is, and
        what is needed.

    Examples
    --------
    >>> checked({"ratio": 0, "exclude": "head*", "keep": None})
    {'ratio': 0.0, 'exclude': ('head*',), 'keep': None}
    >>> checked({"macs": "half"})
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: macs is 'half'; a share above 0 and at most 1 is needed
    """
    plain = {name: _checked(name, value) for name, value in given.items()}
    _spell_out(plain)
    normalisation(plain.get("scale"), plain.get("mean"), plain.get("std"))
    return plain


def _spell_out(options: dict[str, Any]) -> None:
    """Let scale, mean and std take the place of a preprocessing; what else it says stays there."""
    if options.get("preprocess") is None:
        return
    found = spelt_out(options["preprocess"])
    stated = [each for each in NUMBERS if each in found and options.get(each) is not None]
    if stated:
        raise ArgumentError(f"preprocess and {stated[0]} were given; leave out either")
    numbers = {name: value for name, value in found.items() if name in NUMBERS}
    options |= {name: _checked(name, value) for name, value in numbers.items()}
    options["preprocess"] = {name: found[name] for name in FORM if name in found} or None


def _checked(name: str, value: Any) -> Any:
    if name not in OPTIONS or (value is None and name not in _NEVER_NONE):
        return value
    form, needed = OPTIONS[name]
    try:
        return form(value)
    except (TypeError, ValueError, OverflowError):
        shown = " ".join(repr(value).split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
        option = name.replace("_", "-")
        raise ArgumentError(f"{option} is {shown}; {needed} is needed") from None


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def _number(value: Any) -> float:
    _require(isinstance(value, Real) and not isinstance(value, bool))
    return float(value)


def _within(low: float, high: float, *, without: Sequence[float] = ()) -> Form:
    """A number in [low, high] other than some."""

    def form(value: Any) -> float:
        number = _number(value)
        _require(low <= number <= high and number not in without)
        return number

    return form


def _whole(least: int) -> Form:
    def form(value: Any) -> int:
        _require(not isinstance(value, bool))
        number = operator.index(value)
        _require(number >= least)
        return number

    return form


def _one_of(*names: str) -> tuple[Form, str]:
    def form(value: Any) -> str:
        _require(isinstance(value, str) and value in names)
        return str(value)

    return form, f"one of {', '.join(names)}"


def _true_or_false(value: Any) -> bool:
    _require(isinstance(value, bool))
    return bool(value)


def _numbers(value: Any) -> tuple[float, ...]:
    """One number, or several in a row."""
    if isinstance(value, Real):
        return (_number(value),)
    _require(not isinstance(value, (str, Mapping)))
    return tuple(map(_number, value))


def _names(value: Any) -> tuple[str, ...]:
    """Texts; one alone needs no list around it."""
    names = (value,) if isinstance(value, str) else tuple(value)
    _require(not isinstance(value, Mapping) and all(isinstance(name, str) for name in names))
    return names


def _patterns(value: Any) -> tuple[str, ...]:
    return () if value is None else _names(value)


def _keep(value: Any) -> dict[str, int]:
    _require(isinstance(value, Mapping) and all(isinstance(name, str) for name in value))
    return {name: operator.index(count) for name, count in value.items()}


def _preprocess(value: Any) -> Any:
    _require(isinstance(value, (str, Path, Mapping)))
    return value


def _shapes(value: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by the names of inputs; one alone is that of a model's only input, ""."""
    named = value if isinstance(value, Mapping) else {"": value}
    _require(all(isinstance(name, str) for name in named))
    shapes = {name: tuple(map(_whole(1), shape)) for name, shape in named.items()}
    _require(all(shapes.values()) and len(shapes) > 0)
    return shapes


def _round_to(value: Any) -> int | str:
    return "auto" if isinstance(value, str) and value == "auto" else int(_whole(1)(value))


def _vocabulary(value: Any) -> int | tuple[int, ...] | Path:
    """How many rows, or which, or a file that lists them."""
    if isinstance(value, (str, Path)):
        try:
            number = float(str(value))
        except ValueError:
            return Path(value)
        _require(number.is_integer())
        return int(_whole(1)(int(number)))
    if isinstance(value, Iterable):
        return tuple(sorted({operator.index(each) for each in value}))
    return int(_whole(1)(value))


def _called(value: Any) -> Any:
    _require(callable(value))
    return value


def _executor(value: Any) -> Executor:
    _require(isinstance(value, Executor))
    return value  # type: ignore[no-any-return]


_SHARE = (_within(0, 1, without=(0,)), "a share above 0 and at most 1")
_NUMBERS = (_numbers, "a number, or one a channel,")
_PATTERNS = (_patterns, "a pattern or a list of patterns")

# By the names of :func:`nmcore.compress`: the form, and what is needed in words.
OPTIONS: Mapping[str, tuple[Form, str]] = {
    "ratio": (_within(0, 1, without=(1,)), "a share of at least 0 and below 1"),
    **dict.fromkeys(BUDGETS, _SHARE),
    "max_drop": (
        _within(0, 100, without=(100,)),
        "a number of percentage points, at least 0 and below 100,",
    ),
    "round_to": (_round_to, "auto or a whole number from 1"),
    "method": _one_of("auto", *METHODS),
    "criterion": _one_of("auto", *CRITERIA),
    "threshold": (_within(-1, 1), "a number from -1 to 1"),
    "lam": (_within(0, 1), "a number from 0 to 1"),
    "bn_form": _one_of("auto", *BN_FORMS),
    "keep": (_keep, "a mapping of pattern to whole number, such as {'conv1': 8},"),
    "exclude": _PATTERNS,
    "only": _PATTERNS,
    "vocabulary": (_vocabulary, "a number of rows from 1, ids, or a file of ids"),
    "states": (_true_or_false, "True or False"),
    "samples": (_whole(1), "a whole number from 1"),
    "preprocess": (_preprocess, "a name, a file, or a mapping of what such a file holds"),
    "scale": (_number, "a number"),
    "mean": _NUMBERS,
    "std": _NUMBERS,
    "labels": (Path, "a file"),
    "input_shape": (_shapes, "a shape such as 1x3x640x640, or one for each name of an input,"),
    "then": _one_of(*THEN),
    "verify": (_true_or_false, "True or False"),
    "providers": (_names, "a name or a list of names, of auto, cuda and cpu,"),
    "threads": (_whole(0), "a whole number from 0"),
    "runs": (_whole(1), "a whole number from 1"),
    "seed": (_whole(0), "a whole number from 0"),
    "tries": (_whole(1), "a whole number from 1"),
    "executor": (_executor, "a concurrent.futures.Executor"),
    "progress": (_called, "a function of a text and an iterable"),
}
# These have a default that is no None, which therefore stands for nothing.
_NEVER_NONE = frozenset(
    (
        *(
            "method",
            "criterion",
            "bn_form",
            "exclude",
            "only",
            "states",
            "verify",
            "providers",
            "threads",
        ),
        *("seed", "tries", "progress", "states"),
    )
)


def plain(value: Any) -> Any:
    """The value of an option as JSON has it: lists for tuples and arrays, Python's own numbers.

    >>> plain((0.5, 1)), plain(3), plain({"x": (1, 3)})
    ([0.5, 1], 3, {'x': [1, 3]})
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (tuple, list)) else value
