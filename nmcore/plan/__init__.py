"""The decision as data: which channels each group keeps, and what became of it."""

from nmcore.plan.plan import GroupPlan, Plan, Source
from nmcore.plan.serialization import load_plan

__all__ = ["GroupPlan", "Plan", "Source", "load_plan"]
