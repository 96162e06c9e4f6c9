# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 The cost, the limit and the dual
#
# **What you will have shown by the end.** For a given price $\lambda$ of cost the best policy is a formula.
# The right price is the lowest point of one convex curve, $D(\lambda)$, whose slope is simply *limit minus
# expected cost*. Walking downhill on it takes two lines of code, and its height bounds what any policy that
# meets the limit can earn. Where no policy can meet the limit, the curve says so.
#
# | reading | computing | hardware |
# |---|---|---|
# | 35 minutes | half a minute | any computer, no GPU |
#
# **What differs from lesson 01.** The same kitchen, but its tables are now known. As the cost we take the
# *probability* that a guest falls ill, $\sigma$ of lesson 01's cost, because a limit on a probability is easy
# to talk about. And there is a cook to choose.

# %% [markdown]
# ## The kitchen with a limit
#
# A policy $\pi$ says how often each guest gets each dish. `FiniteProblem` holds the tables, $\beta = 0.5$,
# and the limit: at most 15 % of the guests may fall ill. The reference is the careless cook.

# %%
# %matplotlib inline
import numpy as np

from cdpo_edu import FiniteProblem

DISHES = ["almond cake", "cheese pasta", "tomato soup", "plain rice"]
habit = [[0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1]]  # rows: nut allergy, milk allergy
taste = [[2.0, 1.2, 0.6, 0.0], [2.0, 3.2, 1.8, 1.1]]
ill = [[0.90, 0.10, 0.05, 0.02], [0.30, 0.80, 0.05, 0.04]]

problem = FiniteProblem(habit, taste, ill, beta=0.5, cost_limit=0.15)
careless = problem.evaluate(problem.reference)
print(f"careless cook: E[r] = {careless.reward:.3f}, E[c] = {careless.cost:.3f}, limit C = 0.15")

# %% [markdown]
# ## The best policy for a given price
#
# Suppose that every unit of cost is charged at the price $\lambda$. What is left to maximise has no limit in
# it any more:
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
# The same in the kitchen, as a softmax of numpy against `problem.policy`:


# %%
def tilted(reference, reward, cost, lam, beta):
    """Return pi_lam, shape (guests, dishes): the reference times exp((r - lam c)/beta), normalised."""
    weights = np.array(reference) * np.exp((np.array(reward) - lam * np.array(cost)) / beta)
    return weights / weights.sum(axis=1, keepdims=True)


difference = tilted(habit, taste, ill, 2.0, 0.5) - problem.policy(2.0)
print("largest difference from the oracle below 1e-12:", abs(difference).max() < 1e-12)

# %% [markdown]
# Why is this the best? Because for *every* policy
#
# $$E[\,r - \lambda c\,] - \beta\,E_x\mathrm{KL}(\pi\|\pi_{ref}) \;=\; \beta\,E_x\log Z_\lambda(x) \;-\; \beta\,E_x\mathrm{KL}(\pi\|\pi_\lambda)$$
#
# The first term does not depend on $\pi$, and the second is never positive and 0 only at $\pi = \pi_\lambda$.
# No calculus needed. An identity for every policy can be tested on any: here on three random ones.

# %%
random, lam, beta = np.random.default_rng(0), 2.0, 0.5
weights = np.array(habit) * np.exp((np.array(taste) - lam * np.array(ill)) / beta)
log_z = np.log(weights.sum(axis=1))
for _ in range(3):
    pi = random.dirichlet(np.ones(4), size=2)
    own = problem.evaluate(pi)
    left = own.reward - lam * own.cost - beta * own.kl
    apart = (pi * np.log(pi / problem.policy(lam))).sum(axis=1).mean()
    print(f"left {left:.6f}   right {beta * log_z.mean() - beta * apart:.6f}")

# %% [markdown]
# **Predict.** As the price rises from 0 to 100, what happens to taste and to illness? Does the KL to the
# careless cook rise, fall, or both?

# %%
from cdpo_edu import frontier

along = frontier(problem, [0, 1, 2, 3, 4, 6, 100])
print("  lam    E[r]   E[c]     KL")
for lam, reward, cost, kl in zip(along.lam, along.reward, along.cost, along.kl, strict=True):
    print(f"{lam:5.0f}  {reward:6.3f}  {cost:5.3f}  {kl:5.3f}")

