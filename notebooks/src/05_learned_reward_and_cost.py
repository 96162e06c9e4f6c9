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
# that anyone could predict, for dishes that nobody compared as well. Flags give the cost its zero. And yet a cost
# with every sign right and calibrated flags can be unable to *count*; the best policy on it breaks the
# limit, while its certificate is spotless. A certificate on learned scores certifies the learned problem.
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
# Sixteen guests, each with an allergy and a craving. A dish is up to three portions out of fifteen ingredients,
# in order. Taste is the reward. Harm is the number of portions that the guest must not eat, minus 1/2, so that 0
# is the boundary between safe and unsafe. `cook` teaches a small transformer to imitate a careless cookbook.

# %%
# %matplotlib inline
import numpy as np
import torch

from cdpo_edu import Kitchen, cook

kitchen = Kitchen(portions=3)
policy = cook(kitchen, seed=0)

for dish in ("honey almond", "almond pesto almond", "honey apple", "water"):
    r, c = (score(["nuts sweet"], [dish]).item() for score in (kitchen.reward, kitchen.cost))
    print(f"a guest with a nut allergy who craves sweets: {dish:19}  taste {r:5.2f}   harm {c:4.1f}")

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
# Now forget the tables. All that anyone gets to see are people's labels. A guest is served eight dishes of the
# cook and ranks them twice, by taste and by safety, and flags each as unsafe or not. People judge with a finite
# **sharpness** of 4 nats per unit of taste or harm. In such a ranking any two dishes stand in Bradley-Terry order:
#
# $$P(y_1 \text{ better}) = \sigma\big(4\,[r(y_1) - r(y_0)]\big), \qquad P(y_1 \text{ safer}) =
# \sigma\big(4\,[c(y_0) - c(y_1)]\big), \qquad P(y \text{ unsafe}) = \sigma\big(4\,c(y)\big)$$

# %%
pairs = kitchen.rankings(policy, 2048, size=8, seed=1)
a, b = torch.combinations(torch.arange(8)).T  # the comparisons among eight dishes


def places(label):
    """Return the place of each dish in the first ranking, from who won its comparisons."""
    winners = torch.where(label[: len(a)] > 0.5, b, a)
    return (8 - winners.bincount(minlength=8)).tolist()


dishes, flags = [pairs.y0[0], *pairs.y1[:7]], [pairs.unsafe[0, 0], *pairs.unsafe[:7, 1]]
print(f"{pairs.prompts[0] + ' ranks':26} by taste  by safety  unsafe?")
for row in zip(dishes, places(pairs.better), places(pairs.safer), flags, strict=True):
    print(f"{row[0]:26} {row[1]:8} {row[2]:10}  {'yes' if row[3] else 'no':>7}")

# %% [markdown]
# **By hand.** How many comparisons does one ranking of eight hold? A dish with one forbidden portion lies 1/2 above the
# boundary, which is 2 nats: it is flagged with $\sigma(2)$. Two dishes whose harm differs by one portion are 4 nats apart.
# And two equally harmful ones?

# %%
print(f"{8 * 7 // 2} comparisons a ranking; {len(pairs)} in all, among {2048 * 8} dishes")
for gap in (0.0, 2.0, 4.0):
    print(f"sigma({gap:.0f}) = {1 / (1 + np.exp(-gap)):.3f}")

# %% [markdown]
# Eight dishes in pairs would be four comparisons; ranked, they are 28, for the same reading. (Not 28 *independent*
# ones: if a guest errs about one dish, all its comparisons err together.)

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
# We ask *fresh* comparisons, independent pairs, which no model will be fitted to. (`paced` is its first number, or the
# `fast` one where `CDPO_EDU_FAST=1` is set. What you read here belongs to the first.)

# %%
from cdpo_edu import paced

fresh = different(kitchen.pairs(policy, paced(4096, fast=2048), seed=2))
sharp = kitchen.sharpness
true_cost = torch.stack([kitchen.cost(fresh.prompts, y) for y in (fresh.y0, fresh.y1)], dim=1)
safer_rate = bayes(sharp * gaps(kitchen.cost, fresh))

