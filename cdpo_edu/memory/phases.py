"""The passes of a run through a shadow model, each with the bytes that it holds at most.

A batch is taken as long as the settings allow: every prompt and every answer fills its budget.

Left out: what is there all the time, weights, adapters and moments (`predict`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ..sequences import token_logp
from ..shared_prompt import LONGEST, block_mask, reading_cost
from .ledger import Ledger
from .plan import Plan


class Held(NamedTuple):
    """Bytes at the peak of a pass, and how many of them the trunk keeps for the way back."""

    peak: int
    activations: int


def _trunk(model: Any) -> Any:
    """Return the model below the head, adapters included."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    return inner.base_model


def _ledger(model: nn.Module) -> Ledger:
    return Ledger([*model.parameters(), *model.buffers()])


def _ids(rows: int, length: int) -> Tensor:
    return torch.zeros(rows, length, dtype=torch.long)


def shares(plan: Plan, hidden: int) -> bool:
    """Return whether a full batch is read with its prompts shared, as `collate_cheaper` decides."""
    shared, alone = plan.prompt + 2 * plan.response, plan.prompt + plan.response
    cheaper = reading_cost(1, shared, hidden) <= reading_cost(2, alone, hidden)
    return plan.share_prompts and shared <= LONGEST and cheaper


def training(model: Any, plan: Plan) -> Held:
    """Return what one part of a DPO step holds: forward, loss, backward; gradients included."""
    model.train()
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    if plan.checkpointing:
        new = hasattr(inner, "activation_checkpointing_enable")
        name = "activation_checkpointing_enable" if new else "gradient_checkpointing_enable"
        getattr(inner, name)({"use_reentrant": False})
    with _ledger(model) as ledger:
        shared = shares(plan, int(inner.config.get_text_config().hidden_size))
        logits, tokens, kept = (_shared_logits if shared else _plain_logits)(model, plan, ledger)
        place = torch.zeros(tokens, dtype=torch.long)
        loss = token_logp(logits, place, place).sum()
        del logits
        loss.backward()
    for weight in model.parameters():
        weight.grad = None
    return Held(ledger.peak, kept)


def _shared_logits(model: Any, plan: Plan, ledger: Ledger) -> tuple[Tensor, int, int]:
    """Return the logits that predict something, the number of scored tokens, and the bytes kept so far."""
    rows, length = plan.pairs_at_once, plan.prompt + 2 * plan.response
    ids = _ids(rows, length)
    hidden = _trunk(model)(
        input_ids=ids, attention_mask=block_mask(ids), position_ids=_ids(rows, length), use_cache=False
    ).last_hidden_state
    kept = ledger.now
    predicting = rows * (2 * plan.response - 1)
    picked = hidden.reshape(rows * length, -1).index_select(0, torch.zeros(predicting, dtype=torch.long))
    return model.get_output_embeddings()(picked), 2 * rows * plan.response, kept


def _plain_logits(model: Any, plan: Plan, ledger: Ledger) -> tuple[Tensor, int, int]:
    rows, length = 2 * plan.pairs_at_once, plan.prompt + plan.response
    hidden = _trunk(model)(
        input_ids=_ids(rows, length), attention_mask=_ids(rows, length), use_cache=False
    ).last_hidden_state
    kept = ledger.now
    logits = model.get_output_embeddings()(hidden[:, -plan.response - 1 :])
    picked = logits[:, :-1].reshape(rows * plan.response, -1).clone()
    return picked, rows * plan.response, kept


@torch.no_grad()
def reading(model: Any, plan: Plan) -> Held:
    """Return what `log_prob` holds for ``eval_rows`` answers."""
    model.eval()
    rows, length = plan.eval_rows, plan.prompt + plan.response
    with _ledger(model) as ledger:
        hidden = _trunk(model)(
            input_ids=_ids(rows, length), attention_mask=_ids(rows, length), use_cache=False
        ).last_hidden_state
        logits = model.get_output_embeddings()(hidden[:, -plan.response - 1 :])
        picked = logits[:, :-1].reshape(rows * plan.response, -1).clone()
        place = torch.zeros(len(picked), dtype=torch.long)
        token_logp(picked, place, place)
    return Held(ledger.peak, 0)


@torch.no_grad()
def sampling(model: Any, plan: Plan) -> Held:
    """Return what `sample` holds: the prompts' pass, or the last token's with the cache of all before it."""
    model.eval()
    rows, trunk = plan.eval_rows, _trunk(model)
    with _ledger(model) as ledger:
        cache = DynamicCache(config=trunk.config)
        trunk(input_ids=_ids(rows, plan.prompt), past_key_values=cache, use_cache=True)
        for layer in cache.layers:
            layer.keys, layer.values = (_longer(x, plan.response) for x in (layer.keys, layer.values))
        hidden = trunk(input_ids=_ids(rows, 1), past_key_values=cache, use_cache=True).last_hidden_state
        logits = model.get_output_embeddings()(hidden)[:, -1].float()
        probabilities = logits.clone().softmax(dim=-1)
        torch.multinomial(probabilities, 1)
    return Held(ledger.peak, 0)


def _longer(cached: Tensor, tokens: int) -> Tensor:
    """Return keys or values (B, heads, T, width) with room for ``tokens`` more."""
    return cached.new_zeros(*cached.shape[:2], cached.shape[2] + tokens, cached.shape[3])


@torch.no_grad()
def probing(model: Any, plan: Plan) -> Held:
    """Return what the trial of shared prompts holds (`reading.cannot_share`): seven rows, all logits."""
    model.eval()
    with _ledger(model) as ledger:
        ids = _ids(7, min(LONGEST, plan.prompt + plan.response))
        hidden = _trunk(model)(input_ids=ids, attention_mask=ids, use_cache=False).last_hidden_state
        model.get_output_embeddings()(hidden)
    return Held(ledger.peak, 0)


@torch.no_grad()
def scoring(trunk: Any, *, rows: int, length: int) -> Held:
    """Return what a score model holds for ``rows`` answers."""
    trunk.eval()
    with _ledger(trunk) as ledger:
        trunk(input_ids=_ids(rows, length), attention_mask=_ids(rows, length), use_cache=False)
    return Held(ledger.peak, 0)


def fitting(trunk: Any, *, rows: int, length: int) -> Held:
    """Return what a step of fitting a score model holds, gradients included."""
    trunk.train().requires_grad_(True)
    with _ledger(trunk) as ledger:
        hidden = trunk(
            input_ids=_ids(rows, length), attention_mask=_ids(rows, length), use_cache=False
        ).last_hidden_state
        kept = ledger.now
        hidden[:, -1].sum().backward()
    for weight in trunk.parameters():
        weight.grad = None
    return Held(ledger.peak, kept)