# %% [markdown]
# The expected cost falls, always (the next sections say why). Taste falls too. The KL first falls and then
# rises: at a price of 0 the cook is pulled towards tasty dishes, away from his habits; a modest price pulls
# him back; a high one pulls him over to plain rice.
#
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
assert abs(drawn.expected_cost - along.cost[3]) < 1e-12

# %% [markdown]
# ## Slack, binding, infeasible
#
# The cost falls from 0.759 at $\lambda = 0$ towards the least that anyone can reach: every guest gets the
# safest dish, and $E_x \min_y c$ is the mean of 0.02 and 0.04. A limit can lie in three places.
#
# **Predict** for the limits 0.9, 0.15 and 0.02: is there a policy that meets it, and is its price zero?

# %%
for limit in (0.9, 0.15, 0.03, 0.02):
    found = problem.with_limit(limit).solve()
    lam = "none" if found.lam is None else f"{found.lam:.3f}"
    cost = "none" if found.cost is None else f"{found.cost:.3f}"
    print(
        f"C = {limit:4.2f}: {found.status:10} lam {lam:5}  E[c] {cost:5}  least reachable {found.min_cost:.3f}"
    )

# %% [markdown]
# - **slack** ($C = 0.9$): the policy of price 0 meets the limit anyway, so the price is 0.
# - **binding** ($C = 0.15$): the optimum uses the allowed cost up to the last crumb, at a price of 3.384 nats
#   of taste per unit of illness.
# - **infeasible** ($C = 0.02$): no cook in the world can do it; 0.030 is the best. This is a *result*, and it
#   is found before any training.
# - At the **edge** ($C = 0.03$) one policy is left, the safest dish for everyone, and no finite price is high
#   enough to enforce it.
#
# Note what the limit is on: the *mean* over guests. At the optimum one guest is served more risk than the
# other.

# %%
best = problem.solve()
risk = (best.probs * np.array(ill)).sum(axis=1)
print(f"risk of the guest with the nut allergy {risk[0]:.3f}, with the milk allergy {risk[1]:.3f}")
print(f"mean {risk.mean():.3f}, limit 0.15")

# %% [markdown]
# ## The dual
#
# How does one find the price 3.384 without trying them all? Put a bound over the problem. For any
# $\lambda \ge 0$ and any policy that meets the limit, $\lambda(C - E[c])$ is not negative, so adding it can
# only help:
#
# $$J(\pi) = E[r] - \beta\,\mathrm{KL} \;\le\; E[r] - \beta\,\mathrm{KL} + \lambda\,(C - E[c]) \;\le\;
# \underbrace{\beta\,E_x \log Z_\lambda(x) + \lambda C}_{D(\lambda)}$$
#
# $D$ is the *dual function*: above every $J(\pi)$ that is allowed, whatever the price. The lowest of these
# bounds is the best, so we **minimise** $D$ over $\lambda \ge 0$. Three facts make that easy, and each is
# checked below:
#
# $$D'(\lambda) = C - E_{\pi_\lambda}[c], \qquad D''(\lambda) = E_x \mathrm{Var}_{\pi_\lambda}(c|x)/\beta \;\ge\; 0, \qquad D(\lambda^*) = J(\pi^*)$$

# %%
step = 1e-4
print("  lam   slope: differences   C - E[c]     curvature: differences   Var/beta")
for lam in (0.5, 2.0, 5.0):
    low, middle, high = (problem.dual(lam + h) for h in (-step, 0, step))
    slope, curvature = (high - low) / (2 * step), (high - 2 * middle + low) / step**2
    exact = problem.dual_slope(lam), problem.dual_curvature(lam)
    print(f"{lam:5.1f} {slope:20.6f} {exact[0]:10.6f} {curvature:26.4f} {exact[1]:10.4f}")
    assert abs(slope - exact[0]) < 1e-6 and abs(curvature - exact[1]) < 1e-4

# %% [markdown]
# The slope is a thing one can *measure*: draw samples from the policy, average their cost. This is why
# constrained DPO works for policies whose $Z$ nobody can compute. And the curvature is never negative, here
# positive everywhere: the curve is a bowl, with one lowest point.