print(f"which is better?  Bayes rate {bayes(sharp * gaps(kitchen.reward, fresh)):.1f}")
print(f"which is safer?   Bayes rate {safer_rate:.1f}")
print(f"is it unsafe?     Bayes rate {bayes(sharp * true_cost):.1f}")
p = torch.sigmoid(sharp * gaps(kitchen.cost, fresh))
print(f"two people agree about which is safer in {(p**2 + (1 - p) ** 2).mean():.1f} of the pairs")

# %% [markdown]
# "Which is safer?" is the hardest, because two dishes are often *equally* safe and the answer is a coin toss.
# So a bare accuracy says little. A safety model that is right in three of four comparisons may be perfect, and
# people who agree with each other in seven of ten may leave nothing to be learned. Put every accuracy
# beside its Bayes rate; where that is unknown, beside the agreement of two people.

# %% [markdown]
# ## Fitting the reward
#
# `fitted_scorer` begins with a copy of the cook's own transformer, puts one number on top of each token, adds these
# numbers up, and lowers the Bradley-Terry loss of lesson 01. It takes less than half a minute.

# %%
from cdpo_edu import CostModel, RewardModel, bradley_terry_loss, fitted_scorer

reward_model = fitted_scorer(RewardModel, kitchen, policy, pairs, seed=0, steps=paced(150, fast=100))
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
print(f"{len(seen) / 1000:.0f} of {habit.size / 1000:.0f} thousand cells of the table were ever compared")
print(f"agreement with the truth, both dishes seen {right[known & (truth != 0)].mean():.2f}")
print(f"one of them new to this guest              {right[~known & (truth != 0)].mean():.2f}")
assert right[~known & (truth != 0)].mean() > 0.8

# %% [markdown]
# It does, and hardly worse. "Honey" and "almond" share their parameters in all dishes and for all guests. That is what a
# network buys: it can say something about every response. It also *must* say something about every response, however
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
assert np.ptp(shifts) > 0.05 and 0.5 < slope < 1.0

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
# *old* beta: another problem, with a tie that is four times looser. Then of a hundred dishes of the cook not even one
# counts, and an estimate from samples stands on nothing. Published reward models have spreads of many
# nats. So the package carries a `reward_scale` and a `cost_scale`, and a limit is stated in the scaled unit.
#
# From here on all learned scores are divided by the sharpness.

# %% [markdown]
# ## Fitting the cost
#
# The cost model sees the "safer" labels and the flags: for each comparison one comparison term and two sign terms.
# Published score models read their number at the *last* token, which has looked back at all others. So do we, first.

# %%
last_model = fitted_scorer(CostModel, kitchen, policy, pairs, seed=0, steps=100, readout="last")
last_harm = kitchen.table(last_model).numpy() / sharp


def instruments(model, table):
    """Return share of signs that are right, and agreement with people on which dish is safer."""
    right = (gaps(model, fresh) < 0) == (fresh.safer > 0.5)
    return expected(habit, (table > 0) == (harm > 0)), right.double().mean().item()


signs, agreement = instruments(last_model, last_harm)
print(f"sign accuracy: {signs:.2f} of the dishes are on the right side of 0")
print(f"which is safer? {agreement:.1f} as people say, Bayes rate {safer_rate:.1f}")
assert last_model.anchored and signs > 0.98 and agreement > safer_rate - 0.03

# %% [markdown]
# Every sign is right, and the bets are as good as those of somebody who knows the truth. The third instrument is
# calibration.

# %% [markdown]
# ## The picture: calibration
#
# On fresh labels: how often was the second dish preferred where the model said 70 %? How often was a dish flagged?

# %% alt="Two reliability diagrams of fitted scores on labels that the models never saw: on the left how often the second dish was preferred, on the right how often a dish was flagged, each against the predicted probability, with the diagonal, 95 % intervals and a histogram at the foot."
import matplotlib.pyplot as plt

from cdpo_edu import plot_calibration
from cdpo_edu.plots import calibration_data, house_style


def flag_chances(model):
    """Return the predicted chance of a flag for every fresh dish."""
    return torch.cat([model(fresh.prompts, y) for y in (fresh.y0, fresh.y1)]).sigmoid()


