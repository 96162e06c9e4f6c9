"""The stages before a run: fine-tuning on answers (`sft`), fitting reward and cost (`fit`), and its report.

Each stage's folder is what the next one takes: `train --model SFT --reward FIT/reward --cost FIT/cost`.

Left out: their options on the command line (`stage_commands`).
"""

from .fit import FitOptions, fit_scorers
from .sft import SftOptions, sft

__all__ = ["FitOptions", "SftOptions", "fit_scorers", "sft"]
