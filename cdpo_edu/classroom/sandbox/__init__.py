"""Where a student's notebook runs: a process of its own, with limits, shut in where the system offers it."""

from .isolation import choose_road
from .limits import Limits
from .process import Ended, Reply, StudentProcess
from .roads import Road

__all__ = ["Ended", "Limits", "Reply", "Road", "StudentProcess", "choose_road"]
