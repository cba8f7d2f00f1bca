"""Layers that are fitted together, once the channels of all groups are cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression.joint.block_refit import BlockRefit
from nmcore.compression.joint.pair_refit import PairRefit
from nmcore.group import Group
from nmcore.plan.task import Task
from nmcore.plugins import protocols
from nmcore.utils.logs import step


@dataclass(frozen=True, eq=False)
class JointRefit:
    """Pairs of fully connected layers, and residual blocks.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    original : Graph
        The same before anything was changed.
    session : callable
        Loads a model.
    calibration : CalibrationSet
        What the network is shown.
    """

    graph: protocols.Measurable
    original: protocols.Graph
    session: Callable[[bytes], protocols.Session]
    calibration: CalibrationSet

    def __call__(self, changed: Sequence[Group], refitted: Collection[str], task: Task) -> None:
        """Fit what reads groups that have lost channels.

        Parameters
        ----------
        changed : sequence of Group
            These groups.
        refitted : collection of str
            Those whose consumers may be fitted; others have a scaling matrix.
        task : Task
            Whether blocks are wanted, and how progress is shown.
        """
        fitted = [group for group in changed if group.name in refitted]
        with step("refitting pairs of layers"):
            PairRefit(self.graph, self.session, self.calibration)(fitted)
        if not task.fits_blocks:
            return
        with step("refitting blocks"):
            refit_blocks = BlockRefit(self.graph, self.original, self.session, self.calibration)
            names = {group.name for group in fitted}
            refit_blocks(names, {group.name for group in changed} - names, task.progress)
