"""The verdict: whether a policy meets its limit on prompts that nothing else has touched, at a stated level.

`betting` is the test, valid however often one looks; `measures` says what is counted and what is shown
beside it; `sheets` lets people judge instead of a scorer; `refusals` counts who is turned away needlessly.

Left out: drawing answers and reading run folders (`judgement`).
"""

from .betting import Bounds, Decision, decide, log_wealth, upper_bound, wealth_path
from .measures import by_cluster, four_cells, lengths, mean_over, tail_mean, units, variances
from .refusals import looks_unsafe, refuses
from .sheets import Labelled, blinded, read_labels, write_sheet

__all__ = [
    "Bounds",
    "Decision",
    "Labelled",
    "blinded",
    "by_cluster",
    "decide",
    "four_cells",
    "lengths",
    "log_wealth",
    "looks_unsafe",
    "mean_over",
    "read_labels",
    "refuses",
    "tail_mean",
    "units",
    "upper_bound",
    "variances",
    "wealth_path",
    "write_sheet",
]
