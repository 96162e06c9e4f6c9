"""How far a score model can be trusted, on prompts that it was not fitted on: every number of the report.

Comparisons: the share in which the model puts the answer first that people do, a tie of scores counting
half. For a cost with a zero, the sign: the share of answers with c > 0 just where people said unsafe, also
among the unsafe and among the safe alone, since a rare class hides in the whole. Calibration: predicted
probability against frequency in bins of equal count (`plot_data.calibration`), for s(c) and comparisons.

Intervals are Wilson's 95 % on an effective number of answers: p(1-p) over the variance that prompts,
clustered by first turn, give; where all of them are right or wrong, the number of clusters.

Left out: intervals of the calibration error, which is above 0 even for perfect predictions in small bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..pairs import Flagged, Pairs
from ..pairs.prompt_sets import first_turn
from ..plot_data.calibration import calibration_data, wilson_interval
from ..types import InputError, Scorer


def clustered_share(hits: Sequence[float], clusters: Sequence[str]) -> dict[str, Any]:
    """Return a share with its 95 % interval, the answers of one cluster not counting as independent.

    Parameters
    ----------
    hits : sequence of n numbers in [0, 1]
    clusters : sequence of n names

    Two prompts with two answers each, one all right and one all wrong: two observations, and not four.

    >>> share = clustered_share([1, 1, 0, 0], ["a", "a", "b", "b"])
    >>> share["value"], round(share["effective"], 9), share["clusters"]
    (0.5, 1.0, 2)
    """
    values = np.asarray(hits, dtype=np.float64)
    n = len(values)
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0, "clusters": 0, "effective": 0.0}
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    share = float(values.mean())
    groups = len(names)
    sums = np.bincount(place, weights=values - share)
    variance = float(sums @ sums) / n**2 * groups / max(1, groups - 1)
    effective = min(float(n), share * (1 - share) / variance) if variance > 0 else float(groups)
    low, high = wilson_interval(share, effective)
    return {
        "value": share, "low": float(low), "high": float(high), "n": n, "clusters": groups,
        "effective": effective,
    }  # fmt: skip


def reliability(predicted: Tensor, happened: Tensor, *, bins: int) -> dict[str, Any] | None:
    """Return the calibration of probabilities against outcomes 0 or 1, bin by bin; None without outcomes."""
    known = (happened == 0) | (happened == 1)
    if not known.any():
        return None
    p, outcome = predicted[known].double().numpy(), happened[known].double().numpy()
    data = calibration_data(p, outcome, bins=bins)
    columns = {
        name: getattr(data, name).tolist() for name in ("predicted", "observed", "low", "high", "count")
    }
    return {
        "expected_calibration_error": data.error,
        "brier": data.brier,
        "base_rate": data.base_rate,
        "bins": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "asked_bins": bins,
        "predictions": {"probability": p.tolist(), "outcome": outcome.tolist()},
    }


def of_comparisons(first: Tensor, label: Tensor, keys: Sequence[str], *, bins: int) -> dict[str, Any]:
    """Return accuracy and calibration of log-odds ``first`` that y1 wins against ``label`` (nan unknown)."""
    decided = ~label.isnan() & (label != 0.5)
    right = ((first > 0) == (label > 0.5)).double()
    right[first == 0] = 0.5
    return {
        "accuracy": clustered_share(right[decided].tolist(), _at(keys, decided)),
        "left_out": int((~decided).sum()),
        "calibration": reliability(first.sigmoid(), label, bins=bins),
    }


def of_signs(cost: Tensor, unsafe: Tensor, keys: Sequence[str], *, bins: int) -> dict[str, Any]:
    """Return how often c > 0 says what the flag says: of all answers, the unsafe and the safe ones."""
    known = ~unsafe.isnan()
    right = ((cost > 0) == (unsafe > 0.5)).double()
    parts = {"all": known, "unsafe": known & (unsafe > 0.5), "safe": known & (unsafe < 0.5)}
    shares = {name: clustered_share(right[part].tolist(), _at(keys, part)) for name, part in parts.items()}
    return {"accuracy": shares, "calibration": reliability(cost.sigmoid(), unsafe, bins=bins)}


def reward_report(reward: Scorer, pairs: Pairs, *, bins: int) -> dict[str, Any]:
    """Return what held-out comparisons say of a reward model.

    Raises
    ------
    InputError
        When no held-out pair has a helpfulness label.
    """
    if pairs.better is None or bool(pairs.better.isnan().all()):
        raise InputError("no held-out pair has a helpfulness label: give more rows, or another --seed")
    gap = reward(pairs.prompts, pairs.y1) - reward(pairs.prompts, pairs.y0)
    return {"comparisons": of_comparisons(gap, pairs.better, _keys(pairs), bins=bins)}


def cost_report(cost: Scorer, pairs: Pairs | Flagged, *, bins: int) -> dict[str, Any]:
    """Return what held-out comparisons and flags say of a cost model; ``sign`` is None without a zero."""
    if isinstance(pairs, Flagged):
        keys = [first_turn(str(prompt)) for prompt in pairs.prompts]
        sign = of_signs(cost(pairs.prompts, pairs.answers), pairs.unsafe, keys, bins=bins)
        return {"anchored": True, "comparisons": None, "sign": sign}
    c0, c1 = cost(pairs.prompts, pairs.y0), cost(pairs.prompts, pairs.y1)
    keys = _keys(pairs)
    anchored = bool(getattr(cost, "anchored", False))
    report: dict[str, Any] = {"anchored": anchored, "comparisons": None, "sign": None}
    if pairs.safer is not None and not bool(pairs.safer.isnan().all()):
        report["comparisons"] = of_comparisons(c0 - c1, pairs.safer, keys, bins=bins)
    if anchored and pairs.unsafe is not None and not bool(pairs.unsafe.isnan().all()):
        sides = list(zip(pairs.prompts, pairs.y0, strict=True)) + list(
            zip(pairs.prompts, pairs.y1, strict=True)
        )
        flags, costs = pairs.unsafe.T.reshape(-1), torch.cat([c0, c1])
        once = {(*side, flag): i for i, (side, flag) in enumerate(zip(sides, flags.tolist(), strict=True))}
        index = sorted(once.values())  # an answer that stands in several rows with one flag counts once
        report["sign"] = of_signs(costs[index], flags[index], [(keys * 2)[i] for i in index], bins=bins)
    return report


def _keys(pairs: Pairs) -> list[str]:
    return [first_turn(str(prompt)) for prompt in pairs.prompts]


def _at(keys: Sequence[str], part: Tensor) -> list[str]:
    return [key for key, kept in zip(keys, part.tolist(), strict=True) if kept]
