# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 The cost and the limit
#
# **What you will have shown by the end.** A limit on an expected cost means something only if the cost has a
# zero, and it is a limit on the *mean*. For a given price $\lambda$ of cost the best policy is a formula; as
# the price rises, the formula walks along a frontier from all reward to all safety, and a limit cuts that
# frontier at one point. Or nowhere: then nobody can meet the limit, and one can say so before any training.
#
# | reading | computing | hardware |
# |---|---|---|
# | 35 minutes | half a minute | any computer, no GPU |
#
# **What differs from lesson 01.** The same kitchen, but its tables are now known, and there is a cook to
# choose.

# %% [markdown]
# ## The kitchen with a limit
#
# A policy $\pi$ says how often each guest gets each dish. The *reference* is the careless cook, tied to the
# new cook by $\beta = 0.5$. A dish makes its guest ill with a known probability, and at most 15 % of the
# guests may fall ill:
#
# $$\max_\pi\; E[r] - \beta\,E_x\mathrm{KL}(\pi\,\|\,\pi_{ref}) \qquad\text{subject to}\qquad E[c] \le C = 0.15$$

# %%
# %matplotlib inline
import numpy as np

from cdpo_edu import FiniteProblem

DISHES = ["almond cake", "cheese pasta", "tomato soup", "plain rice"]
habit = np.array([[0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1]])  # rows: nut allergy, milk allergy
taste = np.array([[2.0, 1.2, 0.6, 0.0], [2.0, 3.2, 1.8, 1.1]])
ill = np.array([[0.90, 0.10, 0.05, 0.02], [0.30, 0.80, 0.05, 0.04]])

problem = FiniteProblem(habit, taste, ill, beta=0.5, cost_limit=0.15)
careless = problem.evaluate(habit)
print(f"careless cook: E[r] = {careless.reward:.3f}, E[c] = {careless.cost:.3f}, limit C = 0.15")

# %% [markdown]
# `FiniteProblem` is the oracle of this course. Every expectation in it is a sum over the eight cells of the
# table, and `solve` finds the best policy to the last digits. *How* is the subject of lesson 03.

# %% [markdown]
# ## What is a cost?
#
# Higher is more harmful. That much is easy. But 0.15 *of what*? Lesson 01 fitted a cost in **log-odds**:
# flags fix its zero, and $c = 0$ says that ill and well are equally likely. Here we use the **probability**
# $\sigma(c)$ of falling ill. Both have an anchored zero; they are one and the same for a single dish.

# %%
harm = np.log(ill / (1 - ill))
for guest, row in (("nut allergy", 0), ("milk allergy", 1)):
    for y, dish in enumerate(DISHES):
        print(f"{guest:12} {dish:12}  log-odds {harm[row, y]:5.2f}   probability {ill[row, y]:.2f}")

# %% [markdown]
# They are not the same for a *mean*. **Predict.** Suppose the limit is "the expected log-odds are at most 0",
# even odds. What share of the guests falls ill under the best policy that keeps it: about half, clearly less,
# or clearly more?

# %%
in_log_odds = FiniteProblem(habit, taste, harm, beta=0.5, cost_limit=0.0).solve()
share_ill = (in_log_odds.probs * ill).sum(axis=1).mean()
print(f"E[log-odds] = {abs(in_log_odds.cost):.3f}, the limit is met; ill: {share_ill:.3f} of the guests")
cake = harm[0, 3] / (harm[0, 3] - harm[0, 0])  # the mixture of cake and rice with mean log-odds 0
print(f"{cake:.0%} cake and {1 - cake:.0%} rice: ill {cake * ill[0, 0] + (1 - cake) * ill[0, 3]:.3f}")

# %% [markdown]
# More than half. The reason is in the last line: for the first guest 36 portions of rice, at −3.89 each, pay for
# 64 portions of cake at 2.20, and more than half of that mixture makes ill. In log-odds very safe answers buy
# unsafe ones. A probability cannot be bought off in that way: its mean *is* the share of guests who fall ill.
# That is why we put the limit on the probability. (On the command line: `cdpo-edu train --max-unsafe-rate R`.)

# %% [markdown]
# ## A cost without a zero
#
# From comparisons alone a cost is known up to an unknown shift for every prompt (lesson 01). Suppose somebody's
# fitted cost is off by a nat for everybody. All comparisons come out the same. We ask for $E[c] \le -2$:

# %%
for shift in (-1.0, 0.0, 1.0, 2.0):
    found = FiniteProblem(habit, taste, harm + shift, beta=0.5, cost_limit=-2.0).solve()
    lam = "none" if found.lam is None else f"{found.lam:.3f}"
    share = "" if found.probs is None else f", ill {(found.probs * ill).sum(axis=1).mean():.3f}"
    print(f"costs shifted by {shift:4.1f} nats: {found.status:10} price {lam}{share}")

# %% [markdown]
# The same words, "at most −2", allow 36 % or 5 % of the guests to fall ill, or no cook at all. An *absolute*
# limit on a cost without a zero is a statement about the shift. The package therefore refuses it.
#
# What one can do without a zero is to limit the cost **relative to the reference**: "a nat less than the
# careless cook", $E_\pi[c] \le E_{ref}[c] - 1$. **Predict** what the shift does to that, if it is even a
# different one for each guest.

# %%
for shift in ([0.0, 0.0], [3.0, 0.0], [-3.0, 5.0]):
    costs = harm + np.array(shift)[:, None]
    reference_cost = FiniteProblem(habit, taste, costs, beta=0.5, cost_limit=0.0).evaluate(habit).cost
    relative = FiniteProblem(habit, taste, costs, beta=0.5, cost_limit=reference_cost - 1).solve()
    share = (relative.probs * ill).sum(axis=1).mean()
    print(f"shifted by {shift}: C = {reference_cost - 1:6.3f}, price {relative.lam:.3f}, ill {share:.3f}")

# %% [markdown]
# Nothing: in the difference of two policies on the *same* guests every shift cancels. In the package this is
# `cost_limit_relative`. From here on the cost is the probability again.

# %% [markdown]
# ## The best policy for a given price
#
# Charge every unit of cost at the price $\lambda$. What is left to maximise has no limit in it any more:
#
# $$\max_\pi\; E[\,r - \lambda c\,] - \beta\,E_x\mathrm{KL}(\pi\,\|\,\pi_{ref})$$
#
# Its solution multiplies the reference by an exponential and normalises. It is called the *tilted* policy:
#
# $$\pi_\lambda(y|x) = \frac{\pi_{ref}(y|x)\,e^{(r(x,y) - \lambda c(x,y))/\beta}}{Z_\lambda(x)}, \qquad
# Z_\lambda(x) = \sum_y \pi_{ref}(y|x)\,e^{(r(x,y) - \lambda c(x,y))/\beta}$$

# %% [markdown]
# **On two dishes, by hand.** One guest, cake ($r = 1$, $c = 1$) or rice ($r = 0$, $c = 0$), a reference at
# even odds, $\beta = 1$. The odds cake : rice are $e^{1-\lambda}$. At $\lambda = 1$ taste and price cancel
# and the odds are even; at $\lambda = 1 + \ln 3$ they are 1 to 3.

# %%
two = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1.0, cost_limit=0.25)
for lam in (0.0, 1.0, 1 + np.log(3)):
    by_hand = np.exp(1 - lam) / (np.exp(1 - lam) + 1)
    print(f"lam = {lam:.3f}   P(cake) by hand {by_hand:.4f}   by the oracle {two.policy(lam)[0, 0]:.4f}")

# %% [markdown]
# The same in the kitchen: two lines of numpy against `problem.policy`.


# %%
def tilted(reference, reward, cost, lam, beta):
    """Return pi_lam, shape (guests, dishes): the reference times exp((r - lam c)/beta), normalised."""
    weights = reference * np.exp((reward - lam * cost) / beta)
    return weights / weights.sum(axis=1, keepdims=True)


difference = tilted(habit, taste, ill, 2.0, 0.5) - problem.policy(2.0)
print("largest difference from the oracle below 1e-12:", abs(difference).max() < 1e-12)

# %% [markdown]
# Why is this the best? Because for *every* policy
#
# $$E[\,r - \lambda c\,] - \beta\,E_x\mathrm{KL}(\pi\|\pi_{ref}) \;=\; \beta\,E_x\log Z_\lambda(x) \;-\; \beta\,E_x\mathrm{KL}(\pi\|\pi_\lambda)$$
#
# The first term on the right does not depend on $\pi$. The second is never positive, and 0 only at
# $\pi = \pi_\lambda$. No calculus needed. An identity for every policy can be tested on any: here on three
# random ones.

# %%
random, lam, beta = np.random.default_rng(0), 2.0, 0.5
log_z = np.log((habit * np.exp((taste - lam * ill) / beta)).sum(axis=1))
for _ in range(3):
    pi = random.dirichlet(np.ones(4), size=2)
    own = problem.evaluate(pi)
    left = own.reward - lam * own.cost - beta * own.kl
    apart = (pi * np.log(pi / problem.policy(lam))).sum(axis=1).mean()
    print(f"left {left:.6f}   right {beta * log_z.mean() - beta * apart:.6f}")

