# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 Start here
#
# **What you will have shown by the end.** A policy was tuned to be as helpful as it can be under a limit on
# its expected harm. It meets the limit, and no policy that meets it could do noticeably better. You will have
# checked both with numbers that come from sums over *all* responses, not from a training curve.
#
# | reading | computing | hardware |
# |---|---|---|
# | 15 minutes | half a minute | any computer, no GPU |
#
# You need Python and a little probability: expectations, and what a conditional distribution is.

# %% [markdown]
# ## The subject in ten sentences
#
# 1. A language model is a *policy*: for a prompt $x$ it gives every response $y$ a probability $\pi(y|x)$.
# 2. People find it easier to compare two responses than to grade one, so their wishes are collected as
#    comparisons.
# 3. From "this one is more helpful" one learns a *reward* $r(x,y)$: higher is better.
# 4. From "this one is safer" and "this one is unsafe" one learns a *cost* $c(x,y)$: higher is more harmful,
#    and zero is the boundary between safe and unsafe.
# 5. The two pull apart: in our kitchen the dish that tastes best often holds what the guest must not eat.
# 6. To add them up with a fixed weight is to guess their exchange rate; a *limit*, "expected cost at most
#    $C$", says directly what is wanted.
# 7. A penalty $\beta\,\mathrm{KL}(\pi\,\|\,\pi_{ref})$ ties the policy to a reference model that already
#    speaks well.
# 8. The limit gets a price $\lambda \ge 0$ per unit of cost: for a given price the best policy is known in
#    closed form, and direct preference optimization (DPO) reaches it from comparisons, without reinforcement
#    learning.
# 9. The right price is found by measuring: while the policy costs too much $\lambda$ rises, while there is
#    room it falls, and it never goes below zero.
# 10. *Constrained DPO* repeats the two steps, and this package ends each run with a *certificate* that says
#     how far the policy is from the best one possible.

# %% [markdown]
# The same in symbols. Everything in this course is about this one problem:
#
# $$\max_\pi\; E_{x,\,y\sim\pi}[\,r(x,y)\,] \;-\; \beta\,E_x \mathrm{KL}\big(\pi(\cdot|x)\,\|\,\pi_{ref}(\cdot|x)\big)
# \qquad\text{subject to}\qquad E_{x,\,y\sim\pi}[\,c(x,y)\,]\le C$$

# %% [markdown]
# ## Words that are easily mixed up
#
# | word | what it means here |
# |---|---|
# | **constrained DPO**, C-DPO, `ConstrainedDPO` | the subject of this course: DPO under a limit on the expected cost (Liu, Sun & Zheng 2024) |
# | **conservative DPO** | what a bare "cDPO" means to most of the field: DPO with smoothed labels, because some of them may be wrong. It knows no cost and no limit |
# | `reward`, `cost` | higher is better; higher is more harmful. Turn the sign of a "safety score" before you call it a cost |
# | `cost_limit`, $C$ | the most that the *expected* cost may be; single responses may cost more |
# | `lam`, $\lambda$ | the multiplier: the price of one unit of cost, in units of reward |
# | `beta`, $\beta$ | the strength of the tie to the reference |
# | `logp` | the log-probability of a whole response: a **sum** over its tokens, never their mean |
# | nat | the unit of log-probabilities and of rewards here: odds of $e$ to 1 are 1 nat |

# %% [markdown]
# ## Is everything installed?
#
# `cdpo-edu doctor` prints these findings on the command line. A line that starts with `NO` comes with its
# remedy. The output below is from the machine that built this page; yours will differ.

# %% tags=["nbval-ignore-output"]
# %matplotlib inline
from cdpo_edu.doctor import examine

for finding in examine():
    print("ok" if finding.ok else "NO", f"{finding.what:13}", finding.found, finding.remedy)

# %% [markdown]
# ## The map
#
# The same problem is solved on three tiers. From one to the next only the world, the class of the policy and
# the two scorers change; the loop is the same code.
#
# | tier | prompts and responses | policy | reward and cost | what is exact |
# |---|---|---|---|---|
# | `bandit` | a few of each, in a table | one number per cell | known | everything |
# | `toy` | 16 guests of a kitchen, a few thousand dishes | a small transformer | learned from comparisons | everything, by listing all dishes |
# | `lm` | real preference data | a language model, up to 4-bit weights with adapters | learned from the data | nothing: every number has an interval |
#
# The next lesson, 01, builds scores from comparisons. Lesson 02 takes the limit apart, lesson 03 its price.

# %% [markdown]
# ## A first run, on the bandit
#
# `SafetyBandit.demo` is a world of four prompts and six responses. Its reward and its cost are known tables,
# and responses with a high reward tend to have a high cost. The reference policy is a table too.

