r"""Score models that others published, as scorers: PKU's beaver models and sequence classifiers.

A beaver score model (Dai et al. 2024, arXiv 2310.12773) is a Llama trunk with a linear ``score_head``, read
at the last attended token, and where its configuration says ``do_normalize`` a normaliser: a reward becomes
(s - mean)/(sd + 1e-8), a cost s/(sd + 1e-8), which leaves its zero, the boundary of safe and unsafe, in its
place. It was trained on "BEGINNING OF CONVERSATION: USER: x ASSISTANT:y" with the end token after the answer.

A sequence classifier is read by transformers' own forward pass, on the tokenizer's chat template or, where
it has none, on prompt and answer as a pair of texts.

Weights are read from safetensors alone; no code that lies beside a model is run. Left out: training these
models (`scorers`), and which name stands for which of them (`scorer_names`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, LlamaModel, LlamaPreTrainedModel

from . import backbone
from .conversation import messages
from .long_work import in_chunks
from .pairs import digest
from .types import Batch, InputError

BEGIN, USER, ASSISTANT = "BEGINNING OF CONVERSATION: ", "USER: {} ", "ASSISTANT:"
EPSILON = 1e-8
"""Added to the normaliser's standard deviation, as the models were trained."""

EVAL_ROWS = 16
"""Answers read at once."""


class Normaliser(nn.Module):
    """The running mean and variance of a score model's end scores: three numbers, kept, never updated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))
        self.register_buffer("count", torch.zeros(1, dtype=torch.long))


class BeaverNet(LlamaPreTrainedModel):  # type: ignore[misc]
    """The weights in the published layout: ``model``, ``score_head``, ``normalizer``."""

    _keys_to_ignore_on_load_unexpected = [r"lm_head\.weight", r"rotary_emb\.inv_freq"]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        width = int(getattr(config, "score_dim", 1))
        bias = bool(getattr(config, "score_bias", getattr(config, "bias", True)))
        self.model = LlamaModel(config)
        self.score_head = nn.Linear(config.hidden_size, width, bias=bias)
        self.normalizer = Normaliser(width)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the raw end score of every row, shape (B,), float32, wherever the padding is."""
        hidden = self.model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        place = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        last = (attention_mask * place).argmax(dim=1)  # (B,)
        end: Tensor = self.score_head(hidden[torch.arange(len(last)), last])[:, 0].float()
        return end


class _Published:
    """What both kinds share: rows of ids in, scores of like-long rows read together out."""

    anchored = False
    net: Any
    tokenizer: Any
    said: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Return a digest of every weight and of how the model is read."""
        sums = [
            f"{name}:{weight.double().sum().item()!r}:{weight.double().norm().item()!r}"
            for name, weight in sorted(self.net.state_dict().items())
        ]
        how = (type(self).__name__, *self.said, str(self.anchored), str(self.tokenizer.chat_template))
        return digest(*how, *sums)

    @torch.no_grad()
    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return one score per answer, float64 on the CPU, shape (batch,)."""
        rows = self._ids([str(prompt) for prompt in prompts], [str(answer) for answer in responses])
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        size = EVAL_ROWS if self._pads else 1
        chunks = [order[i : i + size] for i in range(0, len(order), size)]
        self.net.eval()

        def read(place: int, chunk: list[int]) -> Tensor:
            part = [rows[i] for i in chunk]
            batch = self.tokenizer.pad(part, return_tensors="pt") if self._pads else _alone(part[0])
            device = next(self.net.parameters()).device
            return self._scores({name: column.to(device) for name, column in batch.items()}).double().cpu()

        out = torch.empty(len(rows), dtype=torch.float64)
        for chunk, scores in zip(chunks, in_chunks(chunks, read, title="scores"), strict=True):
            out[chunk] = scores
        return out

    @property
    def _pads(self) -> bool:
        """Return whether rows of unequal length may share a batch."""
        return True

    def _ids(self, prompts: list[str], responses: list[str]) -> list[dict[str, list[int]]]:
        raise NotImplementedError

    def _scores(self, batch: dict[str, Tensor]) -> Tensor:
        raise NotImplementedError


