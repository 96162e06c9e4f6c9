"""A causal language model as a policy: one class from two layers of width 64 to 7B in 4 bits with LoRA.

Tokens: the prompt is encoded once (cut on the left to its budget), the response ids are appended and, if
they leave room, closed by the end token. A response that fills its whole budget never ended, and its
log-probability says so by having no end term; over a finite vocabulary the probabilities of all responses
therefore sum to 1 exactly.

Where the tokenizer has a chat template, a prompt is its turns in that template (`conversation`). A prompt is
read once for all answers of its set where the model allows it (`reading`, `shared_prompt`).

Left out: packing.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import adapters, backbone
from .answer_sets import AnswerSet, answer_sets, collate_sets
from .conversation import chat_ids
from .engine import Budget, Engine
from .long_work import in_chunks
from .losses import anchored_dpo_loss
from .pairs import Preferences, digest
from .reading import cannot_share, read_logp, read_rows
from .sequences import Rows, encode, pad_rows
from .shared_prompt import SharedRows, collate_cheaper
from .training import train
from .types import Batch, FitResult, InputError, Span

__all__ = ["Budget", "Engine", "LanguageModelPolicy"]

logger = logging.getLogger(__name__)


class LanguageModelPolicy:
    """A transformers causal model with its tokenizer, read and tuned as a `Policy`.

    Parameters
    ----------
    model : nn.Module
        A causal model, or a peft model around one; with adapters, they alone are trained.
    tokenizer : PreTrainedTokenizer
        With padding and end token.
    budget : Budget
    engine : Engine
    response_words : list of str, optional
        The only tokens that a response may hold besides the end token; the distribution is renormalised
        over them. Absent, the whole vocabulary.
    adapters_off : bool
        Read the model with its trained adapters off: the reference.
    chat : bool, optional
        Put prompts in the tokenizer's chat template. Absent, where it has one.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        budget: Budget | None = None,
        engine: Engine | None = None,
        response_words: list[str] | None = None,
        adapters_off: bool = False,
        chat: bool | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.budget, self.engine = budget or Budget(), engine or Engine()
        self.response_words = response_words
        self.adapters_off = adapters_off
        has_template = getattr(tokenizer, "chat_template", None) is not None
        if chat and not has_template:
            raise InputError("chat: this tokenizer has no chat template; leave it out")
        self.chat = has_template if chat is None else chat
        self.unended = 0.0
        self._tried: dict[int, str | None] = {}  # by tokens of prompt and answer: why prompts are not shared
        self.model.generation_config = backbone.full_distribution(tokenizer, new_tokens=1, suppress=None)  # type: ignore[assignment]
        self.allowed = self._allowed_tokens()

    @classmethod
    def tiny(
        cls,
        tokenizer: Any,
        *,
        hidden: int = 64,
        layers: int = 2,
        lora_rank: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> LanguageModelPolicy:
        """Return a small Llama built from its configuration: random weights, no download.

        ``settings`` are those of the constructor.
        """
        model: nn.Module = backbone.tiny_llama(tokenizer, hidden=hidden, layers=layers, seed=seed)
        policy = cls(model, tokenizer, **settings)
        return policy if lora_rank is None else policy.with_lora(lora_rank, seed=seed)

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        bits: int = 32,
        lora_rank: int | None = None,
        lora_targets: list[str] | None = None,
        seed: int = 0,
        trust_remote_code: str | None = None,
        **settings: Any,
    ) -> LanguageModelPolicy:
        """Return a policy from a hub name, a model's or adapter's folder, or a folder that `save` wrote.

        An adapter that peft saved (SFT) is put on the model that it names and stays on, frozen: it is the
        reference, and fresh adapters are trained beside it. What `save` wrote comes back as it was, or, with
        ``lora_rank``, becomes such a reference itself.

        Parameters
        ----------
        name : str or path
        bits : {32, 16, 8, 4}
            Below 16 the base stays frozen and ``lora_rank`` is needed to train.
        lora_rank : int, optional
            Rank of fresh adapters.
        lora_targets : list of str, optional
            Ends of the names of the layers to adapt; absent, all linear layers but the head.
        trust_remote_code : str, optional
            The name of the model whose own code may run; no other's does.

        Raises
        ------
        InputError
            For an adapter without ``lora_rank``, or bits that `save`'s own adapters were not trained beside.
        """
        directory, base = Path(name), str(name)
        tuned = adapters.is_adapter(directory)
        if (directory / "policy.json").exists():
            saved = _saved(directory)
            whole: dict[str, Any] = {"base": base, "bits": 32}
            origin = _origin_of(saved, directory) if tuned else whole
            if lora_rank is None and bits in (32, origin["bits"]):
                with backbone.no_bars():
                    return cls._load_saved(directory, **settings)
            settings, base = _settings_of(saved) | settings, origin["base"]
        elif tuned:
            base = adapters.base_of(directory)
        if tuned and lora_rank is None:
            raise InputError(f"{name}: an adapter is a frozen reference; give lora_rank for the one to train")
        model = backbone.load_model(base, bits=bits, trust_remote_code=trust_remote_code)
        if tuned:
            model = adapters.with_reference(model, directory)
        words = str(name) if (directory / "tokenizer_config.json").exists() else base
        tokenizer = backbone.load_tokenizer(words, trust_remote_code=trust_remote_code)
        policy = cls(model, tokenizer, **settings)
        policy._origin = {"base": base, "bits": bits, "trust_remote_code": trust_remote_code}
        return policy if lora_rank is None else policy.with_lora(lora_rank, seed=seed, targets=lora_targets)

    def with_lora(self, rank: int, *, seed: int = 0, targets: list[str] | None = None) -> LanguageModelPolicy:
        """Return this policy with fresh adapters around its model, which is frozen from now on.

        They go on every linear layer but the head, or on those whose names end in one of ``targets``.
        """
        twin = self._like(adapters.with_lora(self.model, rank=rank, seed=seed, targets=targets))
        twin._origin = self._origin
        return twin

    _origin: dict[str, Any] | None = None
    """Where the base weights live, when it is not this policy's own folder."""

    @property
    def fingerprint(self) -> str:
        """Return a digest of weights, budget and vocabulary: everything that moves ``log_prob``."""
        parts = [str(tuple(self.budget)), str(self.response_words), str(self.adapters_off)]
        parts += [str(self.tokenizer.chat_template)] if self.chat else []
        for name, weight in sorted(self.model.state_dict().items()):
            if not (self.adapters_off and adapters.is_trained(name)):
                parts.append(
                    f"{name}:{weight.dtype}:{weight.double().sum().item()!r}:{weight.double().norm()!r}"
                )
        return digest(*parts)

    @torch.no_grad()
    def log_prob(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return log pi(y|x), summed over tokens, nats, float32 on the CPU, shape (batch,)."""
        x, y = self._prompt_ids(prompts), self._response_ids(responses)
        order = sorted(range(len(x)), key=lambda i: len(x[i]) + len(y[i]))
        out = torch.empty(len(x))
        self.model.eval()
        chunks = [order[i : i + self.engine.eval_rows] for i in range(0, len(order), self.engine.eval_rows)]

        def read(place: int, chunk: list[int]) -> Tensor:
            rows = pad_rows([x[i] for i in chunk], [y[i] for i in chunk], pad=self.tokenizer.pad_token_id)
            return self._logp(self.model, rows).cpu()

        for chunk, logp in zip(chunks, in_chunks(chunks, read, title="log-probabilities"), strict=True):
            out[chunk] = logp
        return out

    @torch.no_grad()
    def sample(self, prompts: Batch, n: int, *, generator: torch.Generator) -> list[str]:
        """Return ``n`` answers per prompt at temperature 1 from the full distribution, prompt-major.

        The share that filled its budget without an end token is kept in ``unended``. Each chunk of rows is
        drawn with a seed of its own.
        """
        ids = [row for row in self._prompt_ids(prompts) for _ in range(n)]
        seed = int(torch.randint(2**62, (1,), generator=generator))
        chunks = [ids[i : i + self.engine.eval_rows] for i in range(0, len(ids), self.engine.eval_rows)]
        self.model.eval()

        def draw(place: int, chunk: list[list[int]]) -> list[Any]:
            with torch.random.fork_rng():
                torch.manual_seed(seed + place)
                tokens = self._generate(chunk)
            unended = int((tokens != self.tokenizer.eos_token_id).all(dim=1).sum())
            return [unended, self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

        drawn = in_chunks(chunks, draw, title="samples")
        self.unended = sum(unended for unended, _ in drawn) / len(ids)
        return [answer for _, answers in drawn for answer in answers]

    def frozen(self) -> LanguageModelPolicy:
        """Return the reference: the same weights with the adapters off, or a copy where there are none.

        Raises
        ------
        InputError
            When the adapters have been trained already: switched off they are not what the policy is.
        """
        if not self._has_adapters():
            return self._like(copy.deepcopy(self.model))
        fresh = [pair for pair in self.model.named_parameters() if adapters.is_trained(pair[0])]
        moved = [name for name, weight in fresh if "lora_B" in name and weight.any()]
        if moved:
            raise InputError(
                f"these adapters are already trained ({moved[0]} is not zero), so the base without them is "
                "not this policy; take the reference before training, or merge the adapters first"
            )
        twin = self._like(self.model)
        twin.adapters_off = True
        return twin

    def fit(
        self, preferences: Preferences, *, beta: float, steps: int, seed: int, progress: Span = (0.0, 1.0)
    ) -> FitResult:
        """Take ``steps`` optimizer steps on the DPO loss; the reference enters as cached numbers only.

        A row is one set of answers to one prompt with all comparisons among them: each answer is read once,
        and so is the prompt where that is cheaper and `shares_prompts`.
        With an ``sft_weight`` in the engine the loss, also the one returned, is the anchored one.
        """
        rows = answer_sets(preferences, self._prompt_ids, self._response_ids)

        def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            logp = self._logp(model, read_rows(batch))[batch["pairs"]]  # (pairs, 2)
            weight = batch["weight"] / batch["weight"].mean()
            columns = logp, batch["ref_logp"], batch["target"]
            return weight * anchored_dpo_loss(*columns, beta, self.engine.sft_weight)

        collate = partial(collate_sets, pad=self.tokenizer.pad_token_id)
        if self.shares_prompts:
            width = self.model.config.get_text_config().hidden_size  # type: ignore[union-attr, operator]
            collate = partial(collate_cheaper, pad=self.tokenizer.pad_token_id, hidden=width)
        sizes = [len(row.answers) for row in rows]
        return FitResult(self._train(rows, loss, collate, steps, seed, "DPO", progress, sizes), steps)

    @property
    def shares_prompts(self) -> bool:
        """Return whether `fit` may read a prompt once for several answers: wished, and found to be the same.

        The model is tried when this is first asked for a budget; a no is logged once, with the reason.
        """
        reach = self.budget.prompt + self.budget.response
        if self.engine.share_prompts and reach not in self._tried:
            reason = self._tried[reach] = cannot_share(self.model, reach=reach)
            if reason is not None:
                logger.warning("prompts are read once per answer, which is slower, as this model: %s", reason)
        return self.engine.share_prompts and self._tried[reach] is None

    def imitate(self, prompts: Batch, responses: Batch, *, steps: int, seed: int) -> FitResult:
        """Take ``steps`` AdamW steps on -log pi(y|x), summed over tokens: supervised fine-tuning."""
        x_ids, y_ids = self._prompt_ids(prompts), self._response_ids(responses)
        rows: list[Any] = list(zip(x_ids, y_ids, strict=True))

        def collate(part: list[Any]) -> dict[str, Tensor]:
            x, y = zip(*part, strict=True)
            return pad_rows([*x], [*y], pad=self.tokenizer.pad_token_id)._asdict()

        def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            return -self._logp(model, read_rows(batch))

        return FitResult(self._train(rows, loss, collate, steps, seed, "imitation"), steps)

    def truncated(self, prompts: Batch, responses: Batch) -> dict[str, int]:
        """Return how many prompts and responses do not fit their budgets, and so would be cut."""
        y = encode(self.tokenizer, map(str, responses))
        if self.chat:
            x, room = chat_ids(self.tokenizer, map(str, prompts)), self.budget.prompt
        else:
            x = encode(self.tokenizer, map(str, prompts))
            room = self.budget.prompt - (self.tokenizer.bos_token_id is not None)
        return {
            "prompts": sum(len(ids) > room for ids in x),
            "responses": sum(len(ids) >= self.budget.response for ids in y),
        }

    def save(self, directory: Path) -> None:
        """Write weights (the adapters alone where there are any), tokenizer and settings, as safetensors."""
        settings = {
            "budget": list(self.budget),
            "engine": list(self.engine),
            "response_words": self.response_words,
            "origin": self._origin,
            "chat": self.chat,
        }
        backbone.save_settings(directory, settings)
        with backbone.no_bars():
            if self._has_adapters() and self._origin is None:
                adapters.without_adapters(self.model).save_pretrained(directory / "base")  # type: ignore[operator]
            self.model.save_pretrained(directory)  # type: ignore[operator]
        self.tokenizer.save_pretrained(directory)

    def restore(self, directory: Path) -> None:
        """Take the weights (or the adapters) that `save` wrote, for a model of the same shape."""
        adapters.restore_weights(self.model, directory)

    @classmethod
    def _load_saved(cls, directory: Path, **overrides: Any) -> LanguageModelPolicy:
        saved = _saved(directory)
        settings = _settings_of(saved) | overrides
        tokenizer = backbone.load_tokenizer(str(directory))
        if not adapters.is_adapter(directory):
            return cls(backbone.load_model(str(directory)), tokenizer, **settings)
        origin = _origin_of(saved, directory)
        base = backbone.load_model(
            origin["base"], bits=origin["bits"], trust_remote_code=origin.get("trust_remote_code")
        )
        policy = cls(adapters.load_adapter(base, directory), tokenizer, **settings)
        policy._origin = saved["origin"]
        return policy

    # ------------------------------------------------------------------ inside

    def _like(self, model: nn.Module) -> LanguageModelPolicy:
        return LanguageModelPolicy(
            model,
            self.tokenizer,
            budget=self.budget,
            engine=self.engine,
            response_words=self.response_words,
            chat=self.chat,
        )

    def _has_adapters(self) -> bool:
        return hasattr(self.model, "peft_config")

    def _reading(self) -> AbstractContextManager[None]:
        return adapters.reading_reference(self.model) if self.adapters_off else nullcontext()

    def _allowed_tokens(self) -> Tensor | None:
        if self.response_words is None:
            return None
        allowed = torch.zeros(len(self.tokenizer), dtype=torch.bool)
        allowed[self.tokenizer.convert_tokens_to_ids(self.response_words)] = True
        allowed[self.tokenizer.eos_token_id] = True
        return allowed

    def _prompt_ids(self, prompts: Batch) -> list[list[int]]:
        if self.chat:
            return chat_ids(self.tokenizer, map(str, prompts), room=self.budget.prompt)
        bos = [self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else []
        encoded = encode(self.tokenizer, map(str, prompts))
        if not bos and not all(encoded):
            raise InputError(
                f"prompt {encoded.index([]) + 1}: an empty prompt, and this tokenizer has no begin token to "
                "predict the first answer token from"
            )
        return [bos + ids[-(self.budget.prompt - len(bos)) :] if ids else bos for ids in encoded]

    def _response_ids(self, responses: Batch) -> list[list[int]]:
        encoded = encode(self.tokenizer, map(str, responses))
        end = [self.tokenizer.eos_token_id]
        return [(ids + end)[: self.budget.response] for ids in encoded]

    def _logp(self, model: nn.Module, rows: Rows | SharedRows) -> Tensor:
        with self._reading():
            return read_logp(model, rows, allowed=self.allowed)

    def _generate(self, prompts: list[list[int]]) -> Tensor:
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        device = next(self.model.parameters()).device
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
        attention = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        forbidden = None if self.allowed is None else (~self.allowed).nonzero()[:, 0].tolist()
        settings = backbone.full_distribution(
            self.tokenizer, new_tokens=self.budget.response, suppress=forbidden
        )
        # `generate` takes what its argument leaves open from the model's own settings: keep those empty
        self.model.generation_config = backbone.full_distribution(self.tokenizer, new_tokens=1, suppress=None)  # type: ignore[assignment]
        with self._reading():
            out = self.model.generate(input_ids=ids, attention_mask=attention, generation_config=settings)  # type: ignore[operator]
        return out[:, width:].cpu()

    def _train(
        self,
        rows: list[Any],
        loss: Callable[..., Tensor],
        collate: Callable[..., Any],
        steps: int,
        seed: int,
        title: str,
        progress: Span = (0.0, 1.0),
        sizes: list[int] | None = None,
    ) -> float:
        return train(
            self.model,
            rows,
            loss=loss,
            collate=collate,
            steps=steps,
            batch_size=self.engine.batch_size * (1 if sizes is None else 2),
            learning_rate=self.engine.learning_rate,
            matrix_rate=self.engine.matrix_rate,
            checkpointing=self.engine.checkpointing,
            parts=self.engine.parts,
            seed=seed,
            title=title,
            progress=progress,
            lengths=[_length(row) for row in rows] if self.engine.group_by_length else None,
            sizes=sizes,
        )


def _length(row: Any) -> int:
    """Return the tokens of a row to imitate, or those of the longest answer of a set with its prompt."""
    if isinstance(row, AnswerSet):
        return len(row.prompt) + max(map(len, row.answers))
    return sum(map(len, row))


def _saved(directory: Path) -> dict[str, Any]:
    """Return what `LanguageModelPolicy.save` wrote beside the weights."""
    saved: dict[str, Any] = json.loads((directory / "policy.json").read_text(encoding="utf-8"))
    return saved


def _settings_of(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's settings of a saved policy."""
    return {
        "budget": Budget(*saved["budget"]),
        "engine": Engine(*saved["engine"]),
        "response_words": saved["response_words"],
        "chat": saved.get("chat", False),
    }


def _origin_of(saved: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return where the base of saved adapters lies, and in how many bits they were trained beside it."""
    origin: dict[str, Any] = saved["origin"] or {"base": str(directory / "base"), "bits": 32}
    return origin
