# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 Real preferences on a small model
#
# **What you will have shown by the end.** From one file of preference rows come a model that speaks, a reward, a cost, a policy
# under a limit, and a verdict on it, in five stages, each with a check of its own. The loop is that of lesson 07. What is gone is
# the exact answer: nobody can list the sentences, so every number has an interval, the certificate shrinks to a modest word, and the
# last word belongs to prompts that nothing has touched.
#
# | reading | computing | hardware |
# |---|---|---|
# | 50 minutes | two minutes | any computer, no GPU |
#
# **What differs from lesson 08.** There the exact optimum judged everybody. Here there is none. At the very end we lift a curtain and
# see how right the judges were that one has in practice.

# %% [markdown]
# ## The rows, and a notice
#
# Published preference data on safety hold harmful text: that is what they are about. **Nothing of it is shown in this course.** The rows of this
# lesson are made by the kitchen of lesson 06, which speaks in sentences now, and have the columns of PKU-SafeRLHF. To run the
# same cells on rows of your own set `CDPO_EDU_ROWS` to a file, and do not print them by accident. This line says which made the outputs that
# you see.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import torch

from cdpo_edu.spoken_kitchen import spoken_cost, spoken_reward, write_kitchen_rows

ROWS = os.environ.get("CDPO_EDU_ROWS")
KITCHEN = ROWS is None
folder = Path(tempfile.mkdtemp())
rows = write_kitchen_rows(folder / "rows.jsonl", 2400, seed=0) if KITCHEN else Path(ROWS)
print(
    f"preset cpu-smoke, rows of {'the kitchen' if KITCHEN else 'your own'}, a small model made in this lesson"
)

# %% [markdown]
# The first thing to do with rows is to ask what they are and what is wrong with them.

# %%
from cdpo_edu.preference_data import load_pairs, validate

found = validate(rows)
print(f"{found.schema}: {found.usable} of {found.rows} rows can be used, {len(found.problems)} problems")
pairs = load_pairs(rows)
if KITCHEN:
    print(pairs.prompts[0], "|", pairs.y0[0], "|", pairs.y1[0])
    print(
        "better:", int(pairs.better[0]), " safer:", int(pairs.safer[0]), " unsafe:", pairs.unsafe[0].tolist()
    )

# %% [markdown]
# A prompt, two answers, and what people said: which helps more, which is safer, and for each whether it is unsafe. The labels are noisy, as
# people are: here they are draws at four nats per unit of taste and harm, so that a dish half a unit over the boundary is flagged with
# probability $\sigma(2)$, and one half a unit below with $\sigma(-2)$.
#
# ## Three kinds of prompts
#
# Prompts are dealt out once, by a hash, near-copies together. **Train**: everything is fitted there. **Dual**: the cost is measured there
# and the price chosen. **Judge**: touched by the verdict alone.
#
# **Predict**: why may the price not be chosen on the judge prompts?

# %%
from cdpo_edu.stages.fit import halves

train, held = halves(pairs, seed=0)
sets = train.prompt_sets
print(f"prompts: {len(sets.train)} to train, {len(sets.dual)} dual, {len(sets.judge)} to judge")
print(f"pairs of training prompts: {len(train)}, of dual prompts: {len(held)}")
assert not set(sets.judge) & (set(sets.train) | set(sets.dual))

# %% [markdown]
# Because a price that was chosen to meet the limit *there* meets it there by choice, and tells nothing about new prompts.

# %% [markdown]
# ## Stage one: a model that speaks
#
# **SFT**, supervised fine-tuning: imitate the answers that people found more helpful. It gives the *reference*, fluent and as careless as the
# people whose answers it learned. (On the command line: `cdpo-edu sft`.) `paced` is
# its first number, or the `fast` one where `CDPO_EDU_FAST=1` is set; what you read here belongs to the first.

# %%
from cdpo_edu import LanguageModelPolicy, paced
from cdpo_edu.backbone import bpe_tokenizer
from cdpo_edu.engine import Budget, Engine

tokenizer = bpe_tokenizer([*train.prompts, *train.y0, *train.y1], vocabulary=512)
budget = Budget(prompt=40, response=12) if KITCHEN else Budget()
policy = LanguageModelPolicy.tiny(
    tokenizer, seed=0, budget=budget, engine=Engine(64, 6e-3, 256, matrix_rate=1e-2)
)
liked = [y1 if b > 0.5 else y0 for y0, y1, b in zip(train.y0, train.y1, train.better, strict=True)]
before = policy.log_prob(held.prompts[:64], held.y0[:64]).mean().item()
policy.imitate(train.prompts, liked, steps=paced(120, fast=100), seed=0)
after = policy.log_prob(held.prompts[:64], held.y0[:64]).mean().item()
print(f"log-probability of an answer to a new prompt: from {before:.0f} to {after:.0f} nats")

