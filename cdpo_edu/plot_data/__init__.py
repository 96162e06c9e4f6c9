"""The numbers that pictures draw, and each picture in words; nothing here touches matplotlib.

A ``*_data`` function returns every number that will be drawn, and its ``describe()`` says in one sentence
what the picture shows (the text alternative). The ``plot_*`` function of the same name puts them on axes.

Left out: ink, and problems with more than two limits, save for `kkt_data`, which takes any number.

Reference: Liu, Sun and Zheng 2024, arXiv 2403.02475.
"""

from __future__ import annotations

from .calibration import CalibrationData, calibration_data
from .dual import DualCurve, DualData, dual_curve, dual_data
from .identifiability import IdentifiabilityData, identifiability_data
from .islands import IslandsData, islands_data
from .kkt import Condition, KKTData, kkt_data
from .mass import MassData, mass_data
from .path import DualPathData, LamTail, dual_path_data
from .phases import PhaseMapData, phase_map_data
from .policies import ComparisonData, FrontierData, PolicyData, comparison_data, frontier_data, policy_data
from .refusal import RefusalData, refusal_data
from .relabelling import RelabellingData, relabelling_data
from .rules import UpdateRulesData, update_rules_data
from .standings import StandingsData, standings_data
from .two_limits import TwoConstraintsData, two_constraints_data
from .words import AXIS, Array

__all__ = [
    "AXIS",
    "Array",
    "CalibrationData",
    "ComparisonData",
    "Condition",
    "DualCurve",
    "DualData",
    "DualPathData",
    "FrontierData",
    "IdentifiabilityData",
    "IslandsData",
    "KKTData",
    "LamTail",
    "MassData",
    "PhaseMapData",
    "PolicyData",
    "RelabellingData",
    "RefusalData",
    "StandingsData",
    "TwoConstraintsData",
    "UpdateRulesData",
    "calibration_data",
    "comparison_data",
    "dual_curve",
    "dual_data",
    "dual_path_data",
    "frontier_data",
    "identifiability_data",
    "islands_data",
    "kkt_data",
    "mass_data",
    "phase_map_data",
    "policy_data",
    "relabelling_data",
    "refusal_data",
    "standings_data",
    "two_constraints_data",
    "update_rules_data",
]
