"""Values of a network at a cut of its graph, carried from one step of the walk to the next.

A probe that begins at a cut runs only what lies behind it, so that a walk over all consumers costs
about one pass of each network instead of one a step. The arrays stay in memory up to a bound; what
is more goes to temporary files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, NamedTuple

import numpy as np

from nmcore.data.batches import Feeds
from nmcore.group import Array
from nmcore.plugins.protocols import Carried, Span

# So many bytes of carried values stay in memory; writing them takes as long as some layers do.
MEMORY = 2**29


class Batch(NamedTuple):
    """Inputs of one run, and whether they are those that nothing is fitted to."""

    feeds: Feeds
    unseen: bool


class _InFile(NamedTuple):
    """Where an array lies in a file."""

    place: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


@dataclass(eq=False)
class _Kept:
    """One value, an array for each batch."""

    carried: Carried
    arrays: list[Array | _InFile | None] = field(default_factory=list)
    file: IO[bytes] | None = None

    def add(self, array: Array, *, in_memory: bool) -> None:
        if in_memory:
            # What a runtime gives may keep all the memory of its session.
            self.arrays.append(array.copy())
            return
        if self.file is None:
            self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.arrays.append(_InFile(self.file.seek(0, 2), array.dtype, array.shape))
        self.file.write(np.ascontiguousarray(array).data)

    def get(self, number: int) -> Array:
        found = self.arrays[number]
        assert found is not None
        if not isinstance(found, _InFile):
            return found
        assert self.file is not None
        self.file.seek(found.place)
        array = np.empty(found.shape, found.dtype)
        self.file.readinto(array.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined]
        return array

    @property
    def nbytes(self) -> int:
        """The bytes that are held in memory."""
        return sum(each.nbytes for each in self.arrays if isinstance(each, np.ndarray))


@dataclass(eq=False)
class Stream:
    """What has been carried of a network to the cut where its walk stands.

    Attributes
    ----------
    memory : int
        So many bytes stay in memory.
    original : bool
        Whether it is the original, whose inputs of a probe have other names.
    """

    memory: int = MEMORY
    original: bool = False
    _kept: dict[str, _Kept] = field(default_factory=dict)

    @property
    def start(self) -> list[Carried]:
        """The values that the next probe begins with."""
        return [each.carried for each in self._kept.values()]

    def missing(self, cut: Iterable[Carried]) -> list[Carried]:
        """Those values of a cut that are not held yet."""
        return [carried for carried in cut if carried.name not in self._kept]

    def to(self, cut: Iterable[Carried]) -> Span:
        """The part of the network from where it stands up to a cut."""
        return Span(self.start, self.missing(cut))

    def feeds(self, batch: int) -> dict[str, Array]:
        """What a probe that begins with :attr:`start` reads for a batch, besides the inputs."""
        return {self._name(each.carried): each.get(batch) for each in self._kept.values()}

    def _name(self, carried: Carried) -> str:
        return carried.original if self.original else carried.current

    def expect(self, cut: Sequence[Carried]) -> Arrival:
        """Receive what is missing at a cut batch by batch; then nothing else is kept."""
        return Arrival(self, self.missing(cut), {each.name for each in cut})

    def clear(self) -> None:
        """Forget everything: the next probe begins at the inputs."""
        self._kept.clear()

    @property
    def held(self) -> int:
        """The bytes in memory."""
        return sum(each.nbytes for each in self._kept.values())


@dataclass(eq=False)
class Arrival:
    """Values on their way into a stream."""

    stream: Stream
    carried: Sequence[Carried]
    cut: set[str]
    _kept: list[_Kept] = field(default_factory=list)
    _added: int = 0

    def add(self, arrays: Sequence[Array]) -> None:
        """The values of a batch. What is not live at the cut is given up for it."""
        if not self._kept:
            self._kept = [_Kept(each) for each in self.carried]
        number, self._added = self._added, self._added + 1
        for name, dead in self.stream._kept.items():
            if name not in self.cut:
                dead.arrays[number] = None
        held = self.stream.held + sum(kept.nbytes for kept in self._kept)
        for kept, array in zip(self._kept, arrays, strict=True):
            in_memory = held + array.nbytes <= self.stream.memory
            kept.add(array, in_memory=in_memory)
            held += array.nbytes if in_memory else 0

    def done(self) -> None:
        """All batches have been added."""
        known = self.stream._kept
        known.update({kept.carried.name: kept for kept in self._kept})
        for name in set(known) - self.cut:
            del known[name]
