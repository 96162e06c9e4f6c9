"""The commands of a classroom: museum run and list, course new and gradescope, grade.

Left out: what they do (`museum`, `classroom`, `grade_run`); the other commands and the exit codes (`cli`).
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .screen import console
from .types import InputError


class Pack(StrEnum):
    """What a course may come with."""

    two_lectures = "two-lectures"


museum = typer.Typer(
    no_args_is_help=True, help="Real bugs of published code, and a mark for tests that catch them."
)


@museum.command("run")
def museum_run(
    tests: Annotated[Path, typer.Argument(help="A Python file with functions def test_...(code).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Time for the tests on the correct code; twice that per bug.")
    ] = 10.0,
) -> None:
    """Run tests on the correct code, where all must pass, and count the bugs that they catch."""
    from .museum import run_museum

    report = run_museum(tests, seconds=seconds, say=(lambda line: None) if as_json else typer.echo)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    elif report.failed:
        typer.echo(f"score: 0 of {report.max_score}; the tests must pass on the correct code first")
    else:
        typer.echo(f"score: {report.score} of {report.max_score}, by {report.tests} tests")


@museum.command("list")
def museum_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Name the exhibits: what each breaks, how it shows, and where it was seen."""
    from .museum import EXHIBITS

    if as_json:
        names = ("key", "replaces", "mistake", "symptom", "threads")
        typer.echo(
            json.dumps({"exhibits": [{name: getattr(item, name) for name in names} for item in EXHIBITS]})
        )
        return
    for item in EXHIBITS:
        typer.echo(f"{item.key} (code.{item.replaces}): {item.symptom}\n  {' '.join(item.threads)}")


course = typer.Typer(no_args_is_help=True, help="Assignments that mark themselves, as a course to teach.")


@course.command("new")
def course_new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    secret_file: Annotated[
        Path | None, typer.Option(help="Holds the secret of the marked instances. [one is made]")
    ] = None,
    roster: Annotated[Path | None, typer.Option(help="Students as CSV, with a column id.")] = None,
    pack: Annotated[Pack | None, typer.Option(help="Ready lectures with slides and one homework.")] = None,
) -> None:
    """Make an nbgrader course with its own instances: sources, releases, settings, gradebook, secret."""
    from .classroom.course_command import course_new

    course_new(folder, secret_file=secret_file, roster=roster, pack=pack is not None, say=typer.echo)


@course.command("gradescope")
def course_gradescope(
    assignment: Annotated[str, typer.Argument(help="As 01_the_dual_step.")],
    out: Annotated[Path, typer.Option(help="The zip to write.")],
    course: Annotated[Path | None, typer.Option(help="The course's folder, with its secret.txt.")] = None,
    secret_file: Annotated[Path | None, typer.Option(help="The course's secret, if kept elsewhere.")] = None,
) -> None:
    """Build the zip by which Gradescope marks an assignment."""
    from .classroom.gradescope import write_autograder

    for line in write_autograder(assignment, out, source=secret_file or course):
        typer.echo(line)


def grade(
    notebook: Annotated[Path | None, typer.Argument(help="A notebook that was handed in.")] = None,
    student: Annotated[str, typer.Option(help="Id under which it was handed in. [as typed in it]")] = "",
    submissions: Annotated[
        Path | None, typer.Option("--zip", help="A class: the zip of a learning platform, instead.")
    ] = None,
    table: Annotated[Path | None, typer.Option("--csv", help="With --zip: the table to write.")] = None,
    feedback: Annotated[Path | None, typer.Option(help="With --zip: the folder for the pages.")] = None,
    roster: Annotated[
        Path | None, typer.Option(help="With --zip: students as CSV, with a column id.")
    ] = None,
    due: Annotated[datetime | None, typer.Option(help="With --zip: when it was due, in its times.")] = None,
    course: Annotated[Path | None, typer.Option(help="The course's folder, with its secret.txt.")] = None,
    secret_file: Annotated[Path | None, typer.Option(help="The course's secret, if kept elsewhere.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Where the system offers no walls, run answers without.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Mark one notebook, or with --zip a class: points and a sentence for each exercise."""
    from . import grade_run as room

    if submissions is not None:
        if notebook is not None or student or as_json:
            raise InputError("--zip marks a class; NOTEBOOK, --student and --json are for one notebook")
        room.grade_class(
            submissions, table=table, feedback=feedback, roster=roster, due=due, course=course,
            secret_file=secret_file, trust=trust, say=typer.echo,
        )  # fmt: skip
        return
    if notebook is None:
        raise InputError("NOTEBOOK is missing; for a class give --zip, --csv and --feedback")
    if any((table, feedback, roster, due)):
        raise InputError("--csv, --feedback, --roster and --due go with --zip")
    marked = room.grade_run(notebook, student=student, course=course, secret_file=secret_file, trust=trust)
    if as_json:
        typer.echo(json.dumps(marked.as_dict(), ensure_ascii=False))
    else:
        room.show_marked(marked, console)