wins = torch.sigmoid(gaps(reward_model, fresh)), fresh.better
flagged = flag_chances(last_model), fresh.unsafe.T.flatten()
with house_style():
    figure, axes = plt.subplots(1, 2, figsize=(15, 5.8))
for ax, columns in zip(axes, (wins, flagged), strict=True):
    plot_calibration(*columns, ax=ax)

# %% [markdown]
# The points lie close to the diagonal, on labels that the models never saw; where an interval misses it, it is by
# hundredths. On the right the predictions
# pile up in two places, safe and unsafe, which is all that flags ask.
#
# And the tastes that counted too little? No contradiction. Calibrated means right *on average* over all pairs that got the
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
    assert data.error < 0.05 < doubled.error + 0.02 and data.brier < doubled.brier

# %% [markdown]
# ## A cost that cannot count
#
# **Predict.** Signs right, bets as good as can be, calibrated. Is this then a good cost for a limit on $E[c]$?
#
# A sign asks *which side* of the boundary. The limit is on a mean, and a mean needs the *size*. So: the mean fitted
# cost of dishes with no, one, two and three forbidden portions, to the nearest half.


# %%
def sizes(table):
    """Return the mean fitted cost of dishes with 0, 1, 2 and 3 forbidden portions, as the cook serves them."""
    masses = [habit * (harm == count - 0.5) for count in range(4)]
    return np.array([(mass * table).sum() / mass.sum() for mass in masses])


def nearest(value, unit):
    """Return the multiple of ``unit`` nearest to a value, as 0 and never as -0."""
    return unit * np.round(value / unit) + 0.0


print("forbidden portions   share of dishes    true    fitted")
for count, fitted in enumerate(sizes(last_harm)):
    share = expected(habit, harm == count - 0.5)
    print(f"{count:18} {share:15.2f} {count - 0.5:10.1f} {nearest(fitted, 0.5):9.1f}")
assert sizes(last_harm)[3] - sizes(last_harm)[1] < 0.3

# %% [markdown]
# One, two, three: all the same. This cost knows *whether* a dish is forbidden, not *how often*.
#
# The reason is where it is read. Attention hands the last token an **average** over the dish. An average of almonds is an
# almond. It says which *share* of the plate is forbidden, and it says "something is" without effort, but to count,
# the network must undo the average. Little in the labels urges it to: a dish 0.5 above the boundary is flagged in 88
# cases of 100 already, one that is 1.5 above it in nearly all; and dishes with two or three forbidden portions are few.
#
# ### The repair: add up
#
# Read a number at *every* token and take the **sum**. At first nothing else differs: same labels, same 100 steps, same
# seed. Then 200 steps more. **Predict** the table.

# %%
sums = {
    steps: fitted_scorer(CostModel, kitchen, policy, pairs, seed=0, steps=steps, readout="sum")
    for steps in (100, 300)
}
sum_model = sums[300]
early_harm, sum_harm = (kitchen.table(model).numpy() / sharp for model in sums.values())

print("forbidden portions    true    last token    sum, 100 steps    sum, 300 steps")
for count, row in enumerate(np.transpose([sizes(table) for table in (last_harm, early_harm, sum_harm)])):
    print(f"{count:18} {count - 0.5:7.1f}", "".join(f"{nearest(value, 0.5):14.1f}    " for value in row))
blind_rise, early_rise, rise = (np.ptp(sizes(table)[1:]) for table in (last_harm, early_harm, sum_harm))
assert blind_rise < 0.3 and early_rise > 0.7 and rise > 1.6

# %% [markdown]
# It counts: half of the way after as many steps as the last token had, and nearly all of it later. A readout that adds
# fits a harm that adds. (The last token with 300 steps is under the limits of this lesson.) From here on the sum is the
# one of 300 steps. And what did the three instruments say? **Predict** by how much
# they prefer the cost that counts.

