"""Judging a finished run folder: answers drawn once and kept, the verdict on them, two runs side by side.

Left out: the test and its measures (`verdict`), training (`tiers`).
"""

from .compare import Compared, compare_runs
from .run import label_run, sheet_run, verdict_run
from .talk import talk

__all__ = ["Compared", "compare_runs", "label_run", "sheet_run", "talk", "verdict_run"]
