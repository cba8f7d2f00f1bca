"""Which units of recurrent layers that go both ways are kept or removed together.

Both directions of a layer keep as many units, but which forward unit makes one channel with which
backward one is free. As models come, the pairs are by number, so that a unit of no use stays with
one that is needed. Where they are paired by rank, the least needed unit of one direction with that
of the other, nearly as little is lost as if each were chosen alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nmcore.arrays.elimination import Problem, eliminate
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression.consumer_fit import selection_problem, variance
from nmcore.compression.moments import Moments
from nmcore.compression.reconstruction import Reconstruction
from nmcore.group import Consumer, Group, IntArray
from nmcore.plan.task import Task
from nmcore.plugins import capabilities, protocols, registry
from nmcore.utils.logs import step


def paired_by_rank(
    graph: protocols.Measurable, task: Task, calibration: CalibrationSet, providers: Sequence[str]
) -> protocols.Measurable:
    """A graph whose bidirectional layers that lose units by their error have them paired by rank;
    the graph itself where there are none.
    """
    by_error = not task.planned and task.options.criterion in ("auto", "error")
    if not by_error or not isinstance(graph, capabilities.Bidirectional):
        return graph
    directions = graph.tap_directions()
    if not directions:
        return graph
    walk = Reconstruction(graph, registry.runtime(), calibration, providers)
    groups = [
        group
        for group in graph.groups
        if group.name in directions and walk.fits(group) and _loses(group, task)
    ]
    if not groups:
        return graph
    walk.prepare()
    with step(f"pairing the units of {len(groups)} bidirectional layers"):
        backward = {
            group.name: pairs(consumers, seen, directions[group.name]).tolist()
            for group, consumers, seen in walk.curves.seen(groups)
        }
    return graph.paired(backward)


def _loses(group: Group, task: Task) -> bool:
    if task.budget is not None:
        return group.name in task.free
    return task.counts[group.name] < group.width


def pairs(
    consumers: Sequence[Consumer], seen: Sequence[Moments], directions: Sequence[Sequence[int]]
) -> IntArray:
    """The backward unit (N,) to pair with each forward one.

    Parameters
    ----------
    consumers, seen : sequence of Consumer, of Moments
        What reads the units, and what each reads.
    directions : sequence of sequence of int
        Of each tap of each consumer.

    Examples
    --------
    Forward unit 0 and backward unit 1 are hardly ever on:

    >>> weight = np.ones((1, 2, 2))
    >>> size = np.diag([0.01, 1.0, 2.0, 0.01])
    >>> cross = size @ np.ones((4, 1))
    >>> seen = Moments(99.0, np.zeros(4), size, np.zeros(1), cross.sum(axis=0), cross)
    >>> pairs([Consumer("next", weight)], [seen], [(0, 1)])
    array([1, 0])
    """
    width = consumers[0].weight.shape[1]
    problems = [_problem(*each, width) for each in zip(consumers, seen, directions, strict=True)]
    gone, _ = eliminate(problems, 1)
    order = np.append(gone, np.setdiff1d(np.arange(2 * width), gone))
    forward, backward = order[order < width], order[order >= width] - width
    found = np.empty(width, np.intp)
    found[forward] = backward
    return found


def _problem(consumer: Consumer, seen: Moments, directions: Sequence[int], width: int) -> Problem:
    """The problem of a consumer with each unit of each direction as a channel of its own.

    Units that it does not read are there as well, and do nothing.
    """
    own = (np.array(directions) * width + np.arange(width)[:, None]).ravel()
    outputs, count = len(consumer.weight), 2 * width
    weight = np.zeros((outputs, count, 1))
    weight[:, own, 0] = consumer.weight.reshape(outputs, -1)
    covariance = np.eye(count) * float(np.diagonal(seen.covariance).mean())
    covariance[np.ix_(own, own)] = seen.covariance
    mean, cross = np.zeros(count), np.zeros((count, outputs))
    mean[own], cross[own] = seen.mean, seen.cross
    alone = replace(consumer, weight=weight)
    moments = replace(seen, mean=mean, covariance=covariance, cross=cross)
    return selection_problem(alone, moments, variance([consumer], [seen]) or 1.0)