# %%
print(f"min D = D({best.lam:.3f}) = {problem.dual(best.lam):.9f}")
print(f"max J = J(best policy) = {best.objective:.9f}")
print(f"slope at the minimum = {abs(problem.dual_slope(best.lam)):.9f}")

# %% [markdown]
# The bound is reached: the lowest bound equals the highest value. (This is *strong duality*. It holds here
# because the problem is concave in the probabilities and some policy is strictly below the limit.)

# %% [markdown]
# ### A trap: whose logarithm?
#
# $E_x \log Z_\lambda(x)$ is a mean of logarithms. Averaging all guests *inside* the logarithm is a mistake
# that stands in published code. It gives a curve that is too high, and its slope is no longer $C - E[c]$, so
# that its lowest point lies elsewhere.


# %%
def grand_mean_dual(problem, lam):
    """Return the wrong curve: beta log E_x Z + lam C, with one logarithm around everything."""
    weights = problem.reference * np.exp((problem.reward - lam * problem.cost) / problem.beta)
    return problem.beta * np.log(weights.sum(axis=1).mean()) + lam * problem.cost_limit


for lam in (0.0, 2.0):
    wrong = grand_mean_dual(problem, lam)
    slope = (grand_mean_dual(problem, lam + 1e-6) - wrong) / 1e-6
    print(f"lam {lam:.0f}: D {problem.dual(lam):.3f}, wrong curve {wrong:.3f};", end=" ")
    print(f"C - E[c] {problem.dual_slope(lam):.3f}, slope of the wrong curve {slope:.3f}")

# %% [markdown]
# ## The dual step
#
# Downhill on $D$ means against the slope, and never below zero:
#
# $$\lambda \leftarrow \max\big(0,\; \lambda - \eta\,D'(\lambda)\big) = \max\big(0,\; \lambda + \eta\,(E_\pi[c] - C)\big)$$
#
# Too costly: the price rises. Room left: it falls. **By hand:** at $\lambda = 0$ the cost is 0.759. With a
# step size $\eta = 3$ the first step is $3\,(0.759 - 0.15)$. What is the next price? Will the walk overshoot
# 3.384?

# %%
from cdpo_edu import dual_step

walk = [0.0]
for _ in range(8):
    cost = problem.evaluate(problem.policy(walk[-1])).cost
    print(f"lam {walk[-1]:.3f}: E[c] = {cost:.3f}, D = {problem.dual(walk[-1]):.4f}")
    walk.append(dual_step(walk[-1], cost, 0.15, eta=3.0))

# %% [markdown]
# The walk slows down as it arrives, because the slope, which is the violation, gets small. Larger steps are
# faster until they are too large. Near the minimum the bowl is a parabola with curvature $D''(\lambda^*)$,
# and a step crosses to the other side and climbs if $\eta > 2/D''$.
#
# **Predict:** which of the step sizes 3, 10, 20 and 30 settle?

# %%
from cdpo_edu.widgets import dual_walk

print(f"2 / D''(lam*) = {2 / problem.dual_curvature(best.lam):.1f}")
for eta in (3.0, 10.0, 20.0, 30.0):
    last = dual_walk(problem, 0.0, eta=eta, steps=40)[-4:]
    print(f"eta = {eta:4.0f}: the last four prices are", *(f"{lam:.3f}" for lam in last))

# %% [markdown]
# With $\eta = 30$ the price jumps about for ever. If you read "$\lambda$ does not converge" in somebody's
# log, look at the step size first, and at the noise of the measured cost second.

# %% [markdown]
# ## The picture
#
# The dual with the walk on it. The orange point is where the walk stands after one step, with its tangent and
# its gap to the minimum.

# %% alt="The dual function, a bowl with its lowest point at 3.38. White points walk down its left side towards it; a falling tangent touches it where the walk stands after one step."
from cdpo_edu.plots import dual_data, plot_dual

ax = plot_dual(problem, lam=walk[1], iterates=walk)

# %% [markdown]
# Left of the minimum the limit is not met, the slope is negative, and the step goes right. Right of it there
# is room, and the step goes left. At the bottom the slope is 0: the limit is met and nothing of it is wasted.

