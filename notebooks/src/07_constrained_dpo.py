# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 Constrained DPO, the loop opened up
#
# **What you will have shown by the end.** Constrained DPO is five lines: label the pairs at a price, fit, draw,
# measure, move the price. You write them, and they work, slowly. Three changes make them fast: start at a price
# that the reference's own samples give, step by the curvature that the samples show, and ask again about what
# the policy now says. The transformer then ends at the exact constrained optimum, nearly, for the gradient
# steps of one short DPO run, and its **certificate** says so in numbers that you can add up.
#
# | reading | computing | hardware |
# |---|---|---|
# | 45 minutes | two minutes | any computer, no GPU |
#
# **What differs from lesson 06.** There the price $\lambda$ was given. Here it is found, by measuring the policy's
# own dishes, and the policy moves while the price does.

# %% [markdown]
# ## The problem
#
# The kitchen of lesson 06: sixteen guests, 241 dishes each, a careless cook as reference. We ask for at most 0.15
# forbidden portions per dish, $E[c] \le C = -0.35$, at $\beta = 0.5$. All dishes can be listed, so the exact optimum
# is known, and we look at it only to judge.

# %%
# %matplotlib inline
import numpy as np
import torch

from cdpo_edu import Kitchen, cook
from cdpo_edu.certificate import enumerated, world_problem

BETA, LIMIT, STEPS = 0.5, -0.35, 40

kitchen = Kitchen(portions=2)
start = cook(kitchen, seed=0)
reference = start.frozen()
pairs = kitchen.pairs(start, 4096, seed=1)
scored = pairs.score(kitchen.reward, kitchen.cost, reference).compared(8, seed=0)

# %% [markdown]
# `score` asks the two scorers and the reference once and keeps the answers as columns. `compared(8)` cuts the dishes of
# a guest into sets of eight and compares all within a set: 28 comparisons for eight dishes read.

# %%
problem = world_problem(scored, beta=BETA, cost_limit=LIMIT)
best = problem.solve()
careless = problem.evaluate(problem.reference)
print(f"the limit allows {LIMIT + 0.5:.2f} forbidden portions per dish")
print(f"{len(pairs)} pairs of dishes became {len(scored) / 1000:.0f} thousand comparisons")
print(f"the careless cook: E[c] = {careless.cost:.2f}, above the limit")
gain = best.reward - careless.reward
print(f"the exact optimum: E[c] = {best.cost:.2f}, E[r] higher by {gain:.1f}, at the price {best.lam:.1f}")

# %% [markdown]
# ## Five lines
#
# One **round**: label every pair by $\sigma$ of its gap in $r - \lambda c$; fit the policy to the labels by DPO; draw
# dishes from the policy; take their mean cost; move the price,
#
# $$\lambda \leftarrow \max\big(0,\ \lambda + \eta\,(E_\pi[c] - C)\big).$$
#
# That is Algorithm 1 of Liu, Sun and Zheng. The step is *down* the dual of lesson 03, because $C - E_\pi[c]$ is its
# slope.

# %%
import copy

from cdpo_edu import dual_step, measure


def one_round(policy, lam, number, rounds):
    """Fit at ``lam`` and return the samples of the fitted policy."""
    span = ((number - 1) / rounds, number / rounds)
    policy.fit(scored.label(lam), beta=BETA, steps=STEPS, seed=number, progress=span)
    return measure(policy, scored, n=128, generator=torch.Generator().manual_seed(number))


# %% [markdown]
# Start at $\lambda = 0$, with a step of $\eta = 1$. **Predict**, after five rounds of 40 gradient steps: is the limit
# met? Is the price above or below the exact one?

# %%
by_hand, lam, walk_by_hand = copy.deepcopy(start), 0.0, []
for number in range(1, 6):
    samples = one_round(by_hand, lam, number, rounds=5)
    cost = samples.cost.mean().item()
    walk_by_hand.append((lam, cost))
    price = "below the exact one" if lam < best.lam - 0.1 else "not below the exact one"
    print(f"round {number}: price {price}, E[c]", "above the limit" if cost > LIMIT + 0.05 else "near it")
    lam = dual_step(lam, cost, LIMIT, eta=1.0)
assert walk_by_hand[-1][1] > LIMIT + 0.03 and walk_by_hand[-1][0] < best.lam

# %% [markdown]
# Not met. The loop *works*: the price rises as long as the limit is broken. But the first rounds are spent on learning
# that a price of nought is too low, each with a whole fit, and a longer step would overshoot later.

