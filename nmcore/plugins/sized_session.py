"""A loaded model that is run at stated sizes, where it leaves sizes open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from nmcore.plugins.capabilities import output_names
from nmcore.plugins.inputs import InputSpec
from nmcore.plugins.open_sizes import Stated, with_stated
from nmcore.plugins.protocols import Session


class SizedSession:
    """A session that tells stated sizes as those of its inputs; it runs as it did.

    Parameters
    ----------
    session : Session
        The model.
    stated : mapping of str to shape
        The shapes of its inputs; see :func:`nmcore.plugins.open_sizes.with_stated`.

    Raises
    ------
    ArgumentError
        They do not fit the model.
    """

    def __init__(self, session: Session, stated: Stated) -> None:
        self._session = session
        self.inputs: Sequence[InputSpec] = with_stated(session.inputs, stated)
        self.output_names = output_names(session)

    @property
    def provider(self) -> str:
        """Where it runs now."""
        return self._session.provider

    @property
    def notice(self) -> str | None:
        """One line that a user should know."""
        return self._session.notice

    @property
    def threads(self) -> int:
        """How many threads one operator may use on the CPU."""
        return self._session.threads

    def run(
        self, feeds: Mapping[str, NDArray[Any]], *, divisible: bool = False
    ) -> list[NDArray[Any]]:
        """All outputs, in the model's order; see :class:`nmcore.plugins.protocols.Session`."""
        return self._session.run(feeds, divisible=divisible)


def sized(session: Session, stated: Stated | None) -> Session:
    """A session at stated sizes; as it is where none are stated."""
    return SizedSession(session, stated) if stated else session