def _alone(row: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: torch.tensor([column]) for name, column in row.items()}


class BeaverScore(_Published):
    """A beaver reward or cost model.

    Parameters
    ----------
    name : str
        A hub name or a folder.
    role : {"reward", "cost"}
        Must be the model's own ``score_type``. A cost is anchored.

    Raises
    ------
    InputError
        When the model is of the other kind, has no safetensors file, lacks weights, gives several scores, or
        is to normalise and holds no mean and variance.
    """

    def __init__(self, name: str, role: str) -> None:
        with backbone.no_bars():
            net, report = backbone.load_safely(BeaverNet, name)
        config = net.config
        self.kind = str(getattr(config, "score_type", "reward"))
        if self.kind != role:
            raise InputError(f"{name}: its score_type is {self.kind!r}, and a {role} was wanted")
        if net.score_head.out_features != 1:
            raise InputError(f"{name}: gives {net.score_head.out_features} scores; one is wanted")
        _fill(net, set(report["missing_keys"]), name)
        self.net, self.tokenizer = net, backbone.load_tokenizer(name)
        self.normalises = bool(getattr(config, "do_normalize", False))
        self.anchored = self.kind == "cost"
        self.said = (self.kind, str(self.normalises))

    def _ids(self, prompts: list[str], responses: list[str]) -> list[dict[str, list[int]]]:
        end = self.tokenizer.eos_token
        texts = [beaver_text(x, end) + y + end for x, y in zip(prompts, responses, strict=True)]
        longest = self.net.config.max_position_embeddings
        found = self.tokenizer(texts)["input_ids"] if texts else []
        rows = [_cut(ids, longest, self.tokenizer.bos_token_id) for ids in found]
        return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows]

    def _scores(self, batch: dict[str, Tensor]) -> Tensor:
        end: Tensor = self.net(batch["input_ids"], batch["attention_mask"])
        if not self.normalises:
            return end
        mean, spread = self.net.normalizer.mean.float(), self.net.normalizer.var.float().sqrt() + EPSILON
        return end / spread if self.kind == "cost" else (end - mean) / spread


def beaver_text(prompt: str, end: str) -> str:
    r"""Return a prompt in the models' template; an earlier answer of a dialogue is closed by the end token.

    >>> beaver_text("Tofu?", "</s>")
    'BEGINNING OF CONVERSATION: USER: Tofu? ASSISTANT:'
    >>> beaver_text("\n\nHuman: Tofu?\n\nAssistant: Yes.\n\nHuman: Why?\n\nAssistant:", "</s>")
    'BEGINNING OF CONVERSATION: USER: Tofu? ASSISTANT:Yes.</s>USER: Why? ASSISTANT:'
    """
    text, before = BEGIN, ""
    for turn in messages(prompt):
        if turn["role"] == "assistant":
            text += turn["content"] + end
        elif turn["role"] == "system":
            before = turn["content"] + "\n\n"  # the template has no place of its own for one
        else:
            text, before = text + USER.format(before + turn["content"]) + ASSISTANT, ""
    return text


def _cut(ids: list[int], longest: int, first: int | None) -> list[int]:
    """Return the ids without their oldest ones where they do not fit: the score is read at the end."""
    if len(ids) <= longest:
        return ids
    return [first, *ids[1 - longest :]] if first is not None else ids[-longest:]


