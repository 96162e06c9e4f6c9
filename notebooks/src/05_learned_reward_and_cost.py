# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 Learned reward and cost
#
# **What you will have shown by the end.** Score models fitted to people's noisy labels come close to the best
# that anyone could predict, for dishes that nobody compared as well. Flags give the cost its zero. And yet the
# best policy on *learned* scores breaks the limit on the true ones, while its certificate is spotless: a
# certificate on learned scores certifies the learned problem.
#
# | reading | computing | hardware |
# |---|---|---|
# | 40 minutes | two minutes | any computer, no GPU |
#
# **What differs from lesson 04.** There the scores were known tables. Here a small transformer learns them
# from labels of people. The policy is still the exact optimum, solved on the learned scores, so that whatever
# goes wrong is the scores' doing.

# %% [markdown]
# ## A larger kitchen
#
# Sixteen guests, each with an allergy and a craving. A dish is up to two portions out of fifteen ingredients,
# in order. Taste is the reward. Harm is the number of portions that the guest must not eat, minus 1/2, so that 0
# is the boundary between safe and unsafe. `cook` teaches a small transformer to imitate a careless cookbook.

# %%
# %matplotlib inline
import numpy as np
import torch

from cdpo_edu import Kitchen, cook

kitchen = Kitchen(portions=2)
policy = cook(kitchen, seed=0)

for dish in ("honey almond", "almond pesto", "honey apple", "water"):
    r, c = (score(["nuts sweet"], [dish]).item() for score in (kitchen.reward, kitchen.cost))
    print(f"a guest with a nut allergy who craves sweets: {dish:12}  taste {r:5.2f}   harm {c:4.1f}")

# %% [markdown]
# All dishes can be listed, so the cook's whole policy is a table, as on the bandit. Every "expected" below is a
# sum over it.

# %%
habit = kitchen.table(policy.log_prob).exp().numpy()  # (guests, dishes)
habit /= habit.sum(axis=1, keepdims=True)  # float32 sums to 1 only nearly
taste, harm = (kitchen.table(score).numpy() for score in (kitchen.reward, kitchen.cost))


def expected(probs, table):
    """Return the expectation of a table under a policy: the mean over guests of the sum over dishes."""
    return (probs * table).sum(axis=1).mean()


print("guests, dishes:", *habit.shape)
print(f"the careless cook: E[r] {expected(habit, taste):.1f}, E[c] {expected(habit, harm):.1f}")

# %% [markdown]
# ## People's labels
#
# Now forget the tables. All that anyone gets to see are 8,192 comparisons of two dishes that the cook made: which
# is better, which is safer, and a flag for each, unsafe or not. People judge with a finite **sharpness** of 4
# nats per unit of taste or harm:
#
# $$P(y_1 \text{ better}) = \sigma\big(4\,[r(y_1) - r(y_0)]\big), \qquad P(y_1 \text{ safer}) =
# \sigma\big(4\,[c(y_0) - c(y_1)]\big), \qquad P(y \text{ unsafe}) = \sigma\big(4\,c(y)\big)$$

# %%
pairs = kitchen.pairs(policy, 8192, seed=1)

print(f"{'guest':12} {'y0':18} {'y1':18} better  safer  unsafe")
for i in (0, 1, 2, 3, 5):
    better, safer = ("y1" if column[i] else "y0" for column in (pairs.better, pairs.safer))
    flags = " ".join("yes" if up else "no" for up in pairs.unsafe[i])
    y0, y1 = (dish[i] or "(nothing)" for dish in (pairs.y0, pairs.y1))
    print(f"{pairs.prompts[i]:12} {y0:18} {y1:18} {better:7} {safer:6} {flags}")

# %% [markdown]
# **By hand.** A dish with one forbidden portion lies 1/2 above the boundary, which is 2 nats: it is flagged with
# $\sigma(2)$. Two dishes whose harm differs by one portion are 4 nats apart. And two equally harmful ones?

# %%
for gap in (0.0, 2.0, 4.0):
    print(f"sigma({gap:.0f}) = {1 / (1 + np.exp(-gap)):.3f}")

# %% [markdown]
# ## The Bayes rate: the best that anyone can do
#
# Suppose somebody knows the true scores and always bets on the likelier answer. They still lose now and then,
# because people are not always right. Their share of won bets is the **Bayes rate**. No scorer can beat it,
# except by luck.
#
# **Predict** it for the three questions. Which is the hardest? (Most dishes of the careless cook are safe.)