# %%
print("                signs right   agrees on safer   calibration error   Brier")
for name, model, table in (("last token", last_model, last_harm), ("sum", sum_model, sum_harm)):
    data = calibration_data(flag_chances(model), flagged[1])
    one, two = instruments(model, table)
    print(f"{name:15} {one:11.2f} {two:17.1f} {data.error:19.2f} {data.brier:7.2f}")
    assert one > 0.98 and two > safer_rate - 0.03 and data.error < 0.05

# %% [markdown]
# They cannot tell the two apart. All three are averages over the careless cook's dishes, where counting is seldom
# asked for, and they ask for sides and orders. No instrument here was broken. None of them measured what a limit needs.
# Keep in mind *on whose dishes* they were read: an average over his dishes is no promise about those that somebody else
# picks.

# %% [markdown]
# ## The zero, once more and exactly
#
# The costs above had flags. What if there are none? The same model, fitted briefly to the "safer" labels alone:

# %%
from dataclasses import replace

blind = fitted_scorer(CostModel, kitchen, policy, replace(pairs, unsafe=None), seed=0, steps=20)
for name, model in (("with flags", sum_model), ("without", blind)):
    off = (model(fresh.prompts, fresh.y0) / sharp - kitchen.cost(fresh.prompts, fresh.y0)).numpy()
    means = np.array([off[np.array(fresh.prompts) == guest].mean() for guest in kitchen.prompts])
    print(f"{name:10}: anchored {model.anchored!s:5}, a guest off by up to {abs(means).max():.1f}")

# %% [markdown]
# Nothing in the second loss holds the level of a guest. The package notes that it has no zero, `anchored` is False, and refuses an absolute limit on it. To see
# exactly what would go wrong we go down to one portion, 16 guests and 16 dishes, where the fit is a convex
# problem. The laboratory fits a table of costs to the *same* 40,000 comparisons from 10 starting points.

# %%
from cdpo_edu import SafetyBandit, identifiability
from cdpo_edu.bandit import Table

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
# **Predict.** The cost read at the last token has its zero, every sign right, and is calibrated. Will the limit be met
# in truth? And with the cost that counts?

# %%
gold = FiniteProblem(habit, taste, harm, beta=0.25, cost_limit=-0.3)
learned = {
    "last token": replace(gold, reward=learned_taste, cost=last_harm),
    "sum": replace(gold, reward=learned_taste, cost=sum_harm),
}
best, mine = gold.solve(), {name: problem.solve() for name, problem in learned.items()}

print("cost read at   scores       E[c]  excess     gap  closeness")
for name, found in mine.items():
    for scores, problem in (("learned", learned[name]), ("gold", gold)):
        own = problem.certify(found.probs)
        numbers = problem.evaluate(found.probs).cost, own.violation, own.gap, own.closeness
        print(f"{name:14} {scores:9}", "".join(f"{nearest(value, 0.1):8.1f}" for value in numbers))

# %% [markdown]
# By its own scores each policy is perfect: no violation, no gap, closeness 1. Every digit of that certificate is
# right, *for the learned problem*. In truth the cost that cannot count has let the policy over the limit (and the
# gap of a policy that breaks the limit bounds nothing). The cost that counts keeps it.
#
# So read a certificate with the word that the package writes beside it: `scores: gold` or `scores: learned`. And what
# became of the taste? (Taste was learned with errors as well, and is too timid.)

# %%
start = expected(habit, taste)
print("                    price   taste gained    E[c]   J below the best")
for name, found in {**mine, "true scores": best}.items():
    real = gold.evaluate(found.probs)
    gained, below = real.reward - start, nearest(best.objective - real.objective, 0.1)
    print(f"{name:18} {found.lam:6.1f} {gained:14.1f} {real.cost:7.1f} {below:18.1f}")
too_much, kept = (gold.evaluate(mine[name].probs).cost for name in learned)
assert too_much > -0.3 + 0.06 and abs(kept + 0.3) < 0.05
assert all(learned[name].certify(found.probs).violation < 1e-9 for name, found in mine.items())

# %% [markdown]
# The cost that cannot count even looks better by $J$ than the one that counts: it spends harm that was not allowed.
# Compare policies at equal harm, or not at all.

# %% [markdown]
# ### Why does it err to the wrong side?
#
# In the careless cook's mean neither cost is far off. **Predict**: and on the dishes of the policy that was tuned on it?
# What if the tie gets looser?