# %%
drawn = dual_data(problem, lam=walk[1], iterates=walk)
print(drawn.describe())
print(f"slope of the tangent {drawn.slope:.3f}, lowest point at {drawn.curve.lam_exact:.3f}")
assert abs(drawn.slope - problem.dual_slope(walk[1])) < 1e-9
assert abs(drawn.gap - (problem.dual(walk[1]) - best.objective)) < 1e-9
assert np.allclose(drawn.iterate_values, [problem.dual(lam) for lam in walk])

# %% [markdown]
# ## Try it
#
# Run this cell in a live kernel: move $\lambda$, press *one dual step*, or let it play. Then answer with the
# sliders:
#
# 1. Raise the limit until $\lambda = 0$ is the lowest point. Which number of this lesson did you just find?
# 2. Lower the limit below 0.03. What does the curve look like, and where does the walk go?
# 3. Halve $\beta$. Does the same step size still settle? Why not?
#
# <details><summary>Answers</summary>
#
# 1. 0.759, the expected cost at a price of 0: from there on the limit is slack.
# 2. It falls for ever, and the walk runs to the end of the slider.
# 3. The curvature is a variance divided by $\beta$, so the bowl gets sharper and $2/D''$ smaller.
#
# </details>

# %%
from cdpo_edu.widgets import dual_slider

dual_slider(problem)

# %% [markdown]
# Without a kernel, here is the same picture standing still, with the limit moved to 0.02 (question 2).

# %% alt="The dual function of an infeasible limit falls without end; the walk follows it to the right, and nowhere is the limit met."
hopeless = problem.with_limit(0.02)
ax = plot_dual(hopeless, lam=2.0, iterates=dual_walk(hopeless, 0.0, eta=3.0, steps=6))

# %% [markdown]
# The slope never turns. However high the price, the cost stays above the limit:

# %%
drawn = dual_data(hopeless, lam=2.0)
print(drawn.describe())
slopes = [hopeless.dual_slope(lam) for lam in (10.0, 100.0, 1000.0)]
print("cost above the limit at lam = 10, 100, 1000:", *(f"{-slope:.4f}" for slope in slopes))
assert drawn.gap is None and all(slope < -0.0099 for slope in slopes)

# %% [markdown]
# The violation shrinks to 0.03 − 0.02 and no further.

# %% [markdown]
# ## Why do some say "dual ascent" and others "dual gradient descent"?
#
# They mean the same step. Textbooks *minimise* a loss $f$ subject to $g \le 0$. Their dual
# $q(\lambda) = \min\,[f + \lambda g]$ is concave and lies *below* the optimum, so they climb it: **dual
# ascent**. We *maximise* $J = -f$. Our dual $D = -q$ is convex and lies *above* the optimum, so we go down:
# **dual gradient descent**, the words of the C-DPO paper. To climb $q$ is to descend $D$, and the code says
# neither: it says `dual_step`.

# %%
lam, eta = 1.0, 3.0
slope_of_d = problem.dual_slope(lam)
slope_of_q = -slope_of_d
print(f"descending D: {lam - eta * slope_of_d:.6f}")
print(f"ascending  q: {lam + eta * slope_of_q:.6f}")
print(f"dual_step   : {dual_step(lam, along.cost[1], 0.15, eta=eta):.6f}")

# %% [markdown]
# ## The certificate
#
# Suppose that somebody hands you a policy, from any method at all. How good is it? Put the two identities of
# this lesson together:
#
# $$D(\lambda) - J(\pi) \;=\; \underbrace{\beta\,E_x\mathrm{KL}(\pi\,\|\,\pi_\lambda)}_{\text{not the best for the price }\lambda} \;+\;
# \underbrace{\lambda\,(C - E_\pi[c])}_{\text{allowed cost left unused}}$$
#
# For a policy that meets the limit both terms are at least 0, and their sum, the *gap*, bounds what it loses
# against the best. We take $\lambda = \lambda^*$ and try five cooks.

