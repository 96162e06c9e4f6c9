r"""The published shapes of preference data: numbered rows out of a file, out of a row a comparison or flag.

`files` reads the file formats, `rows` the values of a row and checks what every comparison must pass,
`readers` holds one function per published shape, `table` the shapes by their columns and what can be done
with those that hold no comparison.

A conversation becomes one prompt string in the form of Anthropic's HH set (Bai et al. 2022, arXiv
2204.05862): a system text first, as a leading paragraph, then ``"\n\nHuman: ..."`` and
``"\n\nAssistant: ..."`` turns, and ``"\n\nAssistant:"`` at the end. The space after that last colon belongs
to the answer: the transcripts of that set have one and the answer keeps it; no other shape is given one.
Everything else is kept byte for byte; an instruction and its input are joined by a blank line.

A row that says only "this one was chosen" has no order of its own: its chosen answer becomes y1 in odd rows
and y0 in even rows (counted from 1), so that the position never carries the label.

Left out: folders, splits and the hub (`preference_data`), chat templates of particular models, scores
beyond their sign.
"""

from .files import FORMATS, Unreadable, ending, rows_of
from .rows import Comparison, FlaggedRow, Objective, Place, RowError
from .table import Schema, recognise, schema_of

__all__ = [
    "FORMATS",
    "Comparison",
    "FlaggedRow",
    "Objective",
    "Place",
    "RowError",
    "Schema",
    "Unreadable",
    "ending",
    "recognise",
    "rows_of",
    "schema_of",
]