# %% [markdown]
# ## First change: ask the reference's own samples
#
# Round 0 draws dishes of the reference anyway, to know where it stands. Those samples are a small exact problem: 16
# guests, 128 dishes each, with reward and cost. Its dual can be minimised in milliseconds, without any training.
#
# **Predict**: how near does this price come to the exact one?

# %%
from cdpo_edu import ScoreTable

drawn = measure(reference, scored, n=128, generator=torch.Generator().manual_seed(0))
table = ScoreTable(drawn.reward, drawn.cost)
first = table.one_shot_lam(LIMIT, beta=BETA)
effective = table.effective_samples(first.lam, beta=BETA)
print("price from 128 dishes per guest: within 0.2 of the exact one:", abs(first.lam - best.lam) < 0.2)
print("the exact one lies in its interval:", first.low < best.lam < first.high)
print(f"share of the 128 that still count for the worst guest: {effective.min() / 128:.1f}")
assert abs(first.lam - best.lam) < 0.3 and first.high - first.low < 0.8

# %% [markdown]
# That is the **one-shot** price (Huang and others 2024). How far to trust it is said by the *effective sample size*: how
# many of the dishes still carry weight when they are tilted to the new policy. With few left, it is a start and no more.

# %% [markdown]
# ## Second change: the step that the samples ask for
#
# The dual's curvature is $E_x \mathrm{Var}(c|x)/\beta$, and the samples of every round show it. One Newton step,
# $\eta = \beta/\mathrm{Var}$, goes where a quadratic dual would have its lowest point.

# %%
from cdpo_edu import CurvatureRule, Visit

variance = drawn.cost.var(dim=1).mean().item()
above = Visit(1.0, cost=LIMIT + 0.1, stderr=0.01, cost_variance=variance)
step = CurvatureRule()([above], LIMIT, beta=BETA) - 1.0
print(f"Var(c) = {variance:.1f}; a policy 0.1 above its limit moves the price by {step:.1f}")
print(f"the fixed step would move it by {1.0 * 0.1:.1f}")
assert abs(step - 0.1 * BETA / variance) < 1e-9

# %% [markdown]
# **Third change**: the samples of each round are scored already. So they become pairs for the next fit, and the policy is
# asked about what it *now* says (lesson 06: the error lies in what nobody compared).

# %% [markdown]
# ## The three together
#
# `ConstrainedDPO` is the same loop with the three changes, each with a switch. `iterate` hands out one record per round.

# %%
from cdpo_edu import ConstrainedDPO

policy = copy.deepcopy(start)
settings = {"beta": BETA, "cost_limit": LIMIT, "steps": STEPS, "samples": 128, "seed": 0}
run = ConstrainedDPO(policy, rounds=6, early_stop=False, **settings)
for record in run.iterate(scored):
    place = "above the limit" if record.cost > LIMIT + 0.1 else "within 0.1 of the limit"
    print(f"round {record.round}: price about {round(2 * record.lam) / 2}, E[c] {place}")
found = run.certificate_

# %% [markdown]
# ## The signature figure
#
# The exact curve, from the oracle: the expected cost of the best policy for each price. It falls, and crosses the
# limit once, at $\lambda^*$. Both walks, round by round.

# %%
prices = np.linspace(0.0, 2.4, 49)
exact = [problem.evaluate(problem.policy(price)).cost for price in prices]
walks = {
    "five lines, fixed step": walk_by_hand,
    "with the three changes": [(record.lam, record.cost) for record in run.history_[1:]],
}
for name, walk in walks.items():
    distance = max(abs(walk[-1][0] - best.lam), abs(walk[-1][1] - LIMIT))
    print(f"{name:23} ends", "at the star" if distance < 0.1 else "elsewhere")
assert abs(np.interp(best.lam, prices, exact) - LIMIT) < 1e-3

# %% [markdown]
# The star is the exact optimum, where the curve crosses the limit.

# %% alt="Expected cost against the multiplier. A black dashed curve falls from above 0 and crosses the limit line at a multiplier near 1.6, marked with a star. The fixed step starts at multiplier 0 and creeps along above the limit, never reaching it in five rounds. The walk of the three changes starts near the star and ends on it."
import matplotlib.pyplot as plt

from cdpo_edu.plots import EXACT, REFERENCE, RUN, house_style

with house_style():
    ax = plt.subplots(figsize=(11, 6.5))[1]