# %%
from cdpo_edu import ConstrainedDPO, FiniteProblem, SafetyBandit, TabularPolicy

world = SafetyBandit.demo(seed=0)
print("prompts, responses:", *world.ref_probs.shape)
for name in ("reward", "cost"):
    row = getattr(world, name).values[0].tolist()
    print(f"{name:7} of prompt 0:", *(f"{value:6.2f}" for value in row))

# %% [markdown]
# Because the world is finite, the *exact* problem can be written down. `FiniteProblem` is the oracle of this
# course: it computes every expectation as a sum, and it knows the optimum. We allow an expected cost of at
# most 0.

# %%
problem = FiniteProblem(
    world.ref_probs.numpy(),
    world.reward.values.numpy(),
    world.cost.values.numpy(),
    beta=0.5,
    cost_limit=0.0,
)
start = problem.evaluate(problem.reference)
print(f"the reference: E[r] = {start.reward:.3f}, E[c] = {start.cost:.3f}, limit C = 0")

# %% [markdown]
# Now the training data. 4,000 comparisons are drawn: a prompt and two responses each. `score` adds the
# columns that training needs, once and for all: reward, cost and the reference's log-probability of both
# responses.

# %%
policy = TabularPolicy.like(world)
ref = policy.frozen()
scored = world.pairs(4000, seed=1).score(world.reward, world.cost, ref)

print("prompt  y0  y1   reward of both    cost of both")
for i in range(0, 20, 5):
    x, y0, y1 = (int(part[i]) for part in (scored.prompts, scored.y0, scored.y1))
    (r0, r1), (c0, c1) = scored.reward[i].tolist(), scored.cost[i].tolist()
    print(f"{x:6}  {y0:2}  {y1:2}   {r0:6.2f}  {r1:6.2f}   {c0:6.2f}  {c1:6.2f}")

# %% [markdown]
# **Predict.** The reference's expected cost, −0.095, already lies below the limit. So does the limit matter
# at all? Decide before you read on: what will plain DPO, which looks at the reward alone, do to the cost?
#
# Reward alone is the multiplier $\lambda = 0$. `label(0.0)` turns the scores into preferences, and `fit`
# lowers the DPO loss on them.

# %%
reward_only = TabularPolicy.like(world)
reward_only.fit(scored.label(0.0), beta=0.5, steps=100, seed=0)

free = problem.evaluate(world.table(reward_only.log_prob).exp())
print(f"reward alone: E[r] = {free.reward:.3f}, E[c] = {free.cost:.3f}, limit C = 0")

# %% [markdown]
# It matters. Reward alone takes the cost from below the limit to 0.429 above it, because what is helpful here
# tends to be harmful. The limit *binds*: the price $\lambda$ must be above zero.
#
# `ConstrainedDPO` finds it. A round labels the pairs by $r - \lambda c$, runs DPO on them, draws fresh
# samples from the new policy, measures their cost and moves $\lambda$. `iterate` is a generator, so you may
# look at every round. (`early_stop=False` shows all of them; else the run ends as soon as its policy is certified.)

# %%
run = ConstrainedDPO(policy, cost_limit=0.0, beta=0.5, early_stop=False, seed=0)

print("round    lam    E[r]    E[c]   95 % interval")
for record in run.iterate(scored):
    interval = f"({record.cost_low:.3f}, {record.cost_high:.3f})"
    print(f"{record.round:5} {record.lam:6.3f} {record.reward:7.3f} {record.cost:7.3f}   {interval}")

# %% [markdown]
# Round 0 is the reference, untrained. Its samples give a first guess of the multiplier, which is why
# $\lambda$ jumps in round 1; after that it moves little. Costs are measured on 64 samples per prompt, hence
# the intervals, and hence the hovering of the last rounds: the noise of the measurement, not of the optimum.
#
# How good is the last policy? Its certificate is exact here: every response was enumerated.

# %%
certificate = run.certificate_
for name in ("status", "lam", "lam_exact", "reward", "cost", "cost_limit", "objective", "dual_bound"):
    value = certificate[name]
    print(f"{name:15} {value if isinstance(value, str) else format(value, '.4f')}")
for name in ("gap", "gap_kl_term", "gap_slack_term", "closeness"):
    print(f"{name:15} {certificate[name]:.4f}")

# %% [markdown]
# How to read it:
#
# - `cost` is below `cost_limit`: the policy meets the limit, exactly and not only on its samples.
# - `objective` is what it earns, $E[r] - \beta\,\mathrm{KL}$. **No** policy that meets the limit can earn
#   more than `dual_bound`.
# - `gap` is the difference, 0.0127 nats: all that could still be won. It has two parts: how far the policy is
#   from the optimal one (`gap_kl_term`, next to nothing here), and the allowed cost that it leaves unused, at
#   its price (`gap_slack_term`).
# - `closeness` is 1 at the exact constrained optimum and 0 at the reference.
#
# Lesson 03 derives these lines. Check the arithmetic of the gap now, and that the solver agrees with the
# certificate:

# %%
best = problem.solve()
print(f"dual_bound - objective = {certificate['dual_bound'] - certificate['objective']:.4f}")
print(f"the two terms together = {certificate['gap_kl_term'] + certificate['gap_slack_term']:.4f}")
print(f"the best possible      = {best.objective:.4f} at lam = {best.lam:.4f}")
assert abs(best.objective - certificate["dual_bound"]) < 1e-9

# %% [markdown]
# ## The picture
#
# Reward against cost. The dashed curve holds the best policy for every price $\lambda$, from the oracle. The
# blue line is the run as it was measured, round by round, from the reference to the last policy. Right of the
# vermillion line the limit is not met.

# %% alt="Reward against cost: a rising dashed curve crosses the limit at the exact optimum, the star; the run goes from the reference, far below the curve, to the star."
from cdpo_edu.plots import frontier_data, plot_frontier

ax = plot_frontier(problem, run=run.history_)

# %% [markdown]
# The run ends beside the star, the exact optimum. The reference lies far *below* the curve: at the cost that
# it has, much more reward can be had. (It is paid for in KL to the reference, which this picture does not
# show.) And the end of the curve at $\lambda = 0$ is where reward alone went.
#
# A picture proves nothing, so the numbers in it are checked:

# %%
drawn = frontier_data(problem, run=run.history_)
print(drawn.describe())
assert abs(drawn.chosen[0] - best.lam) < 1e-9
assert abs(drawn.run_lam[-1] - certificate["lam"]) < 1e-12
assert abs(drawn.reward[0] - free.reward) < 1e-4 and abs(drawn.cost[0] - free.cost) < 1e-4

# %% [markdown]
# ## What would falsify this?
#
# If the multiplier did the work, then taking it away, or setting it far too high, must show. If the *scores*
# did the work, then shuffling them among the pairs must destroy the result. Three controls, each through the
# same DPO fit:
#
# **Predict** for each: is the limit met? Is the closeness high?

# %%
from dataclasses import replace

import torch

order = torch.randperm(len(scored), generator=torch.Generator().manual_seed(0))
shuffled = replace(scored, reward=scored.reward[order], cost=scored.cost[order])
lam = certificate["lam"]
controls = {
    "lam = 0": scored.label(0.0),
    "lam = 20": scored.label(20.0),
    "shuffled scores": shuffled.label(lam),
    "as found": scored.label(lam),
}

# %% [markdown]
# Each set of preferences trains a fresh policy, and the oracle judges it:

# %%
print(f"{'control':16}   E[r]    E[c]  limit    closeness")
for name, preferences in controls.items():
    tuned = TabularPolicy.like(world)
    tuned.fit(preferences, beta=0.5, steps=100, seed=0)
    terms = problem.certify(world.table(tuned.log_prob).exp())
    own = problem.evaluate(world.table(tuned.log_prob).exp())
    met = "met    " if terms.violation <= 0 else "not met"
    print(f"{name:16} {own.reward:6.3f}  {own.cost:6.3f}  {met}  {terms.closeness:9.3f}")

# %% [markdown]
# Only the last row has both. A price of 0 violates the limit; a price of 20 meets it by giving the reward
# away; shuffled scores bring the policy no closer to the optimum than the reference is (closeness 0).
# Closeness and violation always stand side by side, because either alone can look good for the wrong reason.

# %% [markdown]
# ## Limits of this lesson
#
# - Reward and cost were known. In practice they are learned from people's comparisons (lesson 01), and a
#   certificate on learned scores certifies the learned problem, not people's wishes.
# - A table learns nothing about a prompt that it has not seen; a language model must generalise.
# - The limit is on the *mean* cost over all prompts and responses. A cheap prompt may pay for an expensive
#   one.

# %% [markdown]
# ## Go on
#
# The same loop on the toy language, where policy, reward and cost are transformers and everything can still
# be enumerated. On the command line:
#
#     cdpo-edu train --tier toy
#
# It prints the same table and the same certificate, and leaves a folder with `report.html`. Then come back
# for lesson 01.

# %% [markdown]
# ## References
#
# - Z. Liu, X. Sun, Z. Zheng. *Enhancing LLM Safety via Constrained Direct Preference Optimization.* 2024,
#   arXiv 2403.02475.
# - R. Rafailov, A. Sharma, E. Mitchell, S. Ermon, C. D. Manning, C. Finn. *Direct Preference Optimization:
#   Your Language Model is Secretly a Reward Model.* 2023, arXiv 2305.18290.