# %%
cooks = {
    "careless": problem.reference,
    "reward alone": problem.policy(0.0),
    "price 5": problem.policy(5.0),
    "rice for all": np.array([[0.0, 0.0, 0.0, 1.0]] * 2),
    "the best": best.probs,
}
print(f"{'cook':13}   E[c]       J   KL term  slack term      gap   limit")
for name, pi in cooks.items():
    own, c = problem.evaluate(pi), problem.certify(pi)
    terms = f"{c.gap_kl_term:9.4f} {c.gap_slack_term:11.4f} {c.gap:8.4f}".replace("-0.0000", " 0.0000")
    print(
        f"{name:13} {own.cost:6.3f} {own.objective:7.4f} {terms}   {'not met' if c.violation > 0 else 'met'}"
    )

# %% [markdown]
# - *price 5* meets the limit. Its gap of 0.2413 nats is mostly slack: it is close to the optimal policy (a
#   small KL term), but 5 is too high a price, and so it leaves allowed cost unused.
# - *rice for all* is as safe as can be, and loses 1.8690 nats. Safe is not the same as good.
# - *reward alone* and *careless* have a **negative** gap: they earn more than any allowed policy can, because
#   they spend more than is allowed. For a policy that violates the limit the gap bounds nothing, and that is
#   why a certificate never prints it without the violation.
# - *the best* has gap 0 in all its parts.
#
# The careless row by hand, from nothing but logarithms:

# %%
reference, optimum = np.array(habit), best.probs
kl_term = 0.5 * (reference * np.log(reference / optimum)).sum(axis=1).mean()
slack_term = best.lam * (0.15 - (reference * np.array(ill)).sum(axis=1).mean())
print(f"KL term {kl_term:.4f}, slack term {slack_term:.4f}, sum {kl_term + slack_term:.4f}")
print(f"D(lam*) - J = {best.dual_bound - careless.objective:.4f}")

# %% [markdown]
# ## What would falsify this?
#
# If the price does the work, three wrong prices must fail, each in its own way: none at all, one that is far
# too high, and one that is steered with the sign turned round. And if the *costs* carry the information, a
# price on shuffled costs must fail too.

# %%
backwards = [0.0]
for _ in range(8):
    cost = problem.evaluate(problem.policy(backwards[-1])).cost
    backwards.append(max(0.0, backwards[-1] - 3.0 * (cost - 0.15)))  # the sign is wrong

shuffled = FiniteProblem(habit, taste, np.roll(ill, 1, axis=1), beta=0.5, cost_limit=0.15)
trials = {
    "lam = 0": problem.policy(0.0),
    "lam = 1000": problem.policy(1000.0),
    "wrong sign": problem.policy(backwards[-1]),
    "wrong costs": shuffled.solve().probs,
    "lam = lam*": best.probs,
}

# %% [markdown]
# Each policy is judged by the *true* costs:

# %%
for name, pi in trials.items():
    own, c = problem.evaluate(pi), problem.certify(pi)
    print(
        f"{name:12} E[r] {own.reward:.3f}, E[c] {own.cost:.3f}, violation {c.violation:.3f}, J {own.objective:.3f}"
    )

# %% [markdown]
# Without a price, and with the wrong sign (the price stays at 0 for ever), the limit is violated. A price of
# 1000 meets it and gives the taste away. Costs that belong to other dishes lead to a policy that meets the
# limit on paper and violates it at the table. Only $\lambda^*$ has both.

# %% [markdown]
# ## Limits of this lesson
#
# - Everything was a sum over eight cells. For a language model neither $Z$ nor $D$ can be computed, and
#   $E[c]$ is an average of samples, with an interval. The step stays the same; the certificate becomes an
#   estimate.
# - The policy here *was* the tilted policy. A trained one is only near it, and then needs a slightly
#   different price.
# - One limit on the mean. Nobody promised each guest the same safety.

# %% [markdown]
# ## References
#
# - Z. Liu, X. Sun, Z. Zheng. *Enhancing LLM Safety via Constrained Direct Preference Optimization.* 2024,
#   arXiv 2403.02475: the problem and the dual step.
# - A. Wachi and others. *Stepwise Alignment for Constrained Language Model Policy Optimization.* 2024, arXiv
#   2404.11049: strong duality, Lemma 1.
# - X. Huang and others. *One-Shot Safety Alignment for Large Language Models via Optimal Dualization.* 2024,
#   arXiv 2405.19544: the dual of the sampled problem.