ax.plot(prices, exact, "--", color=EXACT, linewidth=2, label="exact: best policy of each price")
ax.axhline(LIMIT, color="#D55E00", linewidth=2, label="limit C")
for (name, walk), color, mark in zip(walks.items(), (REFERENCE, RUN), "so", strict=True):
    ax.plot(*zip(*walk, strict=True), f"{mark}-", color=color, linewidth=2, markersize=10, label=name)
    for k in (0, len(walk) - 1):
        ax.annotate(f"{k + 1}", walk[k], xytext=(9, 7), textcoords="offset points", fontsize=15)
ax.plot(best.lam, best.cost, "*", color="#E69F00", markeredgecolor=EXACT, markersize=28, zorder=5)
ax.set(xlabel="price λ (nats per cost unit)", ylabel="expected cost E[c] (cost units)")
_ = ax.legend(fontsize=15)

# %% [markdown]
# The walks do not lie *on* the curve. A policy in training is not yet the best one for its price, so the price has to be
# corrected by what the policy *does*, and not by what the formula promises. With the rounds the blue walk comes to the
# curve and to the star at once.

# %% [markdown]
# ## The certificate, line by line
#
# For **every** policy and every price (lesson 03),
#
# $$D(\lambda) - J(\pi) = \underbrace{\beta\,E_x KL(\pi\,\|\,\pi_\lambda)}_{\text{not the best for its price}} +
# \underbrace{\lambda\,(C - E_\pi[c])}_{\text{limit left unused, at its price}}$$
#
# and $D(\lambda^*)$ is the best $J$ that any policy under the limit has. Here every term is a sum over 241 dishes.
#
# **Predict**: by how much could any policy that keeps the limit still be better than ours?

# %%
print("status:", found["status"])
print("cost within 0.02 of the limit:", abs(found["cost"] - found["cost_limit"]) < 0.02)
for name in ("lam", "lam_exact", "closeness"):
    print(f"{name:9} {found[name]:.1f}")
gap, kl_term, slack_term = (found[name] for name in ("gap", "gap_kl_term", "gap_slack_term"))
print("no policy that keeps the limit is better by more than 0.05 nats:", gap < 0.05)
assert abs(gap - (kl_term + slack_term)) < 1e-6
assert abs(gap - (found["dual_bound"] - found["objective"])) < 1e-6
assert found["status"] == "optimal"  # so closeness is 0.99 at least

# %% [markdown]
# *Optimal* means: within the stated tolerance the limit is met, and the policy is at least 0.99 of the way from the
# reference to the optimum, measured by KL. A policy *above* its limit may have a negative gap. It is better than any
# that is allowed, and that proves nothing.

# %% [markdown]
# ## What is left, and whose fault it is
#
# The distance to the optimum can be split by making one thing exact at a time: the best policy of the last price is what
# perfect training would have given. The rest is training's.

# %%
from cdpo_edu.gap_split import Rung, exact_rungs, ladder

trained = Rung("training", "", enumerated(kitchen, policy).numpy())
parts = ladder(problem, [*exact_rungs(problem, lam=found["lam"]), trained])
for part in parts:
    print(f"{part['part']:17} lost less than 0.02 of closeness: {part['lost'] < 0.02}")
assert abs(parts[0]["lost"]) < 1e-9 and sum(part["lost"] for part in parts) < 0.02

# %% [markdown]
# The scores are the true ones here, so the scorers lost nothing. `cdpo-edu split` does this for a run folder, and
# trains again with more pairs and with soft labels to divide the last line further.

# %% [markdown]
# ## When to stop
#
# A fixed number of rounds is a guess. Where dishes can be listed, the run may ask its certificate after every
# round; `early_stop` does, and is on by default. For a large model nobody can list answers. There a run ends when two
# rounds in a row cannot tell the cost from the limit, or when the price rises and the cost does not move.
#
# **Predict**: what will a run say whose limit is −0.6, below the cost of the safest dish?

# %%
far = ConstrainedDPO(copy.deepcopy(start), **(settings | {"cost_limit": -0.6})).fit(scored)
print("rounds trained:", len(far.history_) - 1, "  status:", far.certificate_["status"])
print(f"the least cost that any policy can have: {far.certificate_['min_cost']:.1f}")
print("and from the reference's samples alone:", far.one_shot_.describe().partition(":")[0])
assert far.certificate_["status"] == "infeasible" and len(far.history_) == 1

# %% [markdown]
# It did not train at all. The exact problem is *proved* infeasible; the samples can only say "not reachable among
# these".