# %%
reference = policy.frozen()
if KITCHEN:
    for answer in reference.sample(sets.dual[:1], 4, generator=torch.Generator().manual_seed(0)):
        print(answer)

# %% [markdown]
# ## Stage two: reward and cost
#
# Both are this model's trunk with one number at the last token. The reward learns from comparisons alone, so it has no zero; the cost also from flags, so
# it has one (lessons 01 and 05). (`cdpo-edu fit-scorers`.)

# %%
from cdpo_edu.scorers import CostModel, RewardModel, ScoreSettings

settings = ScoreSettings(*budget, batch_size=64, learning_rate=2e-3, matrix_rate=1e-2)
reward = RewardModel(policy.model, tokenizer, settings=settings).fit(train, steps=150, seed=0)
cost = CostModel(policy.model, tokenizer, settings=settings).fit(train, steps=150, seed=0)
print("anchored: reward", reward.anchored, " cost", cost.anchored)

# %% [markdown]
# **Before anything is optimised against a score, ask how good it is**, on prompts that it has not seen. **Predict** the share of flags
# that the sign of the cost gets right. What is the best that anyone can do, if flags are drawn with probability $\sigma(2)$?

# %%
from cdpo_edu.stages.calibration import cost_report, reward_report

heard_of_reward = reward_report(reward, held, bins=10)["comparisons"]
heard_of_cost = cost_report(cost, held, bins=10)
signs = heard_of_cost["sign"]["accuracy"]
print(f"reward, comparisons right: {heard_of_reward['accuracy']['value']:.1f}")
print(
    f"cost, flags right: {signs['all']['value']:.1f} (unsafe {signs['unsafe']['value']:.1f}, safe {signs['safe']['value']:.1f})"
)
error = heard_of_cost["sign"]["calibration"]["expected_calibration_error"]
print("calibration error below 0.08:", error < 0.08)
print(f"the best that anyone can do: {torch.tensor(2.0).sigmoid():.2f}")
assert signs["all"]["value"] > 0.8 and error < 0.08

# %% [markdown]
# It does nearly as well as anyone can, and its mistakes are not even: of unsafe answers it misses more than of safe ones, because unsafe ones are rarer. A limit on
# the *cost* feels that; keep it in mind.

# %% alt="Reliability diagram of the fitted cost: observed share of unsafe answers against the predicted probability. The predictions stand in two groups, most near 0.1 and some near 0.9, with one bin near 0.5; all bins lie near the diagonal."
from cdpo_edu import plot_calibration

predictions = heard_of_cost["sign"]["calibration"]["predictions"]
_ = plot_calibration(predictions["probability"], predictions["outcome"])

# %% [markdown]
# ## Stage three: the loop
#
# Scores and reference log-probabilities become columns, once. The scores are in nats of the labels, four per unit of the kitchen, and `cost_scale` brings
# them to the kitchen's units; a limit is in the scaled unit. The limit: $E[c] \le -0.3$, one forbidden portion in five answers.
#
# **Predict** whether the first round meets it.

# %%
from cdpo_edu import ConstrainedDPO

LIMIT, ROUNDS = -0.3, paced(4, fast=3)
SETTINGS = {"beta": 0.5, "rounds": ROUNDS, "steps": 40, "samples": 6, "seed": 0, "early_stop": False}
scored = train.score(reward, cost, reference, reward_scale=0.25, cost_scale=0.25)
policy.engine = policy.engine._replace(learning_rate=2e-3)
run = ConstrainedDPO(policy, cost_limit=LIMIT, **SETTINGS)
for record in run.iterate(scored):
    side = (
        "above" if record.cost_low > LIMIT else "below" if record.cost_high < LIMIT else "cannot be told from"
    )
    print(f"round {record.round}: price about {round(record.lam)}, the cost {side} the limit")
certificate = run.certificate_

# %% [markdown]
# Each line is about an interval: the mean over dual prompts, six answers each, give or take what these prompts leave open.
#
# ## What may be said now?
#
# **Predict**: which words of lesson 07's certificate are gone?

# %%
first, last = run.history_[0], run.history_[-1]
for name in ("status", "exact", "scores", "closeness", "gap", "dual_bound"):
    print(f"{name:11} {certificate.get(name, 'learned')}")
print("the cost fell by more than 0.1:", first.cost - last.cost > 0.1)
assert certificate["closeness"] is None and certificate["status"] in ("feasible", "unknown")
assert first.cost - last.cost > 0.1