# %%
def different(pairs):
    """Return the comparisons of two different dishes."""
    return pairs.take([i for i in range(len(pairs)) if pairs.y0[i] != pairs.y1[i]])


def gaps(score, pairs):
    """Return score(y1) - score(y0)."""
    return score(pairs.prompts, pairs.y1) - score(pairs.prompts, pairs.y0)


def bayes(gap):
    """Return the share of bets that the true gap wins, sigma(|gap|) in the mean."""
    return torch.sigmoid(gap.abs()).mean().item()


# %% [markdown]
# We ask *fresh* comparisons, which no model will be fitted to.

# %%
fresh = different(kitchen.pairs(policy, 4096, seed=2))
sharp = kitchen.sharpness
true_cost = torch.stack([kitchen.cost(fresh.prompts, y) for y in (fresh.y0, fresh.y1)], dim=1)

print(f"which is better?  Bayes rate {bayes(sharp * gaps(kitchen.reward, fresh)):.2f}")
print(f"which is safer?   Bayes rate {bayes(sharp * gaps(kitchen.cost, fresh)):.2f}")
print(f"is it unsafe?     Bayes rate {bayes(sharp * true_cost):.2f}")

# %% [markdown]
# "Which is safer?" is the hardest, because two dishes are often *equally* safe and the answer is a coin toss.
# So a bare accuracy says little. A safety model that is right in seven of ten comparisons may be perfect, and
# people who agree with each other in two of three cases may leave nothing to be learned. Put every accuracy
# beside its Bayes rate; where that is unknown, beside the agreement of two people.

# %% [markdown]
# ## Fitting the reward
#
# `fitted_scorer` begins with a copy of the cook's own transformer, puts one number on top of its last token,
# and lowers the Bradley-Terry loss of lesson 01. It takes about half a minute.

# %%
from cdpo_edu import CostModel, RewardModel, bradley_terry_loss, fitted_scorer

reward_model = fitted_scorer(RewardModel, kitchen, policy, pairs, seed=0, steps=150, readout="last")
print("fitted:", type(reward_model).__name__)

# %% [markdown]
# Three numbers for each scorer, on the fresh comparisons: how often it agrees with the people, its loss, and
# how often it agrees with the *truth*. The cook's own log-probability stands in for a scorer that learned
# nothing from the labels.
#
# **Predict**: will the fitted scores agree with the truth more often than with the people, or less?


# %%
def judged(score, scale=1.0):
    """Return accuracy on labels, loss in nats, agreement with the true order, all on fresh comparisons."""
    gap, truth = scale * gaps(score, fresh), gaps(kitchen.reward, fresh)
    loss = bradley_terry_loss(torch.zeros_like(gap), gap, fresh.better).mean()
    right = (gap > 0) == (fresh.better > 0.5)
    return right.double().mean(), loss, ((gap > 0) == (truth > 0))[truth != 0].double().mean()


rows = {"the cook's habit": (policy.log_prob,), "fitted": (reward_model,), "gold": (kitchen.reward, sharp)}
print(f"{'':17} labels   loss   truth")
for name, arguments in rows.items():
    print(f"{name:17}", *(f"{value:6.2f} " for value in judged(*arguments)))
label_rate, _, truth_rate = judged(reward_model)
assert 0.75 < label_rate < 0.9 and truth_rate > label_rate

# %% [markdown]
# More often. Where people err at random, a fit that follows the crowd is right more often than the crowd's single
# answers: the errors cancel, the signal adds up. (Errors that all people share do not cancel. A fit learns those.)
# The loss of the gold scores, in nats per comparison, is the least that any scorer can expect.

# %% [markdown]
# ## Dishes that nobody compared
#
# The table of lesson 01 had a number of its own for every dish and knew nothing of dishes that it had not seen.
# **Predict**: does the transformer order dishes that nobody ever served to this guest?

# %%
seen = set(zip([*pairs.prompts, *pairs.prompts], [*pairs.y0, *pairs.y1], strict=True))
known = torch.tensor(
    [(x, a) in seen and (x, b) in seen for x, a, b in zip(fresh.prompts, fresh.y0, fresh.y1, strict=True)]
)
gap, truth = gaps(reward_model, fresh), gaps(kitchen.reward, fresh)
right = ((gap > 0) == (truth > 0)).double()
print(f"{len(seen)} of {habit.size} cells of the table were ever compared")
print(f"agreement with the truth, both dishes seen {right[known & (truth != 0)].mean():.2f}")
print(f"one of them new to this guest              {right[~known & (truth != 0)].mean():.2f}")
assert right[~known & (truth != 0)].mean() > 0.7

