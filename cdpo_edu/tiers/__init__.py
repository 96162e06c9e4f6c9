"""Runs of each tier, from options to a whole folder.

`running` goes through the stages; `worlds` and `language` say what a tier is made of; `job` is what they
hand over.
"""

from .job import Job, Say
from .running import BUILDERS, train

__all__ = ["BUILDERS", "Job", "Say", "train"]