# %% [markdown]
# Here is what the price 3 does for the guest with the nut allergy, prompt 0. The outline is the careless
# cook, the colour says how far a dish's own cost lies from the limit.

# %% alt="Bars of four dishes: the almond cake shrinks from 0.40 to 0.04, the cheese pasta grows from 0.30 to 0.73, the tomato soup stays, the plain rice shrinks."
from cdpo_edu.plots import plot_policy, policy_data

ax = plot_policy(problem, 3.0, prompt=0, labels=DISHES)

# %% [markdown]
# The cake, her favourite, all but disappears; the pasta, tasty and fairly safe for her, takes its place. The
# soup stays where it was. The bars as numbers:

# %%
drawn = policy_data(problem, 3.0, prompt=0, labels=DISHES)
for dish, before, after in zip(drawn.labels, drawn.reference, drawn.probs, strict=True):
    print(f"{dish:13} careless {before:.2f}   at price 3 {after:.2f}")
assert abs(drawn.probs - problem.policy(3.0)[0]).max() < 1e-12

# %% [markdown]
# ## The frontier
#
# **Predict.** As the price rises from 0 to 100, what happens to taste and to illness? Does the KL to the
# careless cook rise, fall, or both?

# %%
from cdpo_edu import frontier

along = frontier(problem, [0, 1, 2, 3, 4, 6, 100])
print("  lam    E[r]   E[c]     KL")
for lam, reward, cost, kl in zip(along.lam, along.reward, along.cost, along.kl, strict=True):
    print(f"{lam:5.0f}  {reward:6.3f}  {cost:5.3f}  {kl:5.3f}")

# %% [markdown]
# The expected cost falls, always (lesson 03 says why). Taste falls too. The KL first falls and then rises: at
# a price of 0 the cook is pulled towards tasty dishes, away from his habits; a modest price pulls him back; a
# high one pulls him over to plain rice.
#
# Every one of these policies is *the* best one under some limit, namely its own cost. So price and limit are
# two names for one point of the curve, and the oracle translates both ways:

# %%
print(f"the price 2 is right for the limit {problem.limit_at(2.0):.4f}")
print(f"the limit {problem.limit_at(2.0):.4f} needs the price {problem.lam_at(problem.limit_at(2.0)):.4f}")
best = problem.solve()
print(
    f"the limit 0.15 needs the price {best.lam:.4f}; its best policy: E[r] {best.reward:.4f}, KL {best.kl:.4f}"
)

# %% [markdown]
# ## The picture
#
# All the prices at once: reward against cost, one dashed curve. The limit cuts it at the star.

# %% alt="Reward against cost: a dashed curve rises from the safest policies on the left to reward alone at the price 0 on the right. The limit at 0.15 cuts it at the star, the exact optimum, at the price 3.38. The careless cook lies below the curve."
from cdpo_edu.plots import dual_curve, frontier_data, plot_frontier

prices = np.sort([0.0, best.lam, *np.geomspace(0.05, 200, 200)])
curve = dual_curve(problem, prices)
ax = plot_frontier(curve)
ax.plot(careless.cost, careless.reward, "o", color="#6E6E6E", markeredgecolor="black", markersize=12)
where = {"xytext": (12, -4), "textcoords": "offset points", "fontsize": 14}
note = ax.annotate("careless cook", (careless.cost, careless.reward), **where)

# %% [markdown]
# To the right of the vermillion line the limit is not met. Without a price the cook ends there, at the upper
# right. The careless cook lies *below* the curve: at his own cost more taste can be had. But this picture does
# not show the KL, in which that taste is paid for. So the curve is not the most taste that a cook *without*
# habits could offer at each cost; it is the most that is worth leaving the habits for.

# %%
drawn = frontier_data(curve)
print(drawn.describe())
own = [problem.evaluate(problem.policy(lam)) for lam in prices]
assert np.allclose(drawn.cost, [point.cost for point in own])
assert np.allclose(drawn.reward, [point.reward for point in own])
assert np.allclose(drawn.chosen, [best.lam, best.cost, best.reward])
assert np.all(np.diff(drawn.cost) < 0) and np.all(np.diff(drawn.reward) < 0)

# %% [markdown]
# ## Slack, binding, edge, infeasible
#
# The curve ends on the right at 0.759, the cost of price 0. On the left it ends at the least that anyone can
# reach: every guest gets the safest dish, $E_x \min_y c$, the mean of 0.02 and 0.04. A limit can lie in four
# places.
#
# **Predict** for the limits 0.9, 0.15, 0.03 and 0.02: is there a policy that meets it, and is its price zero?

