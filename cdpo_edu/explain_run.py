"""Read a finished run folder as evidence, ask its policy about some pairs, and explain it.

Left out: the diagnoses (`explain`).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from .explain import Array, Evidence, Finding, findings
from .history import read_history
from .pairs import ScoredPairs
from .presets import read_config
from .run_folder import latest_state
from .score_table import ScoreTable
from .tiers import BUILDERS
from .types import InputError, Policy, take

ASKED = 256
"""Pairs whose answers the policy is asked for: enough to see a fall, few enough for a large model."""


def explain_run(run: Path) -> list[Finding]:
    """Return what `explain.findings` says of the run folder ``run``.

    Raises
    ------
    InputError
        When no finished run is there.
    """
    state = latest_state(run)
    for name in ("config.json", "certificate.json", "card.json"):
        if not (run / name).exists() or state is None:
            raise InputError(f"{run}: no finished run there ({name}); see cdpo-edu train --resume")
    assert state is not None
    config, history = read_config(run, {}), read_history(run / "history.jsonl")
    job = BUILDERS[config.tier](config, run, lambda line: None)
    job.policy.restore(run / "policy")
    saved = load_file(state / "loop.safetensors")
    differences = [(column[:, 1] - column[:, 0]).double() for column in (job.scored.reward, job.scored.cost)]
    chosen, rejected = log_ratios(job.policy, job.scored, history[-1].lam)
    return findings(
        Evidence(
            json.loads((run / "certificate.json").read_text(encoding="utf-8")),
            history,
            config.beta,
            job.scored.gap(history[-1].lam).numpy(),
            float(differences[0].std()),
            float(differences[1].std()),
            ScoreTable(saved["reference_reward"], saved["reference_cost"]),
            chosen,
            rejected,
        )
    )


def log_ratios(policy: Policy, scored: ScoredPairs, lam: float) -> tuple[Array, Array]:
    """Return log pi - log pi_ref of the answer that ``lam`` prefers and of the other, evenly spaced pairs."""
    index = torch.linspace(0, len(scored) - 1, min(ASKED, len(scored))).long()
    prompts, sides = take(scored.prompts, index), [take(side, index) for side in (scored.y0, scored.y1)]
    logp = torch.stack([policy.log_prob(prompts, side).double().cpu() for side in sides], dim=1)
    ratio = (logp - scored.ref_logp[index]).numpy()  # (m, 2)
    wins = (scored.gap(lam)[index] > 0).long().numpy()
    rows = np.arange(len(index))
    return ratio[rows, wins], ratio[rows, 1 - wins]
