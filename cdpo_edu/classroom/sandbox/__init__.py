"""Where a student's notebook runs: a process of its own, with limits, shut in where the system offers it."""

from .limits import Limits
from .process import Ended, Reply, StudentProcess
from .roads import Road, trusted

__all__ = ["Ended", "Limits", "Reply", "Road", "StudentProcess", "trusted"]