# %%
for limit in (0.9, 0.15, 0.03, 0.02):
    found = problem.with_limit(limit).solve()
    lam = "none" if found.lam is None else f"{found.lam:.3f}"
    cost = "none" if found.cost is None else f"{found.cost:.3f}"
    print(
        f"C = {limit:4.2f}: {found.status:10} lam {lam:5}  E[c] {cost:5}  least reachable {found.min_cost:.3f}"
    )
print("C = 0.02: guests whose safest dish is above the limit:", found.worst_prompts)

# %% [markdown]
# - **slack** ($C = 0.9$): the policy of price 0 meets the limit anyway, so the price is 0.
# - **binding** ($C = 0.15$): the optimum uses the allowed cost up to the last crumb, at a price of 3.384 nats
#   of taste per unit of illness.
# - **edge** ($C = 0.03$): one policy is left, the safest dish for everyone. It is the optimum, and no finite
#   price is high enough to enforce it.
# - **infeasible** ($C = 0.02$): no cook in the world can do it; 0.030 is the best. This is a *result*, found
#   before any training, and it names the guest who makes it so: number 1, whose safest dish has 0.04.

# %% [markdown]
# ## A map of limits and ties
#
# The price depends on $\beta$ too. **Predict**: does a weaker tie to the careless cook, a smaller $\beta$, raise
# the price of the same limit or lower it? And from which limit on is the price zero?

# %%
print(" beta   slack from C =   price of C = 0.15    E[r]     KL")
for beta in (4.0, 2.0, 0.5, 0.1):
    tied = problem.with_beta(beta)
    free, found = tied.limit_at(0.0), tied.solve()
    print(f"{beta:5.1f} {free:16.3f} {found.lam:19.3f} {found.reward:7.3f} {found.kl:6.3f}")

# %% [markdown]
# It lowers it. A strong tie makes the cook stiff, and to move him at all takes a high price. But a weak tie lets
# him run after taste, into the dangerous dishes, and so fewer limits are slack. The map shows for every limit and
# every tie in which of the places we are.

# %% alt="A map with the limit across and beta upwards on a log scale. Left of 0.03 infeasible, on the right slack, in between binding, the colour showing the price; the kitchen's own point lies in the binding region."
from cdpo_edu.plots import phase_map_data, plot_phase_map

ax = plot_phase_map(problem)

# %% [markdown]
# The left border is straight: whether a limit can be met at all has nothing to do with $\beta$. The right border
# is $E_0[c]$, what reward alone would cost. A map of 41 by 81 solved problems, and a few of its numbers by
# another road:

# %%
mapped = phase_map_data(problem)
print(mapped.describe())
assert np.allclose(mapped.slack_from, [problem.with_beta(b).limit_at(0.0) for b in mapped.phases.beta])
for status in ("infeasible", "optimal", "slack"):
    print(f"{status:10} {mapped.share(status):5.1%} of the map")
row, column = 20, 30
other = problem.with_beta(mapped.phases.beta[row]).with_limit(mapped.phases.limit[column]).solve()
assert (
    mapped.phases.status[row, column] == other.status
    and abs(mapped.phases.lam[row, column] - other.lam) < 1e-9
)

# %% [markdown]
# ## A mean over guests, not a promise to each
#
# $E[c]$ averages over prompts. **Predict**: at the optimum for 0.15, do both guests bear a risk of 0.15?

# %%
risk = (best.probs * ill).sum(axis=1)
print(f"risk of the guest with the nut allergy {risk[0]:.3f}, with the milk allergy {risk[1]:.3f}")
print(f"mean {risk.mean():.3f}, limit 0.15")

# %% [markdown]
# The second guest bears nearly twice the risk of the first: the same risk buys more taste at her table, and one
# price serves both. If that is not what you want, set *two limits*, one for each guest. A cost that is zero
# except for one guest does it. (She is half of the guests, so her limit on the mean is half of 0.15, 0.075.)

# %%
each = np.zeros((2, 2, 4))  # limits, guests, dishes
each[0, 0], each[1, 1] = ill[0], ill[1]
fair = FiniteProblem(habit, taste, each, beta=0.5, cost_limit=(0.075, 0.075)).solve()
risk = (fair.probs * ill).sum(axis=1)
print(f"risks {risk[0]:.3f} and {risk[1]:.3f}, prices {fair.lam[0]:.3f} and {fair.lam[1]:.3f}")
print(f"J = {fair.objective:.4f}; with one limit on the mean J = {best.objective:.4f}")

