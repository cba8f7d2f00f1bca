"""The decision as data: which channels each group keeps, by which method, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmcore.utils.files import atomic_write, checked_path

# The method of a group that keeps all channels.
UNTOUCHED = "none"
# Of the form of the JSON.
VERSION = 1


@dataclass(frozen=True)
class GroupPlan:
    """What happens to one group.

    Attributes
    ----------
    name : str
        The group's name.
    width : int
        Channels before; 0 in a plan from elsewhere that does not say.
    kept : tuple of int
        The kept channels, ascending.
    method : str
        How the removed ones are compensated (``"none"`` where nothing is removed, empty in a plan
        from elsewhere that does not say).
    reason : str
        Why this number and this method.
    backward : tuple of int
        In a recurrent layer that goes both ways, the backward units that make one channel with
        forward units 0, 1, ...; empty where these are units 0, 1, ... too.
    """

    name: str
    width: int
    kept: tuple[int, ...]
    method: str = ""
    reason: str = ""
    backward: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """What a plan rests on, so that another file is recognised.

    Attributes
    ----------
    file : str or None
        The file's name without its folder; None for an object in memory.
    sha256 : str
        The digest of its content, in hexadecimal digits.
    """

    file: str | None
    sha256: str


@dataclass(frozen=True)
class Plan:
    """The decision for the groups of a model; groups that it does not name keep all channels.

    Attributes
    ----------
    groups : tuple of GroupPlan
        In topological order where nmcore made the plan.
    options : mapping of str to number, str, list or None
        The options that the result depends on, by their names in :func:`nmcore.compress`. Empty in
        a plan from elsewhere, which says which channels are kept and nothing else.
    model : Source or None
        The model that the plan was made for; None fits any model with these groups.
    data : Source or None
        The calibration data that the result depends on.
    call : str
        How the plan was made.
    versions : mapping of package to version
        What it was made with.

    Examples
    --------
    >>> import tempfile
    >>> from nmcore.plan import GroupPlan, Plan, load_plan
    >>> plan = Plan((GroupPlan("conv1", 4, (0, 2), "merge", "asked for"),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plan.save(f"{folder}/plan.json")
    ...     load_plan(f"{folder}/plan.json") == plan
    True
    """

    groups: tuple[GroupPlan, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    model: Source | None = None
    data: Source | None = None
    call: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers, as :meth:`save` writes them."""
        found: dict[str, Any] = json.loads(text(self))
        return found

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON, a group a line; a crash leaves the old file or none.

        Raises
        ------
        nmcore.errors.ArgumentError
            The file cannot be written.
        """
        atomic_write(checked_path(path), text(self).encode())


def text(plan: Plan) -> str:
    """A plan as JSON that a person can read and edit.

    Examples
    --------
    >>> print(text(Plan((GroupPlan("conv1", 4, (0, 2), "merge", "l1"),))), end="")
    {
      "plan_version": 1,
      "groups": [
        {"name": "conv1", "width": 4, "kept": [0, 2], "method": "merge", "reason": "l1"}
      ]
    }
    """
    data = as_dict(plan)
    groups = ",\n".join(f"    {_line(group)}" for group in data.pop("groups"))
    lines = [f'  "{key}": {_line(value)},\n' for key, value in data.items()]
    inside = f"\n{groups}\n  " if groups else ""
    return f'{{\n{"".join(lines)}  "groups": [{inside}]\n}}\n'


def as_dict(plan: Plan) -> dict[str, Any]:
    """A plan as the reader takes it; what it does not say is left out."""
    data: dict[str, Any] = {"plan_version": VERSION}
    if plan.model is not None:
        data["model"] = vars(plan.model)
    if plan.options or plan.data is not None:
        # That there was no data is told as well.
        data["data"] = None if plan.data is None else vars(plan.data)
    for name in ("options", "call", "versions"):
        if value := getattr(plan, name):
            data[name] = value
    return data | {"groups": [_stated(group) for group in plan.groups]}


def _stated(group: GroupPlan) -> dict[str, Any]:
    always = ("name", "kept")
    return {name: value for name, value in vars(group).items() if value or name in always}


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
