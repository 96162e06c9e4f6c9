"""The command ``cdpo-edu course new``: make the course and say what was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .course import Course, new_course

__all__ = ["course_new"]


def course_new(
    folder: Path, *, secret_file: Path | None, roster: Path | None, pack: bool, say: Callable[[str], None]
) -> None:
    """Make a course, with the pack of two lectures if asked for, and say where to go on reading."""
    course = new_course(folder, secret_file=secret_file, roster=roster)
    for line in _report(course):
        say(line)
    if pack:
        from .pack import write_pack

        say("making the slides; outside a clone the lessons are executed first, which takes some minutes")
        say(f"{write_pack(course)}: two lectures, the explorer and a homework; begin with its README.md")


def _report(course: Course) -> list[str]:
    made = "nbgrader made its releases" if course.by_nbgrader else WITHOUT_NBGRADER
    return [
        f"{course.folder}: {len(course.assignments)} assignments, {course.students} students; {made}",
        f"keep {course.folder / 'secret.txt'}: the marked instances are drawn from it",
        f"read {course.folder / 'README.md'} to hand out, collect and mark",
    ]


WITHOUT_NBGRADER = (
    "made without nbgrader, which is not installed: no gradebook (pip install 'cdpo_edu[classroom]' for one)"
)
