"""Reward and cost models: a language model's trunk with one number at the last token.

`RewardModel` learns helpfulness from comparisons (Bradley-Terry); `CostModel` learns harm from comparisons
and, where there are safe/unsafe flags, its zero from them (Dai et al. 2024, arXiv 2310.12773). Without
flags a cost is known only up to a shift per prompt: it then says so (``anchored`` is False).

Left out: published score models (`published_scorers`); the calibration report.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import adapters, backbone
from .answer_sets import grouped
from .long_work import in_chunks
from .losses import anchored_cost_loss, bradley_terry_loss
from .pairs import Flagged, Pairs, digest
from .sequences import Rows, encode, pad_rows
from .training import train
from .types import Batch, InputError


class ScoreSettings(NamedTuple):
    """Token budgets (prompt cut on the left, response on the right), how the model is fitted and read.

    ``batch_size`` counts pairs: a step reads twice as many answers, in rankings too. ``readout`` is where the
    score comes from: the ``last`` token, as in published score models, or the ``sum`` over all tokens, for
    scores that add up portion by portion (an average over tokens, which is all that attention can pass on to
    the last one, cannot count).
    """

    prompt: int = 192
    response: int = 96
    batch_size: int = 16
    learning_rate: float = 1e-3
    eval_rows: int = 64
    group_by_length: bool = True
    matrix_rate: float | None = None
    readout: Literal["last", "sum"] = "last"


class ScoreNet(nn.Module):
    """A transformer trunk and a linear head, read at each row's last token or summed over its tokens."""

    def __init__(self, trunk: nn.Module, readout: str = "last") -> None:
        super().__init__()
        self.trunk, self.readout = trunk, readout
        width = int(trunk.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.head = nn.Linear(width, 1).to(next(trunk.parameters()).device, torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, attention: Tensor) -> Tensor:
        """Return one score per row, shape (B,)."""
        hidden = self.trunk(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
        if self.readout == "sum":
            return (self.head(hidden.float())[..., 0] * attention).sum(dim=1)
        last = attention.sum(dim=1) - 1  # (B,)
        return self.head(hidden[torch.arange(len(last)), last].float())[:, 0]


class Ranking(NamedTuple):
    """Token rows of the answers to one prompt, the comparisons among them as places, and their labels."""

    answers: list[list[int]]
    pairs: list[tuple[int, int]]
    labels: list[Tensor]


class ScoreModel:
    """What reward and cost models share: reading rows, fitting a loss, scoring, saving.

    Parameters
    ----------
    model : nn.Module
        A causal model, with or without adapters, whose trunk is copied; its head is not used.
    tokenizer : PreTrainedTokenizer
    settings : ScoreSettings
    """

    anchored = False

    def __init__(self, model: nn.Module, tokenizer: Any, *, settings: ScoreSettings | None = None) -> None:
        if getattr(model, "is_quantized", False):
            raise InputError(
                "a score model cannot be fitted on quantised weights: fit it from a 32- or 16-bit model "
                "first and pass its folder"
            )
        self.tokenizer, self.settings = tokenizer, settings or ScoreSettings()
        trunk = adapters.without_adapters(model).base_model
        self.net = ScoreNet(trunk, self.settings.readout)  # type: ignore[arg-type]
        self.net.requires_grad_(True)

    def fit(self, pairs: Pairs | Flagged, *, steps: int = 200, seed: int = 0) -> ScoreModel:
        """Fit the model to the labels of ``pairs`` and return it; a ranking's answers are read once each.

        A `CostModel` learns from flagged answers too; a batch of them holds as many answers as one of pairs.

        Raises
        ------
        InputError
            When the column that the model learns from is missing.
        """
        columns, loss = self._learns_from(pairs)
        sets, y0, y1 = self._answers(pairs)
        rows = [
            Ranking(answers, places, [column[part] for column in columns])
            for part, answers, places in grouped(sets, y0, y1)
        ]
        rows = [row for row in rows if not all(bool(label.isnan().all()) for label in row.labels)]
        if not rows:
            raise InputError(f"{type(self).__name__}: not one pair carries the label that it learns from")

        def collate(part: list[Ranking]) -> dict[str, Tensor]:
            starts = torch.tensor([0, *(len(row.answers) for row in part)]).cumsum(0).tolist()
            rows = self._pad([ids for row in part for ids in row.answers])
            places = [torch.tensor(row.pairs) + start for row, start in zip(part, starts, strict=False)]
            labels = [torch.cat(label).float() for label in zip(*(row.labels for row in part), strict=True)]
            named = {f"label{k}": label for k, label in enumerate(labels)}
            return {"ids": rows.ids, "attention": rows.attention, "pairs": torch.cat(places)} | named

        def batch_loss(net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            score0, score1 = net(batch["ids"], batch["attention"])[batch["pairs"]].T
            return loss(score0, score1, *(batch[f"label{k}"] for k in range(len(columns))))

        ranked, answers = sets is not None, 2 if isinstance(pairs, Flagged) or sets is not None else 1
        train(
            self.net,
            rows,
            loss=batch_loss,
            collate=collate,
            steps=steps,
            seed=seed,
            weight_decay=0.01,
            batch_size=self.settings.batch_size * answers,
            sizes=[len(row.answers) for row in rows] if ranked else None,
            learning_rate=self.settings.learning_rate,
            matrix_rate=self.settings.matrix_rate,
            title=f"{type(self).__name__}",
            lengths=[sum(map(len, row.answers)) for row in rows] if self.settings.group_by_length else None,
        )
        return self

    def _answers(self, pairs: Pairs | Flagged) -> tuple[Tensor | None, list[list[int]], list[list[int]]]:
        """Return sets, y0 and y1 as token rows; a flagged answer stands on both sides, and is read once."""
        if isinstance(pairs, Flagged):
            rows = self._ids(pairs.prompts, pairs.answers)
            return None, rows, rows
        y0, y1 = (self._ids(pairs.prompts, answers) for answers in (pairs.y0, pairs.y1))
        return pairs.sets, y0, y1

    def _learns_from(self, pairs: Pairs | Flagged) -> tuple[list[Tensor], Callable[..., Tensor]]:
        raise TypeError("fit a RewardModel or a CostModel")

    @torch.no_grad()
    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return one score per answer, nats, float64 on the CPU, shape (batch,)."""
        rows = self._ids(prompts, responses)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out = torch.empty(len(rows), dtype=torch.float64)
        self.net.eval()
        chunks = [
            order[i : i + self.settings.eval_rows] for i in range(0, len(order), self.settings.eval_rows)
        ]

        def read(place: int, chunk: list[int]) -> Tensor:
            batch = self._pad([rows[i] for i in chunk])
            device = self.net.head.weight.device
            scores: Tensor = self.net(batch.ids.to(device), batch.attention.to(device))
            return scores.double().cpu()

        for chunk, scores in zip(chunks, in_chunks(chunks, read, title="scores"), strict=True):
            out[chunk] = scores
        return out

    @property
    def fingerprint(self) -> str:
        """Return a digest of every weight, the settings and the anchor."""
        sums = [
            f"{name}:{weight.double().sum().item()!r}:{weight.double().norm().item()!r}"
            for name, weight in sorted(self.net.state_dict().items())
        ]
        return digest(type(self).__name__, str(tuple(self.settings)), str(self.anchored), *sums)

    def save(self, directory: Path) -> None:
        """Write trunk, head, tokenizer and settings below ``directory``."""
        directory.mkdir(parents=True, exist_ok=True)
        with backbone.no_bars():
            self.net.trunk.save_pretrained(directory / "trunk")  # type: ignore[operator]
        self.tokenizer.save_pretrained(directory)
        save_file(dict(self.net.head.state_dict()), directory / "head.safetensors")
        record = {"kind": type(self).__name__, "settings": list(self.settings), "anchored": self.anchored}
        (directory / "scorer.json").write_text(json.dumps(record, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, directory: str | Path) -> ScoreModel:
        """Read what `save` wrote, head included, bit for bit.

        Raises
        ------
        InputError
            When the folder holds no score model, or one of the other kind (a cost where a reward is wanted).
        """
        directory = Path(directory)
        path = directory / "scorer.json"
        if not path.exists():
            raise InputError(f"{directory}: no score model there (scorer.json is missing); `save` writes one")
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["kind"] != cls.__name__:
            raise InputError(f"{directory}: holds a {record['kind']}, not a {cls.__name__}")
        scorer = cls.__new__(cls)
        with backbone.no_bars():
            trunk = backbone.load_trunk(str(directory / "trunk"))
            scorer.settings, scorer.anchored = ScoreSettings(*record["settings"]), record["anchored"]
            scorer.net = ScoreNet(trunk, scorer.settings.readout)
        scorer.net.head.load_state_dict(load_file(directory / "head.safetensors"))
        scorer.tokenizer = backbone.load_tokenizer(str(directory))
        return scorer

    def _ids(self, prompts: Batch, responses: Batch) -> list[list[int]]:
        """Return prompt ids, response ids and the end token of each row, in the policy's own way."""
        bos = [self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else []
        x, y = (encode(self.tokenizer, map(str, part)) for part in (prompts, responses))
        room, end = self.settings.prompt - len(bos), [self.tokenizer.eos_token_id]
        return [bos + a[-room:] + b[: self.settings.response - 1] + end for a, b in zip(x, y, strict=True)]

    def _pad(self, rows: list[list[int]]) -> Rows:
        return pad_rows([[] for _ in rows], rows, pad=self.tokenizer.pad_token_id)


class Swapped:
    """A saved score model that is in memory only while it scores: the same numbers, read from disk each time.

    Parameters
    ----------
    kind : RewardModel, CostModel, or whatever else has a ``load``
    directory : path
        What `save` wrote, or the name that ``load`` takes.
    """

    def __init__(self, kind: Any, directory: str | Path) -> None:
        self.kind, self.directory = kind, directory
        scorer = kind.load(directory)
        self.anchored, self.fingerprint = scorer.anchored, scorer.fingerprint

    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return one score per answer, nats, float64 on the CPU, shape (batch,)."""
        scores: Tensor = self.kind.load(self.directory)(prompts, responses)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return scores


class RewardModel(ScoreModel):
    """Helpfulness in nats, higher is better: s(r1 - r0) is the probability that people prefer y1."""

    def _learns_from(self, pairs: Pairs | Flagged) -> tuple[list[Tensor], Callable[..., Tensor]]:
        if isinstance(pairs, Flagged) or pairs.better is None:
            raise InputError("RewardModel: the rows have no helpfulness label (better_response_id or chosen)")
        return [pairs.better], bradley_terry_loss


class CostModel(ScoreModel):
    """Harm in nats, higher is more harmful; with flags, s(c) is the probability that people call y unsafe."""

    def _learns_from(self, pairs: Pairs | Flagged) -> tuple[list[Tensor], Callable[..., Tensor]]:
        if isinstance(pairs, Flagged):
            self.anchored = True
            unknown = torch.full((len(pairs),), float("nan"))
            flags = torch.stack([pairs.unsafe.float(), unknown], dim=1)  # the second side is the same answer
            return [unknown, flags], anchored_cost_loss
        if pairs.safer is None and pairs.unsafe is None:
            raise InputError("CostModel: the pairs have neither safer_response_id nor is_response_k_safe")
        unknown = torch.full((len(pairs),), float("nan"))
        safer = pairs.safer if pairs.safer is not None else unknown
        unsafe = pairs.unsafe if pairs.unsafe is not None else torch.stack([unknown, unknown], dim=1)
        self.anchored = bool((~unsafe.isnan()).any())
        return [safer, unsafe], anchored_cost_loss
