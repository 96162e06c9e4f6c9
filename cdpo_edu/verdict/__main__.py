"""Hold the refusal detector against people's labels: python -m cdpo_edu.verdict FILE.csv [FILE.csv ...].

The files are XSTest completions with a column ``final_label``. Left out: the detector (`refusals`).
"""

import sys
from pathlib import Path

from .refusals import agreement

if __name__ == "__main__":
    for name, (right, every) in agreement([Path(argument) for argument in sys.argv[1:]]).items():
        print(f"{name} to safe prompts: {right} of {every} told")