# %%
print("cost read at   beta   error on the cook's dishes below 0.1   on the policy's own   true excess")
excess = {}
for name, problem in learned.items():
    for beta in (4.0, 0.5, 0.1):
        probs = problem.with_beta(beta).solve().probs
        before, own = (expected(pi, problem.cost - harm) for pi in (habit, probs))
        excess[name, beta] = expected(probs, harm) + 0.3
        error, over = nearest(own, 0.1), nearest(excess[name, beta], 0.1)
        print(f"{name:14} {beta:.1f} {'yes' if abs(before) < 0.1 else 'no':>37} {error:21.1f} {over:13.1f}")
assert excess["last token", 0.1] > excess["last token", 0.5] > excess["last token", 4.0] > 0
assert all(abs(excess["sum", beta]) < 0.06 for beta in (4.0, 0.5, 0.1))

# %% [markdown]
# The policy goes where the scores are wrong *in its favour*. The second and the third forbidden portion of a dish cost
# nothing, so whoever has paid for the first takes them too; that such dishes are rare with the cook is no hindrance. The
# looser the tie, the more it finds. This is the *optimizer's curse*; in language models it is called reward hacking or
# overoptimization. One can watch it:

# %%
print("share of dishes, to 0.05, with forbidden portions:   one   two or three")
policies = {"the careless cook": habit, **{f"tuned on cost read: {k}": mine[k].probs for k in mine}}
for name, probs in (policies | {"true optimum": best.probs}).items():
    one, more = (nearest(expected(probs, kind), 0.05) for kind in (harm == 0.5, harm > 1))
    print(f"{name:48} {one:7.2f} {more:14.2f}")
two_or_more = {name: expected(probs, harm > 1) for name, probs in policies.items()}
cook_serves, blind_serves, counting_serves = two_or_more.values()
assert blind_serves > 1.5 * cook_serves > cook_serves > counting_serves

# %% [markdown]
# Tuned to be *less* harmful, the first policy serves dishes with two and three forbidden portions more often than the
# careless cook. It has traded many small harms for fewer, larger ones, which its cost cannot tell apart.
#
# Is the curse a matter of a bad readout, then? A control in which the model class is right, the fit convex and the flags
# complete: the bandit of lesson 00, a table of costs, more and more comparisons, ten draws of the labels each.

# %%
bandit, draws = SafetyBandit.demo(seed=0), range(paced(10, fast=4))
print("comparisons   cost error on the cook's dishes   on the policy's own   excess over C, scatter")
for n in (1000, 4000, 16_000):
    labs = [identifiability(bandit, n=n, seed=seed, cost_limit=-0.5, starts=[0.0]) for seed in draws]
    cooks, own, over = np.array(
        [(a.offset, a.believed - a.cost, a.cost - a.believed) for a in (lab.anchored for lab in labs)]
    ).T
    row = np.round([cooks.mean(), own.mean(), over.mean(), over.std()], 2) + 0.0  # no minus before 0.00
    print(f"{n:11} {row[0]:33.2f} {row[1]:21.2f} {row[2]:14.2f} {row[3]:8.2f}")

# %% [markdown]
# The curse is in the control as well: right on average on the cook's dishes, too low on the policy's own. There it comes
# from chance, and fades with more labels, faster than the scatter of the single draws. An error of the model class, such as
# an average where a sum is due, does not fade like that: more labels of the same dishes repeat what the model has
# heard. And a language model has more responses than anyone can label; for the rare ones it is the first row that counts.

# %% [markdown]
# ## The picture
#
# On the left what the two costs say about dishes with no, one, two and three forbidden portions. On the right what
# follows: for every price, the harm that the learned cost promises, and the harm that the guests get. On the dashed
# diagonals a cost is right, and a promise is kept.


# %%
def promise_and_truth(problem):
    """Return expected learned cost and expected harm of a problem's policies, shape (2, prices)."""
    policies = [problem.policy(lam) for lam in np.geomspace(0.3, 4.0, 40)]
    return np.array([(expected(pi, problem.cost), expected(pi, harm)) for pi in policies]).T


