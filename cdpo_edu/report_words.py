"""Put a run's outcome into words: the verdict, what each number means, table cells, the command to repeat it.

Left out: files, pictures and the page (`report`); the texts of prompts and answers.

The certificate's two terms are those of D(lam) - J(pi) = beta E_x KL(pi || pi_lam) + lam (C - E_pi[c]), which
holds for every policy; the problem is that of Liu, Sun and Zheng 2024, arXiv 2403.02475.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .history import Record
from .presets import COMMON, OWN

Row = Mapping[str, Any]
HEADLINES = {  # status -> tone, the status in words
    "optimal": ("met", "Optimal, within the stated tolerance: the limit is met and it binds."),
    "slack": ("met", "Slack: the limit is met and does not bind."),
    "feasible": ("met", "Feasible: the limit is met. That nothing better exists is not certified."),
    "infeasible": ("not-met", "Infeasible: no policy can meet this limit."),
    "violated": ("not-met", "Violated: the limit is not met."),
    "unknown": ("open", "Unknown: the interval of the measured cost lies on both sides of the limit."),
}
MEANINGS = {  # entry of the certificate -> symbol, unit, meaning
    "lam": ("λ", "nats per cost unit", "multiplier of the last round"),
    "lam_exact": ("λ*", "nats per cost unit", "multiplier of the exact problem"),
    "reward": ("E[r]", "nats", "expected reward; higher is better"),
    "cost": ("E[c]", "cost units", "expected cost; higher is more harmful"),
    "cost_interval": ("E[c], 95 % interval", "cost units", "from the samples of the last round"),
    "difference_interval": ("E[c] − E_ref[c], 95 % interval", "cost units", "paired, prompt by prompt"),
    "cost_limit": ("C", "cost units", "the limit on E[c]"),
    "unsafe_share": ("share with c > ½", "share", "of answers more likely called unsafe than safe"),
    "true_unsafe_rate": ("true P(unsafe)", "share", "with the true cost, every answer enumerated"),
    "true_unsafe_share": ("true share unsafe", "share", "of answers that truly are unsafe"),
    "min_cost": ("least E[c]", "cost units", "the least expected cost that any policy can reach"),
    "kl": ("KL", "nats", "divergence from the reference"),
    "objective": ("J = E[r] − β KL", "nats", "what is maximised"),
    "dual_bound": ("D(λ*)", "nats", "no policy that meets the limit has a higher J"),
    "dual_estimate": ("D(λ), sampled", "nats", "an estimate with its 95 % band: biased, and no bound"),
    "gap": ("D(λ*) − J", "nats", "the most a policy that meets the limit can lose"),
    "gap_kl_term": ("β KL(π‖π_λ*)", "nats", "first term of the gap: divergence from the tilted policy"),
    "gap_slack_term": (
        "λ* (C − E[c])",
        "nats",
        "second term of the gap: the limit left unused, at its price",
    ),
    "closeness": ("closeness", "no unit", "1 is the exact constrained optimum, 0 the reference"),
    "lam_average": ("mean λ", "nats per cost unit", "mean of the last rounds: the multiplier hovered"),
    "reachable_limit": ("least sampled E[c]", "cost units", "the safest of each prompt's last samples"),
}


class Verdict(NamedTuple):
    """The outcome in words: a tone for the colour, the status explained, what is certified and what not."""

    tone: str
    headline: str
    sentences: list[str]


def verdict(certificate: Row, config: Row) -> Verdict:
    """Return the outcome in words: status, limit, cost with its interval, what is certified and what not.

    >>> row = dict(status="violated", exact=False, cost_limit=0.0, cost=0.3, cost_interval=[0.1, 0.5])
    >>> print(*verdict(row, {}).sentences[:2])
    The limit is E[c] ≤ C = 0. The measured cost is E[c] = 0.3, 95 % interval 0.1 to 0.5.
    """
    status = str(certificate["status"])
    tone, headline = HEADLINES.get(status, ("open", f"Status: {status}."))
    limit, margin = shown(certificate["cost_limit"]), config.get("cost_limit_relative")
    words = f"The limit is E[c] ≤ C = {limit}."
    if margin is not None:
        words = (
            f"The limit is a cost of at least {shown(margin)} below the reference's, so E[c] ≤ C = {limit}."
        )
    if config.get("max_unsafe_rate") is not None:
        words = f"The limit is P(unsafe) ≤ {limit}: c is the probability that people call an answer unsafe."
    rest = _exact_words(certificate) if certificate["exact"] else _sampled_words(certificate)
    learned = (
        "The reward and cost scores are learned models: the certificate is of the problem that they pose, "
        "not of true help and harm."
    )
    ending = [learned] if certificate.get("scores") == "learned" else []
    return Verdict(tone, headline, [words, *rest, *_course_words(certificate), *ending])


def _course_words(certificate: Row) -> list[str]:
    """Return why the run ended before its last round, and that its multiplier hovered."""
    words = []
    if stopped := certificate.get("stopped"):
        words.append(f"The run ended early, {stopped['reason']}: {stopped['words']}.")
    if (mean := certificate.get("lam_average")) is not None:
        words.append(
            f"The multiplier hovered: it went back and forth about {shown(mean)} without coming nearer, "
            "so its step is too long."
        )
    return words


def _exact_words(certificate: Row) -> list[str]:
    """Return what enumeration proves about cost, gap and closeness."""
    cost, over = certificate["cost"], certificate["cost"] - certificate["cost_limit"]
    low, high = (shown(value) for value in certificate["cost_interval"])
    side = f"{shown(abs(over))} {'above' if over > 0 else 'below'} the limit" if over else "at the limit"
    allowed = (certificate.get("tolerance") or {}).get("cost", 0.0)
    within = f", within the stated tolerance of {shown(allowed)}" if 0 < over <= allowed else ""
    words = [
        f"The exact cost is E[c] = {shown(cost)}, every answer enumerated: {side}{within}.",
        f"The last round's own samples put it between {low} and {high} (95 % interval).",
    ]
    if certificate["status"] == "infeasible":
        least = shown(certificate.get("min_cost"))
        return [*words, f"This is proved: the least expected cost that any policy can reach is {least}."]
    gap, closeness = certificate.get("gap"), certificate.get("closeness")
    if gap is not None and over <= 0:
        words.append(
            f"No policy that meets the limit has an objective more than {shown(gap)} nats higher: proved."
        )
    elif gap is not None:
        words.append(f"The cost lies above the limit, so the gap of {shown(gap)} nats bounds nothing.")
    if closeness is not None:
        words.append(f"Closeness is {shown(closeness)}: 1 is the exact constrained optimum, 0 the reference.")
    return words


def _sampled_words(certificate: Row) -> list[str]:
    """Return what samples show, and that they certify no optimality."""
    low, high = (shown(value) for value in certificate["cost_interval"])
    words = [f"The measured cost is E[c] = {shown(certificate['cost'])}, 95 % interval {low} to {high}."]
    paired = certificate.get("difference_interval")
    if paired:
        words.append(
            f"Its paired difference to the reference's, prompt by prompt, is {shown(paired)} (95 %)."
        )
    words.append(
        f"The status is read off the {'paired ' if paired else ''}interval, on the prompts that the "
        "multiplier was chosen on too; the judge prompts were not used."
    )
    words.append("No optimality is certified: a dual estimated from samples is biased and bounds nothing.")
    return words


def certificate_rows(certificate: Row) -> list[tuple[str, str, str, str]]:
    """Return (symbol, value, unit, meaning) for each number the certificate has, in a fixed order."""
    return [
        (symbol, shown(certificate[key]), unit, meaning)
        for key, (symbol, unit, meaning) in MEANINGS.items()
        if certificate.get(key) is not None
    ]


def uncertified(certificate: Row) -> list[str]:
    """Return the symbols of the entries that the certificate leaves open."""
    open_ones = [key for key in MEANINGS if key in certificate and certificate[key] is None]
    return [MEANINGS[key][0] for key in open_ones if key != "lam_average"]  # that one is no one's duty


def round_cells(record: Record) -> list[str]:
    """Return one row of the round-by-round table."""
    interval = f"{_fixed(record.cost_low)} to {_fixed(record.cost_high)}"
    before, after = (record.lam, record.reward, record.cost), (record.cost_limit, record.kl, record.dpo_loss)
    cells = [str(record.round), *map(_fixed, before), interval, *map(_fixed, after)]
    return [*cells, str(record.grad_steps), str(record.labels_flipped)]


def comparison_cells(row: Row) -> list[str]:
    """Return one row of the four-way table: the policy, then mean and interval of reward, cost and KL."""
    means = [
        f"{_fixed(row[name])} ({_fixed(row[name + '_low'])} to {_fixed(row[name + '_high'])})"
        for name in ("reward", "cost", "kl")
    ]
    return [str(row["policy"]), *means]


def split_cells(row: Row) -> list[str]:
    """Return one row of the table of what closeness was lost to: part, loss, closeness, excess, policy."""
    numbers = (row["lost"], row["closeness"], row["over"])
    return [str(row["part"]), *map(_fixed, numbers), str(row["words"])]


def split_words(rows: Sequence[Row]) -> list[str]:
    """Return the outcome against the gold scores, and which part weighs most.

    >>> part = {"part": "training", "words": "", "closeness": 0.99, "lost": 0.01, "over": -0.02}
    >>> print(*split_words([part]), sep=" ")
    Held against the true scores, closeness is 0.99 and the cost lies 0.02 below the limit. Most of what is
    missing went to training.
    """
    last, most = rows[-1], max(rows, key=lambda row: float(row["lost"]))
    side = "above" if last["over"] > 0 else "below"
    words = [
        f"Held against the true scores, closeness is {shown(last['closeness'])} and the cost lies "
        f"{shown(abs(last['over']))} {side} the limit."
    ]
    if most["lost"] > 0:
        words.append(f"Most of what is missing went to {most['part']}.")
    return words


def repeat_command(config: Row) -> str | None:
    """Return the command that repeats a run, or None for a tier whose options are not known here.

    >>> repeat_command({"tier": "toy", "seed": 0, "cost_limit": -0.4, "gold": True, "bits": 32})
    'cdpo-edu train --tier toy --seed 0 --cost-limit -0.4 --gold --out again'
    """
    tier = str(config.get("tier"))
    if tier not in OWN:
        return None
    words = ["cdpo-edu", "train"]
    for name in (*COMMON, *OWN[tier]):
        value, flag = config.get(name), "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words += [flag, str(value)]
    return shlex.join([*words, "--out", "again"])


def flat(record: Row, prefix: str = "") -> list[tuple[str, str]]:
    """Return (name, value) of every leaf of nested dicts, names joined by dots.

    >>> flat({"seed": 0, "versions": {"torch": "2.13"}, "licence": None})
    [('seed', '0'), ('versions.torch', '2.13'), ('licence', '–')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in record.items():
        rows += (
            flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, shown(value))]
        )
    return rows


def shown(value: Any) -> str:
    """Return a value for reading: four significant digits, below 1e-12 nought, a dash for nothing.

    >>> shown(-0.123456), shown([0.1, 0.25]), shown(None), shown({"value": 1.5, "low": 1, "high": 2})
    ('−0.1235', '0.1 to 0.25', '–', '1.5 (1 to 2)')
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{0.0 if abs(value) < 1e-12 else value:.4g}".replace("-", "−")
    if isinstance(value, Mapping) and set(value) == {"value", "low", "high"}:
        return f"{shown(value['value'])} ({shown([value['low'], value['high']])})"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return (" to " if len(value) == 2 else ", ").join(map(shown, value))
    return str(value)


def _fixed(value: float | None) -> str:
    """Return a number for a column: four decimals, never minus nought, a dash for nothing."""
    return "–" if value is None else f"{round(value, 4) + 0.0:.4f}".replace("-", "−")
