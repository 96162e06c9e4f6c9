r"""Fit a table of costs to people's labels, and count what the labels leave open.

Comparisons fix a cost up to one shift for every connected part of the graph of comparisons, hence at best up
to one per prompt. A safe/unsafe flag is one comparison more, with a response that nobody gave: the boundary,
whose cost is 0. One flagged response ties its whole part to the boundary, and the shift is known.

One number for every prompt and response, so the fit is convex. Left out: models that carry over from one
response to another (`scorers`), and a fit where no finite one is best.

References: Ford 1957, American Mathematical Monthly 64 (when a best fit is finite); Dai et al. 2024, arXiv
2310.12773, eq. 6 (the sign terms).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..bandit import Table
from ..losses import anchored_cost_loss, logistic_loss_if_known
from ..pairs import Pairs
from ..types import InputError

Array = NDArray[np.float64]
ITERATIONS = 500


class CostFit(NamedTuple):
    """A table of costs fitted to labels.

    Attributes
    ----------
    cost : array of shape (X, Y)
        Nats, higher is more harmful.
    open_directions : int
        Shifts that the labels leave open, as `open_directions`; 0 for an anchored cost.
    comparison_loss : float
        Bradley-Terry loss, nats per comparison.
    flag_loss : float
        Loss of s(c) as the probability of "unsafe", nats per flag, whether or not the fit saw the flags; nan
        where there are none.
    """

    cost: Array
    open_directions: int
    comparison_loss: float
    flag_loss: float


def open_directions(pairs: Pairs, shape: tuple[int, int], *, flags: bool = False) -> int:
    """Return how many shifts of an (X, Y) table of costs the labels cannot see.

    It is the number of connected parts that hold no boundary, in the graph whose edges are the comparisons
    and, with ``flags``, the flags, each an edge between its response and the boundary. A response without
    any label is a part of its own.

    Parameters
    ----------
    pairs : Pairs
        Of a world with numbered prompts and responses.
    shape : (X, Y)
    flags : bool

    One prompt, four responses, comparisons 0-1 and 2-3: two islands. A flag on response 0 ties one of them.

    >>> zero, one, nan = torch.tensor([0, 0]), torch.ones(2), float("nan")
    >>> pairs = Pairs(zero, torch.tensor([0, 2]), torch.tensor([1, 3]), safer=one,
    ...               unsafe=torch.tensor([[1.0, nan], [nan, nan]]))
    >>> open_directions(pairs, (1, 4)), open_directions(pairs, (1, 4), flags=True)
    (2, 1)
    """
    return _parts(pairs, shape, flags, "weak") - 1


def fit_costs(pairs: Pairs, shape: tuple[int, int], *, flags: bool, start: ArrayLike = 0.0) -> CostFit:
    """Return the table of costs that explains the labels best, searched from ``start``.

    L-BFGS on a convex loss. In an open direction the search stays where it started, to rounding.

    Parameters
    ----------
    pairs : Pairs
        With ``safer`` labels, numbered prompts and responses.
    shape : (X, Y)
    flags : bool
        Whether the safe/unsafe flags count as well.
    start : broadcast to shape (X, Y)
        Nats; ``start[:, None]`` for one number per prompt.

    Raises
    ------
    InputError
        When the pairs lack a kind of label, or when no finite cost is best, because some responses are more
        harmful in every comparison with the others.

    Reference
    ---------
    Ford 1957: a finite best fit exists if, and only if, in each part of the graph every response can be
    reached from every other along "was called more harmful than".

    Of four comparisons, response 0 is the more harmful in three: odds of 3 to 1, a gap of log 3 = 1.0986. The
    mean stays where it started, at 5.

    >>> zeros = torch.zeros(4, dtype=torch.long)
    >>> pairs = Pairs(zeros, zeros, zeros + 1, safer=torch.tensor([1.0, 1.0, 1.0, 0.0]))
    >>> fit = fit_costs(pairs, (1, 2), flags=False, start=5.0)
    >>> fit.cost.round(4).tolist(), fit.open_directions
    ([[5.5493, 4.4507]], 1)
    """
    _check(pairs, shape, flags)
    rows, weight = _distinct_rows(pairs)
    begin = np.array(np.broadcast_to(np.asarray(start, dtype=np.float64), shape))
    table = torch.tensor(begin, requires_grad=True)
    search = torch.optim.LBFGS(
        [table],
        max_iter=ITERATIONS,
        tolerance_grad=1e-10,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        search.zero_grad()
        loss = weight @ _row_losses(table, rows, flags)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    cost = table.detach()
    comparison, flag = losses_of(cost.numpy(), pairs)
    return CostFit(cost.numpy(), open_directions(pairs, shape, flags=flags), comparison, flag)


def losses_of(cost: ArrayLike, pairs: Pairs) -> tuple[float, float]:
    """Return what a table of costs loses on labels: nats per comparison, and nats per flag (nan if none).

    >>> zeros = torch.zeros(2, dtype=torch.long)
    >>> pairs = Pairs(zeros, zeros, zeros + 1, safer=torch.ones(2))
    >>> losses_of([[0.0, 0.0]], pairs)
    (0.6931471805599453, nan)
    """
    table, safer = torch.tensor(np.asarray(cost, dtype=np.float64)), _safer(pairs)
    look_up = Table(table)
    c0, c1 = (look_up(pairs.prompts, y) for y in (pairs.y0, pairs.y1))
    comparisons = logistic_loss_if_known(c0 - c1, safer)
    predicted, outcome = _flags_of(table, pairs)
    flags = logistic_loss_if_known(predicted, outcome)
    per_flag = float(flags.mean()) if len(flags) else float("nan")
    return float(comparisons.sum() / (~safer.isnan()).sum()), per_flag


def predicted_flags(cost: ArrayLike, pairs: Pairs) -> tuple[Array, Array]:
    """Return s(c), the predicted probability of "unsafe", and the flag, for every flag that is known.

    These are the two columns of a reliability diagram, `plot_calibration`. Take pairs that the fit never saw.

    >>> one = torch.zeros(1, dtype=torch.long)
    >>> pairs = Pairs(one, one, one + 1, unsafe=torch.tensor([[1.0, float("nan")]]))
    >>> [column.tolist() for column in predicted_flags([[np.log(3.0), 0.0]], pairs)]
    [[0.75], [1.0]]
    """
    predicted, outcome = _flags_of(torch.tensor(np.asarray(cost, dtype=np.float64)), pairs)
    return predicted.sigmoid().numpy(), outcome.numpy()


def _check(pairs: Pairs, shape: tuple[int, int], flags: bool) -> None:
    if flags and pairs.unsafe is None:
        raise InputError("fit_costs: the pairs have no 'unsafe' flags to fit a cost to")
    if _parts(pairs, shape, flags, "strong") > _parts(pairs, shape, flags, "weak"):
        raise InputError(
            "fit_costs: no finite cost is best, because some responses are the more harmful in every "
            "comparison with the others; draw more pairs"
        )


def _safer(pairs: Pairs) -> Tensor:
    if pairs.safer is None:
        raise InputError("the pairs have no 'safer' labels, which a cost is compared by")
    return pairs.safer.double()


def _parts(pairs: Pairs, shape: tuple[int, int], flags: bool, connection: str) -> int:
    """Return the number of parts of the graph, the boundary (its last node) included."""
    x, y0, y1 = (torch.as_tensor(part) for part in (pairs.prompts, pairs.y0, pairs.y1))
    nodes, boundary = (x * shape[1] + y0, x * shape[1] + y1), shape[0] * shape[1]
    safer = _safer(pairs)
    edges = [(nodes[1], nodes[0], safer > 0), (nodes[0], nodes[1], safer < 1)]  # to the more harmful
    if flags and pairs.unsafe is not None:
        edge = torch.full_like(nodes[0], boundary)
        for node, flag in zip(nodes, pairs.unsafe.T, strict=True):
            edges += [(edge, node, flag > 0), (node, edge, flag < 1)]
    tails, heads = (torch.cat([edge[k][edge[2]] for edge in edges]).numpy() for k in (0, 1))
    size = (boundary + 1, boundary + 1)
    graph = coo_array((np.ones(len(tails)), (tails, heads)), shape=size).tocsr()
    return int(connected_components(graph, directed=True, connection=connection)[0])


def _distinct_rows(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the different rows (x, y0, y1, safer, unsafe, unsafe) and the share of each."""
    unknown = torch.full((len(pairs), 2), float("nan"), dtype=torch.float64)
    flags = unknown if pairs.unsafe is None else pairs.unsafe.double()
    where = [torch.as_tensor(part).double() for part in (pairs.prompts, pairs.y0, pairs.y1)]
    rows, count = torch.unique(
        torch.stack([*where, _safer(pairs), *flags.T], dim=1), dim=0, return_counts=True
    )
    return rows, count.double() / len(pairs)


def _row_losses(table: Tensor, rows: Tensor, flags: bool) -> Tensor:
    x, y0, y1 = rows[:, :3].long().T
    unsafe = rows[:, 4:] if flags else torch.full_like(rows[:, 4:], float("nan"))
    return anchored_cost_loss(table[x, y0], table[x, y1], rows[:, 3], unsafe)


def _flags_of(table: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the cost and the flag of every answer whose flag is known."""
    if pairs.unsafe is None:
        return torch.empty(0), torch.empty(0)
    look_up = Table(table)
    costs = torch.stack([look_up(pairs.prompts, y) for y in (pairs.y0, pairs.y1)], dim=1)
    known = ~pairs.unsafe.isnan()
    return costs[known], pairs.unsafe[known].double()