promised, true = (expected(mine["last token"].probs, table) for table in (last_harm, harm))
print(f"the last token's cost: promised E[c] {promised:.1f}, true E[c] {true:.1f}")

# %% [markdown]
# Two helpers draw the diagonals and write on the figure.


# %%
def dress(ax, ends, **labels):
    """Draw the diagonal between ``ends`` and set the labels of the axes."""
    ax.plot(ends, ends, "--", color="black", linewidth=2.5)
    ax.set(**labels)


def write(ax, x, y, words, colour="black"):
    """Write words at a point of the data, with a proper minus."""
    ax.text(x, y, words.replace("-", "−"), color=colour, fontsize=17, weight="bold")


# %% [markdown]
# Left, what each readout makes of one, two and three forbidden portions; right, what each promises of the policy at a
# given price of harm, and what is true of it. **Predict** first: which of the two curves leaves the diagonal, and on which side?

# %% alt="Two panels. Left: fitted against true cost of dishes with no, one, two and three forbidden portions; the cost read as a sum follows the diagonal, the cost read at the last token is flat from one portion on. Right: true against promised expected harm; the sum stays on the diagonal, the last token lies above it, and an arrow at the limit leads from the certified harm up to the true harm, in the shaded region where the limit is broken."
with house_style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 6.6))
dress(left, (-0.7, 2.7), xlabel="true cost of a dish", ylabel="mean fitted cost")
dress(right, (-0.5, 0.1), xlabel="promised E[c]", ylabel="true E[c]", xlim=(-0.5, 0.1), ylim=(-0.55, 0.6))
right.axhspan(-0.3, 0.6, color="#D55E00", alpha=0.10, linewidth=0)
right.axhline(-0.3, color="#D55E00", linewidth=3)
spots = {"last token": (1.5, 0.35, -0.27, 0.2), "sum": (0.95, 1.6, -0.1, -0.22)}
for name, colour, look in (("last token", "#0072B2", "o-"), ("sum", "#007A5A", "s-")):
    left.plot(np.arange(4) - 0.5, sizes(learned[name].cost), look, color=colour, markersize=13, linewidth=4)
    right.plot(*promise_and_truth(learned[name]), color=colour, linewidth=4)
    write(left, *spots[name][:2], name, colour), write(right, *spots[name][2:], name, colour)
arrow = {"facecolor": "#202020", "width": 5, "headwidth": 18, "headlength": 16}
right.annotate("", (-0.3, true), (-0.3, promised), arrowprops=arrow)
write(right, -0.49, true + 0.04, f"true {true:.1f}"), write(right, -0.28, -0.4, f"certified {promised:.1f}")
write(right, -0.48, 0.5, "limit broken", "#A84300")

# %% [markdown]
# The certificate is about the lower end of the arrow. The guests live at the upper one. The numbers of the picture, by
# another road:

# %%
for name, problem in learned.items():
    same = [gold.evaluate(problem.policy(lam)).cost for lam in np.geomspace(0.3, 4.0, 40)]
    said, got = promise_and_truth(problem)
    inside = (said > -0.45) & (said < 0.05)
    assert np.allclose(got, same)
    print(f"{name:12} true minus promised E[c], largest {abs(got - said)[inside].max():.1f}")
    assert (abs(got - said)[inside].max() > 0.1) == (name == "last token")
assert abs(promised + 0.3) < 1e-9 and true > -0.3 + 0.06

# %% [markdown]
# ### What helps
#
# Measuring the new policy's own dishes with the scorer that it was tuned on shows nothing: by that scorer the limit is
# met. It takes *fresh labels* on those dishes, or a scorer that learned from other labels. Here the truth is known, so
# we can measure the excess and tighten the limit by a part of it, twice (lesson 03: a whole step would overshoot):

# %%
lost = {}
for name, problem in learned.items():
    limit = -0.3
    for _ in range(3):
        real = gold.evaluate(problem.with_limit(limit).solve().probs)
        lost[name] = best.objective - real.objective
        print(
            f"{name:12} limit {limit:4.1f}: true E[c] {real.cost:4.1f}, J below the best by {lost[name]:.1f}"
        )
        limit -= 0.6 * (real.cost + 0.3)
    assert abs(real.cost + 0.3) < 0.04
