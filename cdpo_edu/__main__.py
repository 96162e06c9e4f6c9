"""``python -m cdpo_edu`` is the command ``cdpo-edu``."""

from .cli import main

main()
