"""``python -m cdpo_edu`` is the command ``cdpo-edu``; where nothing can be installed, one line says so."""

import sys

from .machine import hopeless

reason = hopeless()
if reason:
    sys.exit("cdpo-edu: " + reason)

from .cli import main  # noqa: E402

main()
