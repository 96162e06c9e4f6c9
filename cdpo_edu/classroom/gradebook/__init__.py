"""Marking a class: the zip of a learning platform goes in; marks, pages and a zip to hand back come out."""

from .marking import Result, Work
from .run import ClassMarks, mark_class

__all__ = ["ClassMarks", "Result", "Work", "mark_class"]
