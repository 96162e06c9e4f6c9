"""Draw the dual, a run, a policy, the frontier and the comparison of policies.

Each picture comes in two steps. A ``*_data`` function returns every number that will be drawn, and its
``describe()`` says in one sentence what the picture shows (the text alternative). The ``plot_*`` function
of the same name only puts ink on axes: data first, everything else by keyword, ``ax=None`` opens a new
figure, the axes come back. Colours carry one meaning everywhere: blue is the run or the policy shown,
black dashed the exact optimum, vermillion the limit C and everything above it, grey the reference.

Left out: anything that moves (the widgets draw the same data), and problems with several limits at once.

Reference: Liu, Sun and Zheng 2024, arXiv 2403.02475; colours: Okabe and Ito 2008.
"""

from __future__ import annotations

from ..plot_data import (
    AXIS,
    Array,
    ComparisonData,
    DualCurve,
    DualData,
    DualPathData,
    FrontierData,
    PolicyData,
    comparison_data,
    dual_curve,
    dual_data,
    dual_path_data,
    frontier_data,
    policy_data,
)
from .dual import plot_dual, plot_dual_path
from .ink import EXACT, LIMIT, REFERENCE, RUN, TANGENT, blank_axes, house_style, svg_bytes
from .policies import plot_comparison, plot_frontier, plot_policy

__all__ = [
    "AXIS",
    "Array",
    "ComparisonData",
    "DualCurve",
    "DualData",
    "DualPathData",
    "EXACT",
    "FrontierData",
    "LIMIT",
    "PolicyData",
    "REFERENCE",
    "RUN",
    "TANGENT",
    "blank_axes",
    "comparison_data",
    "dual_curve",
    "dual_data",
    "dual_path_data",
    "frontier_data",
    "house_style",
    "plot_comparison",
    "plot_dual",
    "plot_dual_path",
    "plot_frontier",
    "plot_policy",
    "policy_data",
    "svg_bytes",
]
