"""The disclosure-risk gate: k-anonymity in persons, l-diversity, t-closeness (docs/disclosure-risk.md)."""

from __future__ import annotations

from sharing.risk.gate import Gate
from sharing.risk.persons import Together, TogetherPlan
from sharing.risk.plan import Plan

__all__ = ["Gate", "Plan", "Together", "TogetherPlan"]
