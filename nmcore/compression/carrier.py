"""A network run in parts, over all inputs: each part begins where the last one ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression.moments import (
    ALONE,
    WITH_SUM,
    WITH_TARGETS,
    Measured,
    Sums,
    add_outputs,
)
from nmcore.compression.refit import is_scarce
from nmcore.compression.stream import MEMORY, Stream
from nmcore.data.batches import Feeds, length_of
from nmcore.errors import ModelError, OutOfMemoryError
from nmcore.group import Reading, ScorePair
from nmcore.plugins import capabilities, protocols
from nmcore.utils.chunks import in_chunks
from nmcore.utils.progress import Progress, silent

log = logging.getLogger(__name__)

# Rows that each set of moments is summed over at most; more change little and cost time.
MAX_ROWS = 40_000
# Numbers in the unfolded input of a consumer that one run makes; it takes a few times as many.
_RUN_NUMBERS = 2**25
# Numbers in the moments of one probe, so that its outputs take a bounded amount of memory.
PROBE_NUMBERS = 2**26


@dataclass(eq=False)
class _Carried:
    """Inputs in batches, and how far the networks have been carried on them.

    Attributes
    ----------
    batches : list of Feeds
        The inputs.
    streams : list of Stream
        Of the network as it stands, and of the original where it runs too.
    """

    batches: list[Feeds]
    streams: list[Stream]

    def fed(self, number: int) -> Feeds:
        """What a probe reads for a batch: the inputs, and what is carried."""
        carried = {k: v for each in self.streams for k, v in each.feeds(number).items()}
        return {**self.batches[number], **carried}


@dataclass(eq=False)
class Carrier:
    """Runs probes from cut to cut and carries what is live there.

    Inputs that judge fits follow only to steps with fits to judge: from where they were left,
    through all that has changed since.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    calibration : CalibrationSet
        What the network is shown.
    session : callable
        Loads a model.
    targets : bool
        Whether the original runs too, and inputs that nothing is fitted to.
    rows : callable
        How many rows the moments of a reading are summed over at most.
    """

    graph: protocols.Measurable
    calibration: CalibrationSet
    session: Callable[[bytes], protocols.Session]
    targets: bool
    rows: Callable[[Reading], int] = lambda _: MAX_ROWS

    @cached_property
    def _fitted(self) -> _Carried:
        """The inputs to fit to, in batches that the heaviest consumer allows."""
        return self._divided(self._most, unseen=False)

    @cached_property
    def _held(self) -> _Carried:
        """The inputs that judge."""
        return self._divided(self._most, unseen=True)

    @property
    def _most(self) -> int:
        heaviest = max(map(self.graph.unfolded_numbers, self.graph.readings()), default=1)
        return max(1, _RUN_NUMBERS // max(1, heaviest))

    def _divided(self, most: int, *, unseen: bool) -> _Carried:
        # Fewer inputs judge than are fitted to.
        memory = MEMORY // 4 if unseen else MEMORY
        streams = [Stream(memory)]
        if self.targets:
            streams.append(Stream(memory, original=True))
        return _Carried(list(self.calibration.in_batches_of(most, unseen=unseen)), streams)

    def sums(
        self,
        readings: Sequence[Reading],
        *cuts: Sequence[protocols.Carried] | None,
        progress: Progress = silent,
    ) -> list[Measured]:
        """The sums of several readings, in as many runs as memory wants.

        Parameters
        ----------
        *cuts : sequence of Carried or None
            What is carried on of the network as it stands, and of the original, which nothing
            changes, so that it may be carried further; of neither without any.
        """
        while True:
            try:
                fitted = self._sums(self._fitted, readings, cuts, progress)
                held = [Sums() for _ in readings]
                if self._is_judged(readings, fitted):
                    held = self._sums(self._held, readings, cuts, progress)
                return list(map(Measured, fitted, held))
            except OutOfMemoryError as error:
                self._shorten(error)

    def _is_judged(self, readings: Sequence[Reading], fitted: Sequence[Sums]) -> bool:
        """Whether one of some fits is to be judged by other inputs."""
        if not (self.targets and self._held.batches):
            return False
        widths = [self.graph.consumer(reading).features for reading in readings]
        return any(is_scarce(f.rows, width) for f, width in zip(fitted, widths, strict=True))

    def _shorten(self, error: OutOfMemoryError) -> None:
        """Begin anew, with fewer inputs in a run; carried values belong to their batches."""
        longest = max(map(length_of, [*self._fitted.batches, *self._held.batches]))
        if longest == 1:
            raise OutOfMemoryError(f"{error} for a single input") from error
        if not self.calibration.any_length:
            why = f"for {longest} inputs at once, as many as it takes"
            raise OutOfMemoryError(f"{error} {why}") from error
        most = (longest + 1) // 2
        log.info("memory does not suffice for %d inputs at once: trying %d", longest, most)
        self._fitted, self._held = (self._divided(most, unseen=each) for each in (False, True))

    def clear(self) -> None:
        """Give up what has been carried: the next part begins at the inputs."""
        for stream in (*self._fitted.streams, *self._held.streams):
            stream.clear()

    def _in_parts(self, readings: Sequence[Reading]) -> list[list[Reading]]:
        """Readings whose moments fit into memory together; one part without any where none are."""

        def numbers(reading: Reading) -> int:
            return self.graph.consumer(reading).features ** 2

        return list(in_chunks(readings, numbers, PROBE_NUMBERS)) or [[]]

    def _sums(
        self,
        shown: _Carried,
        readings: Sequence[Reading],
        cuts: Sequence[Sequence[protocols.Carried] | None],
        progress: Progress,
    ) -> list[Sums]:
        """The sums of several readings over some inputs, in as many runs as memory wants."""
        parts = self._in_parts(readings)
        onward = [cut or () for cut in cuts] if any(cuts) else []
        return [
            sums
            for number, part in enumerate(parts, start=1)
            for sums in self._run(shown, part, onward if number == len(parts) else [], progress)
        ]

    def _run(
        self,
        shown: _Carried,
        readings: Sequence[Reading],
        cuts: Sequence[Sequence[protocols.Carried]],
        progress: Progress,
    ) -> list[Sums]:
        """The sums of some readings; without cuts the streams stay where they are."""
        ends = cuts or [stream.start for stream in shown.streams]
        spans = [stream.to(end) for stream, end in zip(shown.streams, ends, strict=True)]
        model = self.graph.moment_probe(
            readings,
            rows=[self.rows(reading) for reading in readings],
            samples=self.calibration.count,
            current=spans[0],
            original=spans[1] if self.targets else None,
        )
        session = self.session(model)
        arriving = [stream.expect(cut) for stream, cut in zip(shown.streams, cuts, strict=False)]
        sizes = [self._size(reading) for reading in readings]
        found = [Sums() for _ in readings]
        for number, feeds in enumerate(progress("measuring", shown.batches)):
            divisible = self.calibration.any_length and length_of(feeds) > 1
            outputs = iter(session.run(shown.fed(number), divisible=divisible))
            add_outputs(found, list(islice(outputs, sum(sizes))), sizes)
            for each in arriving:
                each.add(list(islice(outputs, len(each.carried))))
        for each in arriving:
            each.done()
        self._check(found, readings)
        return found

    def _size(self, reading: Reading) -> int:
        """How many outputs a probe has for a reading."""
        if self.targets:
            return WITH_TARGETS
        return WITH_SUM if self.graph.consumer(reading).feeds_sum else ALONE

    def _check(self, sums: Sequence[Sums], readings: Sequence[Reading]) -> None:
        """Raise an error where sums hold NaN or infinity."""
        if not all(each.is_finite for each in sums):
            nodes = ", ".join(repr(self.graph.consumer(reading).name) for reading in readings)
            raise ModelError(
                f"what reaches {nodes} holds NaN or infinity on these inputs; "
                "are the model's weights damaged?"
            )

    def score_sums(self, pairs: Sequence[ScorePair]) -> list[Sums]:
        """The sums over queries and keys of each pair, where the last part ended."""
        assert isinstance(self.graph, capabilities.Narrowable)
        shown = self._fitted
        model = self.graph.score_probe(
            pairs, rows=MAX_ROWS, samples=self.calibration.count, start=shown.streams[0].start
        )
        session = self.session(model)
        needed = {spec.name for spec in session.inputs}
        found = [Sums() for _ in pairs for _ in range(2)]
        for number in range(len(shown.batches)):
            given = shown.fed(number)
            outputs = session.run({name: given[name] for name in given if name in needed})
            add_outputs(found, outputs, [ALONE] * len(found))
        if not all(each.is_finite for each in found):
            names = ", ".join(repr(pair.name) for pair in pairs)
            raise ModelError(f"queries or keys of {names} hold NaN or infinity on these inputs")
        return found