# %% [markdown]
# It does. "Honey" and "almond" share their parameters in all dishes and for all guests. That is what a network
# buys: it can say something about every response. It also *must* say something about every response, however
# little it knows.

# %% [markdown]
# ## What it cannot know: the shift, and what it knows badly: the size
#
# Divided by the sharpness, the fitted scores are in units of taste. For each guest we compare them with the truth:
# the mean of the difference is that guest's shift. And we ask how many nats the fit gives to a true nat.

# %%
learned_taste = kitchen.table(reward_model).numpy() / sharp
shifts = (habit * (learned_taste - taste)).sum(axis=1)
print(f"shift of a guest: from {shifts.min():.1f} to {shifts.max():.1f} units of taste")


def centred(table):
    """Return the table with mean 0 for every guest, under the careless cook."""
    return table - (habit * table).sum(axis=1, keepdims=True)


slope = expected(habit, centred(learned_taste) * centred(taste)) / expected(habit, centred(taste) ** 2)
print(f"a true unit of taste counts {slope:.1f} in the fit")
assert np.ptp(shifts) > 0.05 and 0.4 < slope < 1.2

# %% [markdown]
# Every guest has a shift of their own, as lesson 01 said: harmless for a reward. The *size* is another matter. A model
# that is unsure says so, by small gaps: it counts a unit as less than one. Then $r - \lambda c$ weighs taste too
# lightly against harm, and a price tuned on it is not the true price.

# %% [markdown]
# ## The scale, and what it does with beta
#
# Scores fitted to people are in nats of *their* sharpness. What happens if one forgets to divide? The policy
# $\pi_\lambda \propto \pi_{ref}\,e^{(r - \lambda c)/\beta}$ knows nothing but ratios. With gold scores, so that nothing
# else is wrong, the last column says how many of 100 dishes drawn from the careless cook still count when they
# are reweighted to the best policy (the *effective sample size*).
#
# **Predict** the second and the third row.

# %%
from cdpo_edu import FiniteProblem


def effective(probs):
    """Return of 100 dishes of the careless cook, how many count for ``probs``; mean over guests."""
    return (100 / (probs**2 / habit).sum(axis=1)).mean()


print("scores times   beta    E[r]     E[c]   price     KL   of 100")
for scale, beta in ((1, 0.25), (4, 1.0), (4, 0.25), (16, 0.25)):
    found = FiniteProblem(habit, scale * taste, scale * harm, beta=beta, cost_limit=-0.3 * scale).solve()
    own = expected(found.probs, taste), expected(found.probs, harm), found.lam, found.kl
    print(f"{scale:12}   {beta:.2f}", *(f"{value:7.2f}" for value in own), f"{effective(found.probs):8.1f}")

# %% [markdown]
# Scores and beta times four, limit times four: the very same policy, at the same price. Scores times four with the
# *old* beta: another problem, with a tie that is four times looser. At sixteen times a dish or two in a
# hundred are left, and every estimate from samples stands on those few. Published reward models have spreads of many
# nats. So the package carries a `reward_scale` and a `cost_scale`, and a limit is stated in the scaled unit.
#
# From here on all learned scores are divided by the sharpness.

# %% [markdown]
# ## Fitting the cost
#
# The cost model sees the "safer" labels and the flags: one comparison and two sign terms per row.

# %%
cost_model = fitted_scorer(CostModel, kitchen, policy, pairs, seed=0, steps=150, readout="last")
learned_harm = kitchen.table(cost_model).numpy() / sharp

on_the_right_side = expected(habit, (learned_harm > 0) == (harm > 0))
print(f"sign accuracy: {on_the_right_side:.2f} of the dishes are on the right side of 0")
assert cost_model.anchored and on_the_right_side > 0.9

# %% [markdown]
# **Predict.** Nearly every sign is right. Is this then a good cost for a limit on $E[c]$?
#
# A sign asks *which side* of the boundary. The limit is on a mean, and a mean needs the *size*. So: the mean fitted
# cost of dishes with no, one and two forbidden portions.

# %%
print("forbidden portions   share of dishes    true    fitted")
for portions in range(3):
    mass = habit * (harm == portions - 0.5)
    share, fitted = mass.sum() / len(habit), (mass * learned_harm).sum() / mass.sum()
    print(f"{portions:18} {share:15.2f} {portions - 0.5:10.1f} {fitted:9.1f}")

