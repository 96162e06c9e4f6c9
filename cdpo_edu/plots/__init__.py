"""Draw what the method does: the dual, a run, a policy, the frontier, the rules' race, the limits' map.

Each picture comes in two steps. A ``*_data`` function returns every number that will be drawn, and its
``describe()`` says in one sentence what the picture shows (the text alternative). The ``plot_*`` function
of the same name only puts ink on axes: data first, everything else by keyword, ``ax=None`` opens a new
figure, the axes come back. Colours carry one meaning everywhere: blue is the run or the policy shown,
black dashed the exact optimum, vermillion the limit C and everything above it, grey the reference.

Left out: anything that moves (the widgets draw the same data), and problems with more than two limits,
save for `plot_kkt`, which takes any number.

Reference: Liu, Sun and Zheng 2024, arXiv 2403.02475; colours: Okabe and Ito 2008.
"""

from __future__ import annotations

from ..plot_data import (
    AXIS,
    Array,
    CalibrationData,
    ComparisonData,
    Condition,
    DualCurve,
    DualData,
    DualPathData,
    FrontierData,
    IdentifiabilityData,
    IslandsData,
    KKTData,
    LamTail,
    MassData,
    PhaseMapData,
    PolicyData,
    RefusalData,
    RelabellingData,
    StandingsData,
    TwoConstraintsData,
    UpdateRulesData,
    calibration_data,
    comparison_data,
    dual_curve,
    dual_data,
    dual_path_data,
    frontier_data,
    identifiability_data,
    islands_data,
    kkt_data,
    mass_data,
    phase_map_data,
    policy_data,
    refusal_data,
    relabelling_data,
    standings_data,
    two_constraints_data,
    update_rules_data,
)
from .calibration import plot_calibration
from .dual import plot_dual
from .identifiability import plot_identifiability
from .ink import EXACT, LIMIT, REFERENCE, RUN, TANGENT, blank_axes, house_style, svg_bytes
from .islands import plot_islands
from .kkt import plot_kkt
from .mass import plot_mass
from .path import plot_dual_path
from .phases import plot_phase_map
from .policies import plot_comparison, plot_frontier, plot_policy
from .refusal import plot_refusal
from .relabelling import plot_relabelling
from .rules import plot_update_rules
from .standings import plot_standings
from .two_limits import plot_two_constraints

__all__ = [
    "AXIS",
    "Array",
    "CalibrationData",
    "ComparisonData",
    "Condition",
    "DualCurve",
    "DualData",
    "DualPathData",
    "EXACT",
    "FrontierData",
    "IdentifiabilityData",
    "IslandsData",
    "KKTData",
    "LIMIT",
    "LamTail",
    "MassData",
    "PhaseMapData",
    "PolicyData",
    "REFERENCE",
    "RUN",
    "RelabellingData",
    "RefusalData",
    "StandingsData",
    "TANGENT",
    "TwoConstraintsData",
    "UpdateRulesData",
    "blank_axes",
    "calibration_data",
    "comparison_data",
    "dual_curve",
    "dual_data",
    "dual_path_data",
    "frontier_data",
    "house_style",
    "identifiability_data",
    "islands_data",
    "kkt_data",
    "mass_data",
    "phase_map_data",
    "plot_calibration",
    "plot_comparison",
    "plot_dual",
    "plot_dual_path",
    "plot_frontier",
    "plot_identifiability",
    "plot_islands",
    "plot_kkt",
    "plot_mass",
    "plot_phase_map",
    "plot_policy",
    "plot_relabelling",
    "plot_two_constraints",
    "plot_update_rules",
    "policy_data",
    "relabelling_data",
    "plot_refusal",
    "plot_standings",
    "plot_two_constraints",
    "plot_update_rules",
    "policy_data",
    "refusal_data",
    "standings_data",
    "svg_bytes",
    "two_constraints_data",
    "update_rules_data",
]