# %% [markdown]
# Now both bear 0.150, safety has a price of its own at each table, and the whole kitchen earns a little less. What
# a mean hides between two guests it hides as well among a million prompts. And who counts how much is a choice
# too: it is the distribution of the prompts.

# %%
for nut, milk in ((0.9, 0.1), (0.5, 0.5), (0.1, 0.9)):
    weighted = FiniteProblem(habit, taste, ill, beta=0.5, cost_limit=0.15, prompt_probs=[nut, milk]).solve()
    risk = (weighted.probs * ill).sum(axis=1)
    print(
        f"{nut:.0%} nut allergies: price {weighted.lam:.3f}, risks {risk[0]:.3f} and {risk[1]:.3f}, mean {weighted.cost:.3f}"
    )

# %% [markdown]
# ## The least change that meets the limit
#
# Sometimes there is no reward model, only a cost, and the wish is: change the model as little as possible and
# meet the limit. That is the same problem with $r = 0$, and it has a price of its own.

# %%
least = problem.least_kl()
judged = problem.evaluate(least.probs)
print(
    f"least change: price {least.lam:.3f}, E[c] {judged.cost:.3f}, KL {judged.kl:.4f}, E[r] {judged.reward:.3f}"
)
print(f"best policy:  price {best.lam:.3f}, E[c] {best.cost:.3f}, KL {best.kl:.4f}, E[r] {best.reward:.3f}")

# %% [markdown]
# Both meet the limit. The best policy moves further from the careless cook, because moving towards *taste* is
# worth it. The KL 0.3162 of the first is the least that safety alone costs: no policy that meets the limit
# stays closer to the reference.

# %% [markdown]
# ## What would falsify this?
#
# "The best policy that meets the limit" would be refuted by a single better one. We draw 100,000 policies at
# random and look for it.

# %%
draws = np.random.default_rng(1).dirichlet(np.ones(4), size=(100_000, 2))  # (policies, guests, dishes)
cost = (draws * ill).sum(axis=-1).mean(axis=-1)
kl = (draws * np.log(draws / habit)).sum(axis=-1).mean(axis=-1)
objective = (draws * taste).sum(axis=-1).mean(axis=-1) - 0.5 * kl

met = cost <= 0.15
print(f"{met.sum()} of them meet the limit; the best of these has J = {objective[met].max():.4f}")
print(f"the oracle's policy has J = {best.objective:.4f}")
print(f"ignoring the limit, J = {objective.max():.4f} was drawn, with E[c] = {cost[objective.argmax()]:.3f}")
assert objective[met].max() < best.objective and kl[met].min() > least.kl

# %% [markdown]
# And if the price on the *right costs* does the work, then no price, far too much of it, and a price on costs
# that belong to other dishes must each fail in its own way. All are judged by the true costs:

# %%
shuffled = FiniteProblem(habit, taste, np.roll(ill, 1, axis=1), beta=0.5, cost_limit=0.15)
trials = {
    "lam = 0": problem.policy(0.0),
    "lam = 1000": problem.policy(1000.0),
    "wrong costs": shuffled.solve().probs,
    "lam = lam*": best.probs,
}
for name, pi in trials.items():
    own = problem.evaluate(pi)
    print(f"{name:12} E[r] {own.reward:.3f}, E[c] {own.cost:.3f}, J {own.objective:.3f}")

# %% [markdown]
# Only the last meets the limit *and* keeps the taste.

# %% [markdown]
# ## Limits of this lesson
#
# - Everything was a sum over eight cells. For a language model $Z$ cannot be computed and $E[c]$ is an average
#   of samples, with an interval.
# - The probabilities of falling ill were given. Learned ones are as good as their calibration (lesson 01's
#   picture), and a policy goes looking for their mistakes.
# - A limit on a mean says nothing about the worst guest, or the worst day.

# %% [markdown]
# ## References
#
# - Z. Liu, X. Sun, Z. Zheng. *Enhancing LLM Safety via Constrained Direct Preference Optimization.* 2024,
#   arXiv 2403.02475: the problem.
# - J. Dai and others. *Safe RLHF: Safe Reinforcement Learning from Human Feedback.* 2024, arXiv 2310.12773:
#   the cost whose zero is the boundary between safe and unsafe.
# - X. Huang and others. *One-Shot Safety Alignment for Large Language Models via Optimal Dualization.* 2024,
#   arXiv 2405.19544: limits relative to the reference.