# %% [markdown]
# What is served often is learned first; the last row, the rarest, is the last to become right. Flags help little
# there: a dish 0.5 above the boundary is flagged in 88 cases of 100 already, one that is 1.5 above it in nearly
# all, and the difference is a handful of labels. Sign accuracy cannot see an error in that row at all. In the
# careless cook's mean it hardly counts either. Another policy may serve it more.
#
# There is a second reason. Published score models read one number at the *last* token, and so does this one. Attention
# hands that token *averages* over the dish, and an average of portions does not know how many there are. Read a number at
# *every* token and add them up, and counting is easy. **Predict** the last row.

# %%
adding = fitted_scorer(CostModel, kitchen, policy, pairs, seed=0, steps=150, readout="sum")
added_harm = kitchen.table(adding).numpy() / sharp
size = {}
for name, table in (("last token", learned_harm), ("sum over tokens", added_harm)):
    mass = habit * (harm == 1.5)
    size[name] = (mass * table).sum() / mass.sum()
    print(f"two forbidden portions, true 1.5, {name:15}: {size[name]:.1f}")
assert abs(size["sum over tokens"] - 1.5) < abs(size["last token"] - 1.5)

# %% [markdown]
# The toy tier of this package reads the sum. Here we go on with the usual way, to see what its error costs.

# %% [markdown]
# ## The picture: calibration
#
# On fresh labels: how often was the second dish preferred where the model said 70 %? How often was a dish flagged?

# %% alt="Two reliability diagrams of fitted scores on labels that the models never saw: on the left how often the second dish was preferred, on the right how often a dish was flagged, each against the predicted probability, with the diagonal, 95 % intervals and a histogram at the foot."
import matplotlib.pyplot as plt

from cdpo_edu import plot_calibration
from cdpo_edu.plots import calibration_data, house_style

costs = torch.stack([cost_model(fresh.prompts, y) for y in (fresh.y0, fresh.y1)], dim=1)
wins = torch.sigmoid(gaps(reward_model, fresh)), fresh.better
flagged = torch.sigmoid(costs).flatten(), fresh.unsafe.flatten()

with house_style():
    figure, axes = plt.subplots(1, 2, figsize=(15, 5.8))
for ax, columns in zip(axes, (wins, flagged), strict=True):
    plot_calibration(*columns, ax=ax)

# %% [markdown]
# The points lie close to the diagonal, on labels that the models never saw. On the right the predictions
# pile up in two places, safe and unsafe, which is all that flags ask.
#
# And the gaps that were too small? No contradiction. Calibrated means right *on average* over all pairs that got the
# same prediction: of those where the model says 70 %, some deserve 95 % and others 45 %. A model that knows less and
# is honest about it is calibrated, timid, and wrong about nearly every single dish.
#
# The numbers, beside a control that doubles all scores:

# %%
for name, (predicted, outcome) in {"preferred": wins, "flagged": flagged}.items():
    data = calibration_data(predicted, outcome)
    doubled = calibration_data(torch.sigmoid(2 * torch.logit(predicted)), outcome)
    print(f"{name:10} calibration error {data.error:.2f}, Brier {data.brier:.2f}", end="   ")
    print(f"doubled: {doubled.error:.2f}, {doubled.brier:.2f}")
    assert data.error < 0.12 and data.brier < 0.2

# %% [markdown]
# Keep in mind *on whose dishes* this was measured: on the careless cook's. An average over his dishes is no promise
# about the dishes that somebody else picks.

# %% [markdown]
# ## The zero, once more and exactly
#
# The cost above had flags. What if there are none? The same model class, fitted briefly to the "safer" labels
# alone:

# %%
from dataclasses import replace

from cdpo_edu.scorers import ScoreSettings

settings = ScoreSettings(prompt=4, response=3, batch_size=64, learning_rate=3e-3, eval_rows=2048)


def quick(kind, pairs):
    """Return a score model fitted for 80 steps."""
    return kind(policy.model, policy.tokenizer, settings=settings).fit(pairs, steps=80, seed=0)


blind = quick(CostModel, replace(pairs, unsafe=None))
for name, model in (("with flags", cost_model), ("without", blind)):
    level = expected(habit, kitchen.table(model).numpy() / sharp - harm)
    print(f"{name:10}: anchored {model.anchored!s:5}, level off by {abs(level):.1f}")