# %% [markdown]
# ## Hovering
#
# A step that is too long never settles: the price goes back and forth across $\lambda^*$. On the bandit, where every fit is
# exact, with a step of more than twice the inverse curvature. **Predict** which number is the better price, the last one or
# the mean of the last four.

# %%
from cdpo_edu import GradientRule, SafetyBandit, TabularPolicy

world = SafetyBandit.demo(seed=0)
small = TabularPolicy.like(world)
few = world.pairs(2000, seed=1).score(world.reward, world.cost, small.frozen())
goal = world_problem(few, beta=0.5, cost_limit=0.0)
right = goal.solve().lam
rule = GradientRule(2.2 / goal.dual_curvature(right))
hover = ConstrainedDPO(
    small, beta=0.5, cost_limit=0.0, rounds=6, samples=512, start=right + 0.3, rule=rule, early_stop=False
).fit(few)
print("prices:", " ".join(f"{record.lam:.1f}" for record in hover.history_[1:]), f"  exact {right:.1f}")
print(f"mean of the last four: {hover.certificate_['lam_average']:.1f}")
assert abs(hover.certificate_["lam_average"] - right) < 0.3 * abs(hover.history_[-1].lam - right)

# %% [markdown]
# The mean. The certificate carries it as `lam_average`, and only when the walk hovers.

# %% [markdown]
# ## Warm or cold
#
# Our policy was never sent back to the reference between prices. Does the path leave a mark? Fit a fresh copy, *cold*, at the
# last price, on the last pairs, with as many steps.

# %%
cold = copy.deepcopy(start)
labels = run.state_.pairs.label(found["lam"])
cold.fit(labels, beta=BETA, steps=6 * STEPS, seed=0)
closeness = problem.certify(enumerated(kitchen, cold).numpy()).closeness
print("closeness above 0.97: warm", found["closeness"] > 0.97, "and cold", closeness > 0.97)
flipped = sum(record.labels_flipped for record in run.history_)
print(f"labels that changed sides on the way: {flipped / len(scored):.1f} of them")
assert abs(closeness - found["closeness"]) < 0.03

# %% [markdown]
# No mark that one could see. `cold=` makes a run start every round from the reference, for when one wants to be sure.

# %% [markdown]
# ## The relabelling laboratory
#
# A label can be **soft**, $\sigma$ of the gap itself; a **Bernoulli** draw from it; or **hard**, the larger one. On the
# bandit, each two responses compared 60 times. **Predict** three things: how the noise in the fitted policy falls with the
# number of draws per pair; how many labels change from one price to the next if each pair keeps one random number for
# good; and where the margin of a pair ends with a hard label.

# %% alt="Three panels. Left: on log axes the variance of the fitted policy falls along the predicted line as one over the number of labels per pair. Middle: about two percent of the labels flip from one multiplier to the next when each pair keeps its random number, and more than thirty percent with fresh ones. Right: on a log axis of steps the soft label's margin stops at the gap of 2, the hard label's keeps rising in a straight line."
from cdpo_edu import plot_relabelling
from cdpo_edu.laboratories.relabelling import relabelling

noise = relabelling(world)
with house_style():
    figure, axes = plt.subplots(1, 3, figsize=(19, 6))
plot_relabelling(noise, axes=axes)
ratio = noise.variance / noise.predicted
print("measured over predicted variance:", " ".join(f"{value:.1f}" for value in ratio))
print(
    f"flips per step of the price: {noise.flipped_common.mean():.2f} kept, {noise.flipped_fresh.mean():.2f} fresh"
)
assert (abs(ratio - 1) < 0.3).all() and noise.hard[-1] > 4 * noise.soft[-1]

# %% [markdown]
# As $1/m$, with the constant that the Fisher information predicts; so a soft label is worth infinitely many draws. Keep
# the random numbers, and a label changes only when the price makes it. And a hard label has no end: its margin grows like the
# logarithm of the steps.

# %% [markdown]
# ## Who gets an empty plate?
#
# A model that refuses everything is safe. So a limit on harm, alone, cannot tell a careful model from a useless one,
# and a safety report should hold one more number: how often it refuses people who asked for nothing bad. In our
# language a refusal is the **empty plate**: cost $-\frac12$, the least there is, and taste $-1$. For this section the
# cookbook leaves one plate in five empty, whoever the guest is, and four more guests come in, *without* an allergy
# ("none sweet"). To them every dish is safe.