# %% [markdown]
# No closeness, no gap, no *optimal*. `feasible` would say that the interval on the dual prompts lies below the limit, `unknown` that it straddles it.
# And all of it is by *learned* scores, on prompts on which the price was chosen. Hence the next stage.

# %% [markdown]
# ## Stage four: two comparisons at equal steps
#
# The same loop twice more, from the same reference. **Reward only**: with a limit that nobody can break, so that the price stays 0. **Cost only**: with a reward of 0 for
# everything, which asks for the policy *nearest to the reference* that meets the limit; it is what one can do who has flags and no helpfulness labels.


# %%
def looped(columns, limit):
    """Run the loop from a fresh copy of the reference and return its policy."""
    fresh = reference.frozen()
    fresh.engine = policy.engine
    ConstrainedDPO(fresh, cost_limit=limit, **SETTINGS).fit(columns)
    return fresh


no_reward = train.score(lambda x, y: torch.zeros(len(y)), cost, reference, cost_scale=0.25)
policies = {"reference": reference, "constrained": policy}
policies |= {"reward only": looped(scored, 10.0), "cost only": looped(no_reward, LIMIT)}

# %% [markdown]
# ## Stage five: the verdict
#
# On the judge prompts, for the first time. Not "is the mean below the limit in this sample?", but: **if the limit were broken, how surprising would this
# be?** The test bets against that, and keeps its level of 5 % however often one looks (`docs/verdict.md`). The question here is a *rate*, which needs no
# assumption about how large a cost can get: at most 3 of 10 answers flagged by the cost.
#
# **Predict** the verdict on each of the four.

# %%
from cdpo_edu.verdict import Bounds, decide

RATE = Bounds(0.0, 1.0, "a rate")
asked = [prompt for prompt in sets.judge for _ in range(4)]
answers = {
    name: p.sample(sets.judge, 4, generator=torch.Generator().manual_seed(5)) for name, p in policies.items()
}
verdicts = {}
for name, given in answers.items():
    flagged = (cost(asked, given) > 0).double().view(-1, 4).mean(dim=1)  # a prompt is one observation
    verdicts[name] = decide(flagged, 0.3, RATE, alpha=0.05)
    print(f"{name:12} flagged {verdicts[name].estimate:.1f}, verdict: {verdicts[name].answer}")
assert verdicts["constrained"].answer == "pass" and verdicts["reward only"].answer != "pass"

# %% [markdown]
# `more` would say that these prompts do not decide it; then one adds answers or prompts, and looks again. What the verdict cannot see is what the *cost* cannot
# see. A warning about that belongs to each such verdict: the scorer that made the labels is the one that judges. (`cdpo-edu verdict` prints it, takes another judge,
# or a sheet that people fill in.)

# %% [markdown]
# ## Behind the curtain
#
# The kitchen knows what each sentence is worth. Nobody has this in practice. **Predict**: does the constrained policy meet the limit by the *true* cost?
# Has it more true reward than cost-only?

# %%
table = {}
if KITCHEN:
    print("policy        true E[c]   true E[r] - reference's")
    for name, given in answers.items():
        true = [spoken_cost()(asked, given), spoken_reward()(asked, given)]
        table[name] = [column.view(-1, 4).mean(dim=1) for column in true]
        gain = (table[name][1] - table["reference"][1]).mean()
        print(f"{name:12} {table[name][0].mean():10.1f} {gain:12.1f}")
    truth = {name: (c.mean().item(), r.mean().item()) for name, (c, r) in table.items()}
    assert truth["constrained"][0] < LIMIT + 0.05 < truth["reference"][0]
    assert truth["constrained"][1] > truth["cost only"][1]

# %% [markdown]
# It does, within what 5 hundredths leave open. That was not promised: the certificate is about the learned problem. Lesson 05 has a cost with every sign right
# on which the policy breaks the true limit.
#
# ## The signature figure
#
# Reward against cost, by the learned scores with intervals over prompts (filled), and by the truth (hollow). Below the line the limit is met.

# %%
base = reward(asked, answers["reference"]) / 4
shown = {}
for name, given in answers.items():
    columns = cost(asked, given) / 4, reward(asked, given) / 4 - base
    shown[name] = [column.view(-1, 4).mean(dim=1) for column in columns]
print("policy        learned E[c]   learned E[r] - reference's")
for name, (c, r) in shown.items():
    print(f"{name:12} {c.mean():12.1f} {r.mean():14.1f}")

# %% [markdown]
# Hollow and filled mark of a policy should lie together, if the learned scores mean what they say.

# %% alt="Reward gained over the reference against expected cost for four policies, filled by the learned scores with intervals, hollow by the truth, with the limit as a vertical line at minus 0.3. The reference and reward only lie right of the limit, constrained and cost only left of it, by both. In cost each hollow mark is within 0.1 of its filled one. In reward the hollow marks of the two policies left of the limit lie about 0.2 below their filled ones."
import matplotlib.pyplot as plt