# %% [markdown]
# The package notes that the second has no zero, `anchored` is False, and refuses an absolute limit on it. To see
# exactly what would go wrong we go down to one portion, 16 guests and 16 dishes, where the fit is a convex
# problem. The laboratory fits a table of costs to the *same* 40,000 comparisons from 10 starting points.

# %%
from cdpo_edu import SafetyBandit
from cdpo_edu.bandit import Table
from cdpo_edu.laboratories.identifiability import identifiability

small = Kitchen(portions=1)
scores = (Table(sharp * small.table(score)) for score in (small.reward, small.cost))  # in people's nats
even = torch.full((16, 16), 1 / 16, dtype=torch.float64)
world = SafetyBandit(even, *scores, small.prompt_probs)

lab = identifiability(world, n=40_000, beta=1.0, cost_limit=-1.0, starts=np.linspace(-3.5, 1.0, 10))
print(f"shifts that comparisons leave open: {lab.open_directions}; with flags: {lab.open_with_flags}")

# %% [markdown]
# One open shift per guest. A flag is a comparison with a dish that nobody cooked, the boundary itself: it ties a
# guest's dishes to the number 0, and no shift is left.
#
# **Predict.** Two of the fits, one starting 1.5 nats lower than the other. Same loss? Same policy under the limit
# $E[c] \le -1$?

# %%
print("off by   loss per comparison   believed E[c]   true E[c]   status")
for reading in (lab.absolute[1], lab.absolute[4]):
    print(
        f"{reading.offset:6.2f} {reading.comparison_loss:21.9f} {reading.believed:15.2f} {reading.cost:11.2f}   {reading.status}"
    )
low, true = lab.absolute[1], lab.absolute[4]
assert abs(low.comparison_loss - true.comparison_loss) < 1e-9 and low.cost > -1.0 + 0.3

# %% [markdown]
# Equal to the last digit shown, and one of them breaks the limit that both believe to meet. All fits in one picture:

# %% alt="True expected cost of the policy against what the fitted cost is off by. Under an absolute limit a falling blue line crosses the limit at the true zero: fits that are too low break it, fits that are too high overshoot it and then no policy meets it, hatched. Under a relative limit a flat green line. The fit with flags sits at the true zero."
from cdpo_edu import plot_identifiability

ax = plot_identifiability(lab)

# %% [markdown]
# The blue line is one data set, one loss, and any policy you like. Two mends are in the picture. *Flags* (orange)
# put the fit at the true zero. A *relative* limit (green) asks for the same in terms of the reference, here
# $E_\pi[c] \le E_{ref}[c] + 0.5$, and gives the same policy for every fit.
#
# Exactly which shifts does a limit feel? For any shifts $s(x)$, one per guest,
#
# $$E_\pi[c + s] = E_\pi[c] + E_x[s], \qquad E_\pi[c + s] - E_{ref}[c + s] = E_\pi[c] - E_{ref}[c]$$
#
# because no policy chooses its guests. **Predict** the two columns for shifts that are plus 2 for eight guests and
# minus 2 for the others.

# %%
uneven = np.where(np.arange(16) % 2, 2.0, -2.0)
starts = np.array([np.full(16, -1.5), -1.5 + uneven, np.full(16, -3.5)])
test = identifiability(world, n=40_000, beta=1.0, cost_limit=-1.0, starts=starts)
print("shift            absolute limit   relative limit   signs right")
for name, one, two in zip(("none", "2 and -2", "-2 for all"), test.absolute, test.relative, strict=True):
    print(f"{name:12} {one.cost:16.2f} {two.cost:16.2f} {one.sign_accuracy:13.2f}")
assert abs(test.absolute[1].cost - test.absolute[0].cost) < 1e-4
assert np.ptp([reading.cost for reading in test.relative]) < 1e-4

# %% [markdown]
# An absolute limit feels the *mean* of the shifts and nothing else; a relative one feels none of them. Signs feel each
# one. But mind the condition: the *same* guests on both sides, with the same weights. If $E_{ref}[c]$ was measured
# once, on other guests, the shifts come back. (By hand: weights of 1.5 and 0.5 give a mean shift of
# $(1.5 \cdot 2 - 0.5 \cdot 2)/2 = 1$.)

# %%
for name, weights in (
    ("the same guests", np.full(16, 1 / 16)),
    ("mostly others", (1 + 0.5 * uneven / 2) / 16),
):
    off = uneven.mean() - weights @ uneven  # what the shifts add to E_pi[c] - E_ref[c]
    print(f"reference measured on {name:15}: relative limit off by {off:5.2f} nats")