def _fill(net: Any, missing: set[str], name: str) -> None:
    """Set what the file may lack: no bias is a bias of 0, the normaliser may stand in the configuration."""
    config = net.config
    unstated = not hasattr(config, "score_bias") and not hasattr(config, "bias")
    if "score_head.bias" in missing and unstated:
        nn.init.zeros_(net.score_head.bias)
        missing = missing - {"score_head.bias"}
    if "normalizer.count" in missing:
        net.normalizer.count.zero_()
    if {"normalizer.mean", "normalizer.var"} & missing:
        stated = [getattr(config, part, None) for part in ("mean", "var")]
        if None in stated and getattr(config, "do_normalize", False):
            raise InputError(f"{name}: it is to normalise its scores, and holds no mean and variance for it")
        for part, value, neutral in zip(("mean", "var"), stated, (0.0, 1.0), strict=True):
            numbers = torch.as_tensor(neutral if value is None else value, dtype=torch.float32)
            getattr(net.normalizer, part).copy_(numbers)
    left = sorted(key for key in missing if not key.startswith("normalizer."))
    if left:
        raise InputError(f"{name}: {len(left)} weights are not in its file, e.g. {left[0]}")


class Classifier(_Published):
    """A sequence classifier with one label, or one label of several.

    With one label the score is its logit. Of several it is that of ``label``: its logit, or where the
    classes exclude each other (``problem_type`` is single_label_classification) its log-odds
    l_i - log sum_{j != i} e^(l_j), so that s(score) is the class's probability.

    Parameters
    ----------
    name : str
        A hub name or a folder.
    label : str, optional
        Name or number of the label; needed where there are several.
    anchored : bool
        Whether somebody says that 0 is the boundary between safe and unsafe. A model does not say so itself.

    Raises
    ------
    InputError
        When the model has no safetensors file, lacks weights (an untrained head), or has no such label.
    """

    def __init__(self, name: str, *, label: str | None = None, anchored: bool = False) -> None:
        with backbone.no_bars():
            net, report = backbone.load_safely(AutoModelForSequenceClassification, name)
        if missing := sorted(report["missing_keys"]):
            raise InputError(f"{name}: {len(missing)} weights are not in its file, e.g. {missing[0]}")
        self.net, self.tokenizer, self.anchored = net, backbone.load_tokenizer(name), anchored
        self.label = _label(net.config, label, name)
        self.odds = getattr(net.config, "problem_type", None) == "single_label_classification"
        self.said = (str(self.label), str(self.odds))

    @property
    def _pads(self) -> bool:
        return self.net.config.pad_token_id is not None

    def _ids(self, prompts: list[str], responses: list[str]) -> list[dict[str, list[int]]]:
        limits = (self.tokenizer.model_max_length, getattr(self.net.config, "max_position_embeddings", None))
        longest = min(limit for limit in limits if limit is not None)
        if self.tokenizer.chat_template is None:
            return [
                dict(self.tokenizer(x, y, truncation="only_first", max_length=longest))
                for x, y in zip(prompts, responses, strict=True)
            ]
        rows = [self._rendered(x, y)[-longest:] for x, y in zip(prompts, responses, strict=True)]
        return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows]

    def _rendered(self, prompt: str, answer: str) -> list[int]:
        turns = [*messages(prompt), {"role": "assistant", "content": answer}]
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        except Exception as error:  # a template is a program of the model's authors: it may raise anything
            raise InputError(f"the score model's chat template refuses a dialogue ({error})") from error
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _scores(self, batch: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.net(**batch).logits.float()  # (B, labels)
        if not self.odds or logits.shape[1] == 1:
            return logits[:, self.label]
        others = [i for i in range(logits.shape[1]) if i != self.label]
        return logits[:, self.label] - logits[:, others].logsumexp(dim=1)


def _label(config: Any, wanted: str | None, name: str) -> int:
    """Return the place of a label that is given by name or number."""
    names = [str(config.id2label[i]) for i in range(config.num_labels)]
    if wanted is None and len(names) == 1:
        return 0
    if wanted in names:
        return names.index(str(wanted))
    if wanted is not None and wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    said = "say which is meant" if wanted is None else f"{wanted!r} is none of them"
    listed = ", ".join(f"{i} {label}" for i, label in enumerate(names))
    raise InputError(f"{name}: it has {len(names)} labels ({listed}); {said}: {name},label={names[-1]}")