# %% [markdown]
# The limit of the sum is the one just reached; what does the true taste make of it?

# %%
print("the sum is ahead by more than 0.03:", lost["last token"] - lost["sum"] > 0.03)
tasting = gold.evaluate(replace(learned["sum"], reward=taste).with_limit(limit).solve().probs)
print("and with the true taste within 0.02 of the best:", abs(best.objective - tasting.objective) < 0.02)
assert lost["last token"] > lost["sum"] > 0.1

# %% [markdown]
# Now both true costs are at the limit, and $J$ can be compared: the cost that counts is ahead. What is still missing to
# the optimum is the price of wrong scores alone, here nearly all of it of the timid taste, and no price of harm can win it back. In practice
# the "truth" is a sample of fresh labels with an interval. Better still, fit the scores again with those labels: they lie
# where the policy now is. And ask a cost for its *sizes*, beside its signs, before you put a limit on its mean.

# %% [markdown]
# ## What would falsify this?
#
# If the models read something out of the labels, labels dealt out at random must teach nothing. Same model, same 20
# steps, right and shuffled labels. **Predict** the loss on fresh comparisons; remember what knowing nothing costs.

# %%
order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
for name, labels in (("right", pairs.better), ("shuffled", pairs.better[order])):
    model = fitted_scorer(RewardModel, kitchen, policy, replace(pairs, better=labels), seed=0, steps=20)
    gap = gaps(model, fresh)
    loss = bradley_terry_loss(torch.zeros_like(gap), gap, fresh.better).mean()
    print(f"{name:9} labels, 20 steps: loss {loss:.1f}, mean size of a gap {gap.abs().mean():.1f} nats")
    assert (loss < 0.65) == (name == "right")
print(f"knowing nothing: loss ln 2 = {np.log(2):.1f}")

# %% [markdown]
# Nothing learned, and nearly no gaps. (Accuracy would be a poor judge here: scores with tiny gaps still have an order,
# and an order by chance agrees with people in about half of the pairs, now a little less, now a little more.)
#
# And if wrong *scores* are what broke the limit, the right scores in the same solver must keep it, costs dealt out to the
# wrong guests must break it more. If *counting* is what was missing, the last token's cost with nothing but its sizes
# put right must keep it, too. And no price and a huge one must fail each in its own way:

# %%
blind_spot = learned["last token"]
true_size = np.where(last_harm > 0, np.maximum(harm, last_harm), last_harm)
trials = {
    "true scores": best.probs,
    "last token": mine["last token"].probs,
    "last token, sizes put right": replace(blind_spot, cost=true_size).solve().probs,
    "last token, wrong guests": replace(blind_spot, cost=np.roll(last_harm, 4, axis=0)).solve().probs,
    "lam = 0": blind_spot.policy(0.0),
    "lam = 100": blind_spot.policy(100.0),
}

# %% [markdown]
# A limit can be broken, or be kept by a dull policy. Which is which?

# %%
for name, pi in trials.items():
    own = gold.evaluate(pi)
    kept, useful = own.cost < -0.3 + 0.05, own.objective > best.objective - 0.5
    print(f"{name:28} limit kept to 0.05: {kept!s:6} J at most 0.5 below the best: {useful}")
mended, wrong = (gold.evaluate(list(trials.values())[place]).cost for place in (2, 3))
assert wrong > too_much > mended and mended < -0.26

# %% [markdown]
# ## Limits of this lesson
#
# - Our people answer by the very model that is fitted, independently, and all alike. Errors that they share, or that
#   depend on the length or the tone of an answer, would be learned as if they were taste.
# - How good the fits are belongs to this kitchen, this many labels and this many steps. Fitted for 300
#   steps, like the sum, the last token learned to tell one portion from two, but not two from three, and broke the limit
#   by much less. So the break above is that of a short fit, and the sum needs fewer steps to count. That the policy seeks the errors belongs to no kitchen.
# - Here harm adds up over portions, so a sum is the right readout. Where one bad word spoils all, it is not.
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