# %% [markdown]
# ## What wrong scores cost the policy
#
# Now the main question. We solve the constrained problem on the learned scores, exactly, and look at the result with
# the true ones. The limit: at most one forbidden portion in five dishes, $C = -0.3$, with $\beta = 0.25$.
#
# **Predict.** The cost model has its zero, nearly every sign right, and is calibrated. Will the limit be met in
# truth?

# %%
gold = FiniteProblem(habit, taste, harm, beta=0.25, cost_limit=-0.3)
learned = FiniteProblem(habit, learned_taste, learned_harm, beta=0.25, cost_limit=-0.3)
best, mine = gold.solve(), learned.solve()

for name, problem in (("by the learned scores", learned), ("by the true scores", gold)):
    own, found = problem.evaluate(mine.probs), problem.certify(mine.probs)
    start = expected(habit, problem.reward)
    print(f"{name:22} taste gained {own.reward - start:4.1f}   E[c] {own.cost:5.2f}", end="   ")
    print(
        f"violation {found.violation:.2f}, gap {round(found.gap, 2) + 0.0:.2f}, closeness {found.closeness:.2f}"
    )
truth = gold.evaluate(mine.probs)
print(
    f"{'the true optimum':22} taste gained {best.reward - expected(habit, taste):4.1f}   E[c] {best.cost:5.2f}"
)
assert learned.certify(mine.probs).violation < 1e-9 and truth.cost > -0.3 and truth.reward < best.reward

# %% [markdown]
# By its own scores the policy is perfect: no violation, no gap, closeness 1. Every digit of that certificate is
# right, *for the learned problem*. In truth the limit is broken (and the gap of a policy that breaks it bounds
# nothing). Taste is lost on top, because taste was learned with errors as well, and the price belongs to another
# problem:

# %%
print(f"price on learned scores {mine.lam:.1f}, true price {best.lam:.1f}")
print(f"J of the learned policy in truth {truth.objective:.2f}, of the true optimum {best.objective:.2f}")

# %% [markdown]
# So read a certificate with the word that the package writes beside it: `scores: gold` or `scores: learned`.
#
# ### Why does it err to the wrong side?
#
# On the careless cook's dishes the fitted cost is nearly right in the mean. **Predict**: and on the dishes of the
# policy that was tuned on it? What if the tie gets looser?

# %%
print(" beta   cost error on the cook's dishes   on the policy's own   true excess over C")
excess = {}
for beta in (2.0, 0.5, 0.1):
    probs = learned.with_beta(beta).solve().probs
    errors = [expected(pi, learned_harm - harm) for pi in (habit, probs)]
    excess[beta] = expected(probs, harm) + 0.3
    print(f"{beta:5.2f} {errors[0]:32.2f} {errors[1]:21.2f} {excess[beta]:20.2f}")
assert excess[0.1] > excess[2.0] - 1e-9

# %% [markdown]
# The policy goes where the scores are wrong *in its favour*. Among equally tasty dishes it takes those whose cost was
# underestimated, and a rare dish with a large error is as good to it as a common one. This is the *optimizer's curse*;
# in language models it is called reward hacking or overoptimization. One can watch it look for the row of the table
# that was known least, the dishes with two forbidden portions:

# %%
for name, probs in (
    ("the careless cook", habit),
    ("tuned on learned scores", mine.probs),
    ("true optimum", best.probs),
):
    print(f"{name:24} serves {expected(probs, harm == 1.5):.2f} dishes with two forbidden portions")
assert expected(mine.probs, harm == 1.5) > expected(best.probs, harm == 1.5)

# %% [markdown]
# Is that the transformer's fault? A control in which the model class is right, the fit convex and the flags complete:
# the bandit of lesson 00, a table of costs, more and more comparisons, ten draws of the labels each.

# %%
bandit = SafetyBandit.demo(seed=0)
print("comparisons   cost error on the cook's dishes   on the policy's own   excess over C, scatter")
for n in (1000, 4000, 16_000):
    labs = [identifiability(bandit, n=n, seed=seed, cost_limit=-0.5, starts=[0.0]) for seed in range(10)]
    cooks, own, over = np.array(
        [(a.offset, a.believed - a.cost, a.cost - a.believed) for a in (lab.anchored for lab in labs)]
    ).T
    row = np.round([cooks.mean(), own.mean(), over.mean(), over.std()], 2) + 0.0  # no minus before 0.00
    print(f"{n:11} {row[0]:33.2f} {row[1]:21.2f} {row[2]:14.2f} {row[3]:8.2f}")

