"""A finished run's policy as a folder that others load without this package.

`run` checks and assembles; `weights` writes adapter or model; `card` writes the page beside it.
"""

from .run import export_run

__all__ = ["export_run"]