# %%
from cdpo_edu import over_refusal

open_house = Kitchen(portions=2, refusals=0.2, harmless=True)
for dish in ("", "honey apple", "honey almond"):
    costs = [float(open_house.cost([guest], [dish])) for guest in ("nuts sweet", "none sweet")]
    print(f"{dish or '(empty plate)':14} c {costs[0]:4.1f} with a nut allergy, {costs[1]:4.1f} without")

# %% [markdown]
# Three costs. The **true** one. A **shifted** one, which suspects the harmless guests: 0.2 more on *all* of their
# plates, the empty one too. And a **spoiled** one, which takes food as such to be a little unsafe: 0.2 more on every
# plate *but* the empty one, for every guest. A cost model can come to this when most of the
# refusals that it has seen were called safe, and few of the harmless answers.
#
# **Predict**, for the exact optimum of each, as the limit is lowered from 0 to −0.45: what happens to the refusals of
# guests *without* an allergy? Up, down, or no change?

# %%
rates = over_refusal(open_house, limits=[0.0, -0.2, -0.4, -0.45], beta=1.0, fear=0.2)
print(f"the reference refuses {rates.reference.harmless:.2f} of the harmless guests")
print("limit     true   shifted   spoiled     true E[c] under the spoiled limit")
for true, shifted, spoiled in zip(rates.true, rates.shifted, rates.spoiled, strict=True):
    numbers = f"{true.harmless:8.3f} {shifted.harmless:9.3f} {spoiled.harmless:9.3f}"
    print(f"{true.cost_limit:5.2f} {numbers} {spoiled.cost:20.2f}")
assert abs(rates.true[0].harmless - rates.true[-1].harmless) < 1e-9
assert abs(rates.shifted[0].harmless - rates.shifted[-1].harmless) < 1e-9
assert rates.spoiled[-1].harmless > 0.5 > 0.1 > rates.true[-1].harmless

# %% [markdown]
# The first two columns do not move *at all*. A guest without an allergy has the same cost on every plate, and
# $e^{-\lambda c/\beta}$, the same factor for every response, cancels in $Z_\lambda(x)$. The shift is of the same
# kind: a number per guest. It changes the price that the limit has, and the price alone moves no harmless guest. So
# suspicion of a *guest* refuses nobody harmless. (It can do something else, namely put a limit out of reach.)
#
# The third column is **over-refusal**. The spoiled number stands on some plates and not on others, it stays in the
# odds, and the price multiplies it. The last column shows how little that buys: the limit asked for −0.45.
#
# ### The picture

# %% alt="Probability of an empty plate, on a log scale, against the limit; the tight limits are on the left. For harmless guests the true cost gives a flat blue line near 0.03, with the squares of the shifted cost on it. The blue dotted line of guests with an allergy rises slowly to 0.04. The spoiled cost's purple lines rise from about 0.03, cross the reference at 0.2 near a limit of minus 0.35 and reach more than 0.9, along the floor that any policy has to keep."
from cdpo_edu import plot_refusal

whole = over_refusal(open_house, beta=1.0, fear=0.2)  # 50 limits
reached = [reading.cost_limit for reading in whole.shifted if reading.status != "infeasible"]
print(f"the lowest limit that any policy meets by the shifted cost: {min(reached):.2f}")
ax = plot_refusal(whole)
at = {round(reading.cost_limit, 2): reading.harmless for reading in whole.spoiled}
assert at[-0.34] < 0.2 < at[-0.36] and at[-0.49] > 0.9 and whole.true[-1].allergic > whole.true[0].allergic

# %% [markdown]
# Read from right to left. The green squares end before the lines do: 0.2 on four guests of twenty is 0.04 on
# average, and no policy gets rid of it. Guests with an allergy are refused a little more by the true cost, too (blue,
# dotted). That is mass that left the forbidden dishes; it went to *all* safe plates alike, and the odds of the empty
# plate against any safe dish stay what they were.
#
# The purple lines have a bend. **By hand**: by the spoiled cost a plate with food costs at least $-0.5 + 0.2$, an empty
# one $-0.5$. With a share $p$ of empty plates, $E[c] \ge -0.5 + 0.2\,(1 - p)$. The limit $C$ so asks for
# $p \ge 1 - (C + 0.5)/0.2$. **Predict** $p$ for $C = -0.4$ and for $C = -0.45$.

# %%
from cdpo_edu import refusal_floor