# %% [markdown]
# The curse is in the control as well: right on average on the cook's dishes, too low on the policy's own. It fades with
# more labels, faster than the scatter of the single draws. But a language model has more responses than anyone can
# label, and for the rare ones among them it is the first row of this table that counts.

# %% [markdown]
# ## The picture
#
# For every price: what the learned scores promise (blue, dotted), what the guests get (blue), and what could be had
# (black). Taste is counted from the careless cook, because its zero is unknown.


# %%
def curve(policies, reward, cost):
    """Return expected cost and gained taste along policies, each shape (prices,)."""
    gain = [expected(pi, reward) - expected(habit, reward) for pi in policies]
    return np.array([expected(pi, cost) for pi in policies]), np.array(gain)


prices = np.geomspace(0.3, 4.0, 40)
tuned = [learned.policy(lam) for lam in prices]
could = curve([gold.policy(lam) for lam in prices], taste, harm)
promise, get = curve(tuned, learned_taste, learned_harm), curve(tuned, taste, harm)
ends = [curve([mine.probs], *tables) for tables in ((learned_taste, learned_harm), (taste, harm))]
said, got = ((float(x[0]), float(y[0])) for x, y in ends)


# %% [markdown]
# One helper writes the expected harm at the ends of the arrow that the figure is about.


# %%
def mark(ax, point, face, words, offset):
    """Draw one end of the arrow and write its expected harm beside it."""
    look = {"markersize": 15, "markeredgecolor": "black", "markeredgewidth": 2, "zorder": 5}
    ax.plot(*point, "o", color=face, **look)
    beside = {"xytext": offset, "textcoords": "offset points", "fontsize": 17, "weight": "bold"}
    text = f"{words}: E[c] = {point[0]:.2f}".replace("-", "−")
    ax.annotate(text, point, ha="center", **beside)


# %% alt="Taste gained against expected harm. A black dashed curve, what could be had, lies above a solid blue curve, what the guests get from policies tuned on learned scores. A dotted blue curve is what the learned scores promise. An arrow leads from the promised point, on the limit, to the true point, beyond the limit."
with house_style():
    figure, ax = plt.subplots(figsize=(11, 6.4))
    ax.axvspan(-0.3, 0.0, color="#D55E00", alpha=0.10, linewidth=0)
    ax.axvline(-0.3, color="#D55E00", linewidth=4)
    ax.text(-0.295, 0.03, "limit C broken", color="#A84300", fontsize=15)
    for (x, y), style, colour in ((could, "--", "black"), (get, "-", "#0072B2"), (promise, ":", "#0072B2")):
        ax.plot(x, y, style, color=colour, linewidth=3.5)
    rows = (could, -0.13, 0.04, "what could be had"), (get, -0.13, 0.03, "what the guests get")
    for (x, y), at, up, words in (*rows, (promise, -0.13, -0.13, "what the learned scores promise")):
        ax.text(at, np.interp(at, x[::-1], y[::-1]) + up, words, ha="right", fontsize=15)
    ax.annotate("", got, said, arrowprops={"arrowstyle": "simple", "color": "#202020", "shrinkB": 8})
    mark(ax, said, "white", "certified", (-125, -75))
    mark(ax, got, "#0072B2", "true", (30, 40))
    ax.set(xlim=(-0.42, -0.12), ylim=(0, 1.1), xlabel="expected harm E[c]", ylabel="taste gained on the cook")
    ax.set_title("A certificate on learned scores certifies the learned problem", fontsize=18)

# %% [markdown]
# The certificate is about the lower end of the arrow. The guests live at the upper one. The numbers of the picture, by
# another road:

# %%
assert np.allclose(get[0], [gold.evaluate(pi).cost for pi in tuned])
assert np.allclose(could[0], [gold.limit_at(lam) for lam in prices])
assert abs(said[0] + 0.3) < 1e-9 and got[0] > -0.3
at_equal_harm = np.interp(got[0], could[0][::-1], could[1][::-1])
print(f"promised E[c] {said[0]:.2f}, true E[c] {got[0]:.2f}")
print(f"taste gained {got[1]:.1f}; at this very harm {at_equal_harm:.1f} could be had")

# %% [markdown]
# ### What helps
#
# Measuring the new policy's own dishes with the scorer that it was tuned on shows nothing: by that scorer the limit is
# met. It takes *fresh labels* on those dishes, or a scorer that learned from other labels. Here the truth is known, so
# we can measure the excess and tighten the limit by it, twice:

# %%
limit = -0.3
for _ in range(3):
    probs = learned.with_limit(limit).solve().probs
    real = gold.evaluate(probs)
    print(f"limit on the learned cost {limit:5.2f}: true E[c] {real.cost:5.2f}, J {real.objective:.2f}")
    limit -= real.cost + 0.3
print(f"the true optimum has J {best.objective:.2f}")
assert abs(real.cost + 0.3) < 0.03

# %% [markdown]
# Now the true cost is at the limit. What is still missing to the optimum is the price of wrong scores alone, and no
# price on them can win it back. In practice the "truth" is a sample of fresh labels with an interval. Better still, fit
# the scores again with those labels: they lie where the policy now is.

# %% [markdown]
# ## What would falsify this?
#
# If the models read something out of the labels, labels dealt out at random must teach nothing. Same model, same 80
# steps, right and shuffled labels. **Predict** the loss on fresh comparisons; remember what knowing nothing costs.

# %%
order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
for name, labels in (("right", pairs.better), ("shuffled", pairs.better[order])):
    gap = gaps(quick(RewardModel, replace(pairs, better=labels)), fresh)
    loss = bradley_terry_loss(torch.zeros_like(gap), gap, fresh.better).mean()
    print(f"{name:9} labels, 80 steps: loss {loss:.1f}, mean size of a gap {gap.abs().mean():.1f} nats")
    assert (loss < 0.6) == (name == "right")
print(f"knowing nothing: loss ln 2 = {np.log(2):.1f}")

# %% [markdown]
# Nothing learned, and nearly no gaps. (Accuracy would be a poor judge here: scores with tiny gaps still have an order,
# and an order by chance agrees with people in about half of the pairs, now a little less, now a little more.)
#
# And if wrong *scores* are what broke the limit, the right scores in the same solver must keep it, costs dealt out to the
# wrong guests must break it more, and no price and a huge one must fail each in its own way:

# %%
trials = {
    "true scores": best.probs,
    "learned scores": mine.probs,
    "learned, wrong guests": replace(learned, cost=np.roll(learned_harm, 4, axis=0)).solve().probs,
    "lam = 0": learned.policy(0.0),
    "lam = 100": learned.policy(100.0),
}
for name, pi in trials.items():
    own = gold.evaluate(pi)
    print(
        f"{name:22} E[c] {own.cost:5.2f}, taste gained {own.reward - expected(habit, taste):4.1f}, J {own.objective:5.2f}"
    )
assert gold.evaluate(trials["learned, wrong guests"]).cost > truth.cost > best.cost - 1e-9

# %% [markdown]
# ## Limits of this lesson
#
# - Our people answer by the very model that is fitted, independently, and all alike. Errors that they share, or that
#   depend on the length or the tone of an answer, would be learned as if they were taste.
# - How good the fits are belongs to this kitchen, this many labels and this many steps. That the policy seeks their
#   errors does not.
# - Calibration and accuracy were measured on the careless cook's dishes. They say little about dishes he never made.
# - The policy was the exact optimum of the learned problem. A trained policy has errors of its own, which may hide
#   those of the scores or add to them.
# - Only one seed was fitted. Another seed gives other errors, and the policy another way to use them.

# %% [markdown]
# ## References
#
# - R. A. Bradley, M. E. Terry. *Rank Analysis of Incomplete Block Designs: I. The Method of Paired Comparisons.*
#   Biometrika, 1952.
# - J. Dai and others. *Safe RLHF: Safe Reinforcement Learning from Human Feedback.* 2024, arXiv 2310.12773: reward and
#   cost models from people's labels, and the sign terms.
# - X. Huang and others. *One-Shot Safety Alignment for Large Language Models via Optimal Dualization.* 2024, arXiv
#   2405.19544: limits relative to the reference.
# - J. E. Smith, R. L. Winkler. *The Optimizer's Curse: Skepticism and Postdecision Surprise in Decision Analysis.*
#   Management Science, 2006.
# - L. Gao, J. Schulman, J. Hilton. *Scaling Laws for Reward Model Overoptimization.* 2022, arXiv 2210.10760.
# - Z. Liu, X. Sun, Z. Zheng. *Enhancing LLM Safety via Constrained Direct Preference Optimization.* 2024, arXiv
#   2403.02475: the loop that takes both scores as given.
