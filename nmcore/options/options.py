"""The options of a compression, typed and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nmcore.data.normalisation import Normalisation, normalisation
from nmcore.data.picture_form import PictureForm
from nmcore.options import checks

# The published weight of the cosine distance.
LAM = 0.85


@dataclass(frozen=True)
class MethodOptions:
    """How channels are chosen and compensated; the words of the command line.

    Attributes
    ----------
    method : str
        How the removed channels are made up for: ``prune`` (not at all), ``merge`` (each by its
        most similar kept one), ``moments`` (all by all kept ones, fitted to measured moments), or
        another of :data:`nmcore.options.methods.METHODS`; ``auto`` takes the best applicable one.
    criterion : str
        The score by which channels are kept, of :data:`nmcore.arrays.criteria.CRITERIA`; ``auto``
        takes what suits the method and the graph.
    threshold : float or None
        Merge only where the cosine reaches it; None takes the published value for the form.
    lam : float or None
        Weight of the cosine distance against the bias distance, where there is one; None takes
        the published 0.85.
    bn_form : {"auto", "released", "folded"}
        How a batch norm enters the similarity; see :func:`nmcore.scaling_matrix`.
    seed : int
        For whatever is random.
    """

    method: str = "auto"
    criterion: str = "auto"
    threshold: float | None = None
    lam: float | None = None
    bn_form: str = "auto"
    seed: int = 0

    @property
    def of_merging(self) -> list[str]:
        """Which of those that only ``merge`` reads were given, in the words of the user."""
        given = {
            "threshold": self.threshold is not None,
            "lam": self.lam is not None,
            "bn-form": self.bn_form != "auto",
        }
        return [word for word, is_given in given.items() if is_given]


@dataclass(frozen=True)
class CompressOptions:
    """What :func:`nmcore.compress` can be told, apart from the model, the data and the plan.

    The attributes are the keyword arguments of the same names, which are documented there;
    :meth:`checked` makes them from what a user gave.
    """

    ratio: float | None = None
    macs: float | None = None
    params: float | None = None
    latency: float | None = None
    max_drop: float | None = None
    round_to: int | str | None = None
    method: str = "auto"
    criterion: str = "auto"
    threshold: float | None = None
    lam: float | None = None
    bn_form: str = "auto"
    keep: Mapping[str, int] | None = None
    exclude: Sequence[str] = ()
    only: Sequence[str] = ()
    vocabulary: int | Sequence[int] | Path | None = None
    states: bool = False
    samples: int | None = None
    scale: float | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    preprocess: Mapping[str, Any] | None = None
    labels: Path | None = None
    input_shape: Mapping[str, Sequence[int]] | None = None
    then: str | None = None
    verify: bool = False
    providers: Sequence[str] = ("auto",)
    threads: int = 0
    seed: int = 0
    tries: int = 1

    @classmethod
    def checked(cls, **given: Any) -> CompressOptions:
        """The options from what a user gave, in their plain forms.

        Raises
        ------
        nmcore.errors.ArgumentError
            One is of the wrong kind or out of range.

        Examples
        --------
        >>> CompressOptions.checked(ratio=0, exclude="head*").exclude
        ('head*',)
        >>> CompressOptions.checked(macs="half")
        Traceback (most recent call last):
        nmcore.errors.ArgumentError: macs is 'half'; a share above 0 and at most 1 is needed
        """
        plain = checks.checked(given)
        for name, value in plain.items():
            if isinstance(value, dict):
                plain[name] = MappingProxyType(value)
        return cls(**plain)

    @property
    def changed(self) -> dict[str, Any]:
        """The options that differ from their defaults, by name."""
        return {
            each.name: dict(value) if isinstance(value, Mapping) else value
            for each in fields(self)
            if (value := getattr(self, each.name)) != each.default
        }

    @property
    def of_method(self) -> MethodOptions:
        """How channels are chosen and compensated."""
        return MethodOptions(
            self.method, self.criterion, self.threshold, self.lam, self.bn_form, self.seed
        )

    @property
    def normalisation(self) -> Normalisation | None:
        """What raw inputs go through."""
        form = None if self.preprocess is None else PictureForm(**self.preprocess)
        return normalisation(self.scale, self.mean, self.std, form)