from cdpo_edu.plots import REFERENCE, RUN, house_style

with house_style():
    ax = plt.subplots(figsize=(11, 6.5))[1]
for (name, (c, r)), color in zip(shown.items(), (REFERENCE, RUN, "#E69F00", "#009E73"), strict=True):
    half = [1.96 * v.std().item() / len(v) ** 0.5 for v in (r, c)]
    ax.errorbar(c.mean(), r.mean(), *half, "o", color=color, markersize=13, elinewidth=3, label=name)
    if KITCHEN:
        true = table[name][0].mean(), (table[name][1] - table["reference"][1]).mean()
        ax.plot(*true, "o", mec=color, mfc="none", mew=2.5, markersize=13)
ax.plot([], [], "o", mec="black", mfc="none", mew=2.5, markersize=13, label="hollow: the truth")
ax.axvline(LIMIT, color="#D55E00", linewidth=3)
ax.set(xlabel="expected cost E[c] (line: the limit)", ylabel="E[r] above the reference (nats)")
_ = ax.legend(fontsize=15)

# %% [markdown]
# In **cost** the marks of a policy lie together: on this the verdict rested. In **reward** they do not. By the learned reward the constrained policy is
# no worse than the reference, by the true one it is. It was trained to please this very scorer, and found where it errs; the intervals do not show
# that, because they are about prompts and not about the scorer. The order of the two policies under the limit is the same by both: with the reward one
# keeps more of it than without.

# %%
if KITCHEN:
    true_gain = {name: (r - table["reference"][1]).mean().item() for name, (_, r) in table.items()}
    off_cost = max(abs(shown[n][0].mean() - table[n][0].mean()).item() for n in shown)
    off_reward = max(abs(shown[n][1].mean() - true_gain[n]).item() for n in shown)
    print(f"farthest apart: in cost {off_cost:.1f}, in reward {off_reward:.1f}")
    assert off_cost < 0.1 < off_reward

# %% [markdown]
# ## What would falsify this?
#
# A price that does nothing, a price that does everything, and labels that belong to other pairs. The first two you have seen: *reward only* is $\lambda = 0$, and *cost only* is
# $\lambda \to \infty$; both end elsewhere. The third:

# %%
order = torch.randperm(len(scored), generator=torch.Generator().manual_seed(0))
right = scored.label(certificate["lam"])
shuffled = reference.frozen()
shuffled.engine = policy.engine
shuffled.fit(right._replace(target=right.target[order]), beta=0.5, steps=paced(160, fast=120), seed=0)
given = shuffled.sample(sets.judge, 4, generator=torch.Generator().manual_seed(5))
rate = (cost(asked, given) > 0).double().mean().item()
print(
    "shuffled labels flag more answers than the constrained policy:",
    rate > verdicts["constrained"].estimate + 0.05,
)
assert rate > verdicts["constrained"].estimate + 0.05

# %% [markdown]
# ## The same as five commands
#
#     cdpo-edu sft --data ROWS --model NAME --out sft
#     cdpo-edu fit-scorers --pairs ROWS --model sft --out scorers
#     cdpo-edu train --tier lm --model sft --pairs ROWS --reward scorers/reward --cost scorers/cost --cost-limit 0 --out run
#     cdpo-edu verdict run
#     cdpo-edu export run --out handed-over
#
# Each leaves a folder, can be killed and resumed, and `scripts/pipeline.py` runs all of them.

# %% [markdown]
# ## Limits of this lesson
#
# - The rows are made, the model is tiny, and harm in a kitchen is a word in a sentence. That the stages work says nothing about how well a large model is
#   aligned by them.
# - One seed. The verdict's level is held in a simulation of a thousand runs (`docs/benchmarks.md`).
# - The judge here is the scorer that made the labels.
# - Mean cost and rate of flagged answers are two questions. A mean below its limit can hide many unsafe answers behind very safe ones (lesson 02).

# %% [markdown]
# ## References
#
# - J. Dai and others. *Safe RLHF: Safe Reinforcement Learning from Human Feedback.* 2024, arXiv 2310.12773: cost models with a zero.
# - J. Ji and others. *PKU-SafeRLHF.* 2024, arXiv 2406.15513: the columns of the rows.
# - Z. Liu, X. Sun, Z. Zheng. *Enhancing LLM Safety via Constrained Direct Preference Optimization.* 2024, arXiv 2403.02475.
# - I. Waudby-Smith, A. Ramdas. *Estimating Means of Bounded Random Variables by Betting.* 2024, arXiv 2010.09686: the verdict's bets.
