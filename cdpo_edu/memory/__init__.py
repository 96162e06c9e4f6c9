"""What a run of a language model will need, before anything is loaded: memory, hours and disk.

`shadow` builds the model without its weights; `ledger` adds up what a pass through it would hold; `phases`
are the passes of a run; `predict` puts them together; `fits` looks for settings that fit; `hours` says what
else it takes; `measure` does the passes for real, in a process of its own.
"""

from .plan import Plan
from .predict import Phase, Prediction, predict

__all__ = ["Phase", "Plan", "Prediction", "predict"]
