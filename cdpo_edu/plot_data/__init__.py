"""The numbers that pictures draw, and each picture in words; nothing here touches matplotlib.

A ``*_data`` function returns every number that will be drawn, and its ``describe()`` says in one sentence
what the picture shows (the text alternative). The ``plot_*`` function of the same name puts them on axes.

Left out: ink, and problems with several limits at once.

Reference: Liu, Sun and Zheng 2024, arXiv 2403.02475.
"""

from __future__ import annotations

from .dual import DualCurve, DualData, DualPathData, dual_curve, dual_data, dual_path_data
from .policies import ComparisonData, FrontierData, PolicyData, comparison_data, frontier_data, policy_data
from .words import AXIS, Array

__all__ = [
    "AXIS",
    "Array",
    "ComparisonData",
    "DualCurve",
    "DualData",
    "DualPathData",
    "FrontierData",
    "PolicyData",
    "comparison_data",
    "dual_curve",
    "dual_data",
    "dual_path_data",
    "frontier_data",
    "policy_data",
]