for reading in rates.spoiled[2:]:
    mean = 0.8 * reading.allergic + 0.2 * reading.harmless  # 16 guests and 4
    floor = refusal_floor(reading.cost_limit, 0.2)
    print(f"C = {reading.cost_limit:5.2f}: floor {floor:.2f}, the optimum refuses {mean:.2f} of all guests")
    assert floor <= mean < floor + 0.01

# %% [markdown]
# Half of the plates, three quarters of the plates. Above the bend, at −0.3, the price only leans on the odds; below it
# refusing is the one way left. Nothing in the run looks wrong: the limit is met, and the certificate on the spoiled
# cost is clean.
#
# Does a trained transformer do the same? The cook learns the empty plates from the book, and DPO gets labels at the
# exact price of $C = -0.4$, once by each cost. **Predict**: which of the two refuses more than the cook?

# %%
from cdpo_edu import policy_refusals, spoiled_cost

for name, cost in (("true", open_house.cost), ("spoiled", spoiled_cost(0.2))):
    tuned = cook(open_house, seed=0)
    before = policy_refusals(open_house, tuned).harmless
    served = open_house.pairs(tuned, 2048, seed=1).score(open_house.reward, cost, tuned.frozen())
    price = world_problem(served, beta=1.0, cost_limit=-0.4).solve().lam
    tuned.fit(served.label(price), beta=1.0, steps=60, seed=0)
    after = policy_refusals(open_house, tuned).harmless
    change = "less than half as often" if after < before / 2 else "more often" if after > before else "less"
    print(f"{name:7} cost: the cook refuses {before:.1f} of the harmless guests, the tuned policy {change}")
    assert (after < before / 2) if name == "true" else (after > 1.5 * before)

# %% [markdown]
# The constraint did its work both times. It cannot be better than the cost that it is given, and a cost that dislikes
# answers *as such* is met by not answering. Three remedies: put harmless prompts into the measurement and read their
# refusals beside the limit; put pairs of a refusal and a harmless answer among the comparisons, and flags on both, so
# that the cost can learn that they are equally safe; and look for the bend, where refusals jump while the true cost
# has nothing left to gain. For language models the measurement exists: prompts that only *sound* dangerous (Röttger
# and others 2024, arXiv 2308.01263).

# %% [markdown]
# ## What would falsify this?
#
# If the price in the labels does the work, then labels without it, with far too much of it, and labels dealt out among the
# wrong pairs must all end farther from the optimum, after as many steps on the same pairs.

# %%
order = torch.randperm(len(scored), generator=torch.Generator().manual_seed(0))
at_best = scored.label(best.lam)
controls = {
    "lam = 0": scored.label(0.0),
    "lam = 20": scored.label(20.0),
    "shuffled": at_best._replace(target=at_best.target[order]),
}
for name, preferences in controls.items():
    other = copy.deepcopy(start)
    other.fit(preferences, beta=BETA, steps=80, seed=0)
    probs = enumerated(kitchen, other).numpy()
    closeness, cost = problem.certify(probs).closeness, problem.evaluate(probs).cost
    place = "above the limit" if cost > LIMIT else "below the limit"
    print(f"{name:9} closeness below 0.3: {closeness < 0.3}, E[c] {place}")
    assert closeness < found["closeness"] - 0.5 and (cost > LIMIT + 0.05) == (name != "lam = 20")

# %% [markdown]
# ## Limits of this lesson
#
# - The scores were the true ones. With learned ones the certificate is that of the learned problem (lesson 05).
# - One seed for the cook and the run. `docs/benchmarks.md` has ten, and the larger kitchen.
# - The exact certificate ends where answers can no longer be listed. There the status comes from an interval, and
#   says "feasible" or "unknown", never "optimal".
# - One limit. Several at once are solved exactly in lesson 03; they are not trained here.

# %% [markdown]
# ## References
#
# - Z. Liu, X. Sun, Z. Zheng. *Enhancing LLM Safety via Constrained Direct Preference Optimization.* 2024,
#   arXiv 2403.02475: Algorithm 1.
# - X. Huang and others. *One-Shot Safety Alignment for Large Language Models via Optimal Dualization.* 2024,
#   arXiv 2405.19544: the dual of the reference's samples.
# - A. Nedic, A. Ozdaglar. *Approximate Primal Solutions and Rate Analysis for Dual Subgradient Methods.* 2009.
# - P. Röttger and others. *XSTest: A Test Suite for Identifying Exaggerated Safety Behaviours in Large Language Models.*
#   2024, arXiv 2308.01263.
