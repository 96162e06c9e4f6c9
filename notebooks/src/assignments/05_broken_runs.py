# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 05: broken runs
#
# **What you will have done by the end.** You will have found out what is wrong with two runs of constrained DPO from
# nothing but their histories, with a tool of your own: a function that says what a right row looks like. And you will have
# repaired a round in which three things are wrong at once. Every mistake here is one that published code has made;
# `cdpo-edu museum` shows where.
#
# Time: about 75 minutes. You need numpy and lessons 03 and 07.

# %% [markdown]
# Type the id under which you hand in. It decides the instances that you see.

# %% student="id"
STUDENT = "your id"

# %% given="desk"
import numpy as np

from cdpo_edu.classroom import Desk

desk = Desk(STUDENT, course="public")

# %% [markdown]
# Your answers are marked where `cdpo_edu` is not installed: write them with numpy and with functions of your own. Each
# function is called with arguments by name, on inputs that are drawn anew.
#
# ## The runs
#
# The kitchen has a few guests $x$, who come with the frequencies `weights`, and five dishes $y$ for each. Everything is
# a table, and training is exact: with soft labels on all pairs, DPO finds the best policy of a price,
#
# $$\pi_\lambda(y|x) = \frac{\pi_{ref}(y|x)\,e^{(r-\lambda c)/\beta}}{Z_\lambda(x)}$$
#
# A correct run begins at $\lambda = 0$. Each round trains at its price, measures $E[c]$, writes one row down and steps,
# $\lambda \leftarrow \max(0, \lambda + \alpha\,(E[c] - C))$. There is no sampling noise: a row is right, or it is wrong.

# %% [markdown] exercise="expected_row" variant="standard"
# ## 1 What a right row says
#
# A row of a run holds, besides its price, three numbers of the policy $\pi_\lambda$:
#
# $$E[r] = \sum_x w_x \sum_y \pi_\lambda\, r, \qquad E[c] = \sum_x w_x \sum_y \pi_\lambda\, c, \qquad
# KL = \sum_x w_x \sum_y \pi_\lambda \log\frac{\pi_\lambda}{\pi_{ref}}$$
#
# Write the function that computes them.

# %% [markdown] exercise="expected_row" variant="safety"
# ## 1 What a right row says, with safety
#
# In this exercise the table `cost` holds **safety**: a higher number is *less* harmful, and the price $\lambda$ pays for it.
# So the policy of a price is not the one written above: change the sign that has to change. A row of a run holds, besides
# its price, three numbers of that policy:
#
# $$E[r] = \sum_x w_x \sum_y \pi_\lambda\, r, \qquad E[s] = \sum_x w_x \sum_y \pi_\lambda\, s, \qquad
# KL = \sum_x w_x \sum_y \pi_\lambda \log\frac{\pi_\lambda}{\pi_{ref}}$$
#
# Return $E[s]$ under the name "cost", as the table is called. All exercises after this one are about costs again.

# %% [markdown]
# <details><summary>Hint</summary>
# Normalise each row of the table by itself. Take the largest exponent of a row off before exp.
# </details>
#
# Expected: a dict of three numbers; the KL is never negative.


# %% answer="expected_row" variant="standard"
def expected_row(lam, weights, reference, reward, cost, beta):
    """Return {"reward": E[r], "cost": E[c], "kl": KL(policy || reference)} of the best policy for lam.

    weights: (X,) frequencies of the prompts, sum 1; reference, reward, cost: (X, Y), cost higher = more harmful.
    """
    ### BEGIN SOLUTION
    exponent = (reward - lam * cost) / beta  # (X, Y)
    policy = reference * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    policy = policy / policy.sum(axis=1, keepdims=True)
    ratio = np.log(np.maximum(policy, 1e-300) / reference)
    tables = {"reward": reward, "cost": cost, "kl": ratio}
    return {name: weights @ (policy * table).sum(axis=1) for name, table in tables.items()}
    ### END SOLUTION


# %% answer="expected_row" variant="safety"
def expected_row(lam, weights, reference, reward, cost, beta):
    """Return {"reward": E[r], "cost": E[s], "kl": KL(policy || reference)} of the best policy for lam.

    weights: (X,) frequencies of the prompts, sum 1; reference, reward, cost: (X, Y), cost higher = safer.
    """
    ### BEGIN SOLUTION
    exponent = (reward + lam * cost) / beta  # (X, Y)
    policy = reference * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    policy = policy / policy.sum(axis=1, keepdims=True)
    ratio = np.log(np.maximum(policy, 1e-300) / reference)
    tables = {"reward": reward, "cost": cost, "kl": ratio}
    return {name: weights @ (policy * table).sum(axis=1) for name, table in tables.items()}
    ### END SOLUTION


# %% check="expected_row"
desk.check("expected_row", expected_row)

# %% [markdown] exercise="first_bad_row" variant="standard"
# ## 2 The first row that cannot be
#
# Each of these runs was stopped, its code was edited, and it went on. From some row on it is wrong. A row is **right**
# when both of these hold to within 0.001:
#
# * its price is one step from the row *before, as that row stands* (0 in the first row);
# * its reward, cost and KL are those of the best policy for *its own* price.
#
# Return the number of the first round whose row is not right. Rounds count from 1, and every run here has such a row.

# %% [markdown] exercise="first_bad_row" variant="all rows"
# ## 2 All rows that cannot be
#
# Each of these runs was stopped, its code was edited, and it went on. From some row on it is wrong. A row is **right**
# when both of these hold to within 0.001:
#
# * its price is one step from the row *before, as that row stands* (0 in the first row);
# * its reward, cost and KL are those of the best policy for *its own* price.
#
# Return the **list** of the numbers of all rounds whose row is not right. Rounds count from 1.

# %% [markdown]
# A word on "as that row stands": when a row's cost is wrong and the next price is the right step from that wrong cost, then the
# next price is right. Only so does the first wrong row name its cause.
#
# <details><summary>Hint</summary>
# Go through the rows with the price that you expect in hand. Exercise 1 gives you the other three columns; write it once
# more inside if yours is for safety.
# </details>
#
# Expected: rounds, not places in a list.


# %% answer="first_bad_row" variant="standard"
def first_bad_row(history, weights, reference, reward, cost, beta, limit, step):
    """Return the first round whose row a correct run would not have written.

    history: dict of equally long lists "round", "lam", "reward", "cost", "kl"; the tables as in exercise 1;
    limit: C; step: alpha.
    """

    ### BEGIN SOLUTION
    def right(lam):
        exponent = (reward - lam * cost) / beta
        policy = reference * np.exp(exponent - exponent.max(axis=1, keepdims=True))
        policy = policy / policy.sum(axis=1, keepdims=True)
        tables = reward, cost, np.log(np.maximum(policy, 1e-300) / reference)
        return [weights @ (policy * table).sum(axis=1) for table in tables]

    price = 0.0
    for number, lam, *row in zip(
        *(history[name] for name in ("round", "lam", "reward", "cost", "kl")), strict=True
    ):
        if abs(lam - price) > 1e-3 or max(np.abs(np.subtract(row, right(lam)))) > 1e-3:
            return number
        price = max(0.0, lam + step * (row[1] - limit))
    ### END SOLUTION


# %% answer="first_bad_row" variant="all rows"
def first_bad_row(history, weights, reference, reward, cost, beta, limit, step):
    """Return the list of all rounds whose row a correct run would not have written.

    history: dict of equally long lists "round", "lam", "reward", "cost", "kl"; the tables as in exercise 1,
    cost higher = more harmful; limit: C; step: alpha.
    """

    ### BEGIN SOLUTION
    def right(lam):
        exponent = (reward - lam * cost) / beta
        policy = reference * np.exp(exponent - exponent.max(axis=1, keepdims=True))
        policy = policy / policy.sum(axis=1, keepdims=True)
        tables = reward, cost, np.log(np.maximum(policy, 1e-300) / reference)
        return [weights @ (policy * table).sum(axis=1) for table in tables]

    price, bad = 0.0, []
    for number, lam, *row in zip(
        *(history[name] for name in ("round", "lam", "reward", "cost", "kl")), strict=True
    ):
        if abs(lam - price) > 1e-3 or max(np.abs(np.subtract(row, right(lam)))) > 1e-3:
            bad.append(number)
        price = max(0.0, lam + step * (row[1] - limit))
    return bad
    ### END SOLUTION


# %% check="first_bad_row"
desk.check("first_bad_row", first_bad_row)

# %% [markdown] exercise="bug_in_the_price"
# ## 3 What happened to the price?
#
# Your own run is below. Its mistake has to do with the price or with the cost that moves it. Find the round in which it
# **first shows**, that is the first row that is not right, and the name. The names, for this exercise and the next:
#
# | name | what the edited code does |
# |---|---|
# | flipped sign | steps the price the other way |
# | frozen multiplier | never steps it again |
# | sum for mean | adds the costs of the `samples` answers up |
# | reward for cost | measures the wrong column |
# | unanchored cost | has a new cost model, learned from comparisons alone: every cost is shifted by one number |
# | labels not relabelled | keeps the labels of the last good round |
# | reference moves | starts each round from the policy of the round before, as its reference |
# | cost added to the score | labels by $r + \lambda c$ |
# | beta twice | multiplies the margin by $\beta$ where it is in it already |

# %%
price_run = desk.instance("bug_in_the_price")
print(f"C {price_run['limit']:.3f}  alpha {price_run['step']:.3f}  samples {price_run['samples']}")
print("round    lam  reward    cost      kl")
for row in zip(
    *(price_run["history"][name] for name in ("round", "lam", "reward", "cost", "kl")), strict=True
):
    print("{:5d} {:6.3f}  {:6.3f}  {:6.3f}  {:6.3f}".format(*row))

# %% [markdown]
# <details><summary>Hint</summary>
# First the row, then the name. In that row: is the price the step from the row before? If it is, which of the three other
# columns is off, and by what: a factor, a constant, another column's value?
# </details>
#
# Expected: `{"bug": one of the names, "round": a number}`. Type it, or compute it.

# %% answer="bug_in_the_price"
bug_in_the_price = None
### BEGIN SOLUTION


def right_columns(run, lam):
    exponent = (run["reward"] - lam * run["cost"]) / run["beta"]
    policy = run["reference"] * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    policy = policy / policy.sum(axis=1, keepdims=True)
    tables = {"reward": run["reward"], "cost": run["cost"]}
    tables["kl"] = np.log(np.maximum(policy, 1e-300) / run["reference"])
    return {name: run["weights"] @ (policy * table).sum(axis=1) for name, table in tables.items()}


def first_wrong(run):
    rows, price = run["history"], 0.0
    for k, lam in enumerate(rows["lam"]):
        off = {name: rows[name][k] - value for name, value in right_columns(run, lam).items()}
        off["lam"] = lam - price
        if max(map(abs, off.values())) > 1e-3:
            return k, off
        price = max(0.0, lam + run["step"] * (rows["cost"][k] - run["limit"]))


def name_in_the_price(run):
    k, off = first_wrong(run)
    rows = run["history"]
    if abs(off["lam"]) > 1e-3:
        return "frozen multiplier" if rows["lam"][k] == rows["lam"][k - 1] else "flipped sign"
    if abs(rows["cost"][k] - rows["reward"][k]) < 1e-3:
        return "reward for cost"
    right = rows["cost"][k] - off["cost"]
    return "sum for mean" if abs(rows["cost"][k] - run["samples"] * right) < 1e-3 else "unanchored cost"


bug_in_the_price = {"bug": name_in_the_price(price_run), "round": first_wrong(price_run)[0] + 1}
### END SOLUTION

# %% check="bug_in_the_price"
desk.check("bug_in_the_price", bug_in_the_price)

# %% [markdown] exercise="bug_in_the_policy"
# ## 4 What happened to the policy?
#
# Another run of yours. This time the price steps as it should, and the measured cost is the policy's own. What was done
# to the policy? The names are those of exercise 3.

# %%
policy_run = desk.instance("bug_in_the_policy")
print(f"C {policy_run['limit']:.3f}  alpha {policy_run['step']:.3f}  samples {policy_run['samples']}")
print("round    lam  reward    cost      kl")
for row in zip(
    *(policy_run["history"][name] for name in ("round", "lam", "reward", "cost", "kl")), strict=True
):
    print("{:5d} {:6.3f}  {:6.3f}  {:6.3f}  {:6.3f}".format(*row))

# %% [markdown]
# <details><summary>Hint</summary>
# Make a suspect of each name: build the policy that this mistake would give in the first wrong row, from the price of that
# row and the price of the one before, and compare its reward and KL with the row. With the margin multiplied by beta twice,
# training ends at the exponent (r - lam c)/beta^2.
# </details>
#
# Expected: `{"bug": one of the names, "round": a number}`.

# %% answer="bug_in_the_policy"
bug_in_the_policy = None
### BEGIN SOLUTION


def row_of(run, reference, score, beta):
    policy = reference * np.exp((score - score.max(axis=1, keepdims=True)) / beta)
    policy = policy / policy.sum(axis=1, keepdims=True)
    tables = run["reward"], np.log(np.maximum(policy, 1e-300) / run["reference"])
    return policy, np.array([run["weights"] @ (policy * table).sum(axis=1) for table in tables])


def name_in_the_policy(run):
    k, _ = first_wrong(run)
    lam, before = run["history"]["lam"][k], run["history"]["lam"][k - 1]
    now, old = run["reward"] - lam * run["cost"], run["reward"] - before * run["cost"]
    reference, beta = run["reference"], run["beta"]
    last = row_of(run, reference, old, beta)[0]
    suspects = {
        "labels not relabelled": row_of(run, reference, old, beta)[1],
        "reference moves": row_of(run, last, now, beta)[1],
        "cost added to the score": row_of(run, reference, run["reward"] + lam * run["cost"], beta)[1],
        "beta twice": row_of(run, reference, now, beta**2)[1],
    }
    seen = np.array([run["history"]["reward"][k], run["history"]["kl"][k]])
    return min(suspects, key=lambda name: np.abs(suspects[name] - seen).max())


bug_in_the_policy = {"bug": name_in_the_policy(policy_run), "round": first_wrong(policy_run)[0] + 1}
### END SOLUTION

# %% check="bug_in_the_policy"
desk.check("bug_in_the_policy", bug_in_the_policy)

# %% [markdown] only="lecture"
# Ask the room for the cheapest alarm for each of the nine. A price that does not move while the cost is off its limit; a price
# that falls while the cost is above; no flipped labels while the price moves; a KL that grows with the *rounds* at a price that
# stands still. The last one is the reference that moves, and only the KL to the *first* reference sees it.

# %% [markdown] exercise="long_step"
# ## 5 How long may a step be?
#
# A correct run can look broken as well: with too long a step the price goes back and forth. Near the best price
# $\lambda^*$ the cost falls by $E_x \mathrm{Var}(c|x)/\beta$ per unit of price, so one step multiplies the distance to
# $\lambda^*$ by
#
# $$1 - \alpha\,\frac{E_x \mathrm{Var}_{\pi_{\lambda^*}}(c\,|\,x)}{\beta}$$
#
# **Predict** for your instance: the `largest_step`, below which a walk that begins near $\lambda^*$ comes ever nearer; and
# whether a run with your `step` `settles`, True or False.

# %%
near = desk.instance("long_step")
print(f"lam* {near['lam_star']:.3f}   step {near['step']:.3f}   beta {near['beta']}")

# %% [markdown]
# <details><summary>Hint</summary>
# A distance shrinks when the factor lies between -1 and 1. The variance is taken within each guest's dishes, and then averaged
# with the weights.
# </details>
#
# Expected: a dict of a number, right to three digits, and a truth value.

# %% answer="long_step"
long_step = None
### BEGIN SOLUTION
exponent = (near["reward"] - near["lam_star"] * near["cost"]) / near["beta"]
best = near["reference"] * np.exp(exponent - exponent.max(axis=1, keepdims=True))
best = best / best.sum(axis=1, keepdims=True)
mean = (best * near["cost"]).sum(axis=1, keepdims=True)
variance = near["weights"] @ (best * (near["cost"] - mean) ** 2).sum(axis=1)
largest = 2 * near["beta"] / variance
long_step = {"largest_step": largest, "settles": bool(near["step"] < largest)}
### END SOLUTION

# %% check="long_step"
desk.check("long_step", long_step)

# %% [markdown] exercise="repaired_round" variant="standard"
# ## 6 Repair a round
#
# Below is one round of a loop that trains a language model: it measures the cost of the policy's own samples, steps the price and
# makes the labels that the *next* training uses. It runs without an error, and **three** things in it are wrong. Write
# the repaired round.

# %% [markdown] exercise="repaired_round" variant="rate"
# ## 6 Repair a round that limits a rate
#
# Below is one round of a loop that trains a language model: it measures the policy's own samples, steps the price and makes the
# labels that the *next* training uses. It runs without an error, and **three** things in it are wrong.
#
# In this course the limit is on the **rate of unsafe answers**. An answer is unsafe when its cost is above 0, and then it
# counts as 1, otherwise as 0; in the measurement *and* in the labels. The code below uses the costs as they are: that is not
# one of its three mistakes, but you have to change it too. Write the repaired round.


# %%
def broken_round(lam, limit, step, sample_cost, pair_reward, pair_cost):
    s = pair_reward - lam * pair_cost
    target = 1 / (1 + np.exp(s[:, 0] - s[:, 1]))
    measured = sample_cost.sum()
    lam = max(0.0, lam - step * (measured - limit))
    return {"lam": lam, "target": target}


# %% [markdown]
# <details><summary>Hint</summary>
# What stands for an expectation over samples? Which way does a price go when the limit is broken? And which price will be
# in force when these labels are used?
# </details>
#
# Expected: a dict as above, with the next price and the labels for it.


# %% answer="repaired_round" variant="standard"
def repaired_round(lam, limit, step, sample_cost, pair_reward, pair_cost):
    """Return {"lam": the next price, "target": soft labels for it, shape (n,)}.

    sample_cost: (prompts, samples), higher = more harmful; pair_reward, pair_cost: (n, 2) for y0 and y1;
    the target is the probability that y1 is chosen.
    """
    ### BEGIN SOLUTION
    measured = sample_cost.mean()
    lam = max(0.0, lam + step * (measured - limit))
    score = pair_reward - lam * pair_cost
    return {"lam": lam, "target": 1 / (1 + np.exp(score[:, 0] - score[:, 1]))}
    ### END SOLUTION


# %% answer="repaired_round" variant="rate"
def repaired_round(lam, limit, step, sample_cost, pair_reward, pair_cost):
    """Return {"lam": the next price, "target": soft labels for it, shape (n,)}.

    sample_cost: (prompts, samples), above 0 = unsafe; pair_reward, pair_cost: (n, 2) for y0 and y1;
    the target is the probability that y1 is chosen.
    """
    ### BEGIN SOLUTION
    measured = (sample_cost > 0).mean()
    lam = max(0.0, lam + step * (measured - limit))
    score = pair_reward - lam * (pair_cost > 0)
    return {"lam": lam, "target": 1 / (1 + np.exp(score[:, 0] - score[:, 1]))}
    ### END SOLUTION


# %% check="repaired_round"
desk.check("repaired_round", repaired_round)

# %% [markdown]
# ## To close: your two runs
#
# The two runs of exercises 3 and 4 in the plane of price and cost. A mistake in the policy or in the measured cost takes the walk
# off the curve on which it came. A mistake in the step alone leaves it on the curve, and moves it along there the wrong way or
# not at all.

# %% alt="Two walks in the plane of the multiplier and the expected cost, one for each broken run, with the rounds numbered along them; a dashed line marks each limit. In the first rounds both walks come down towards their limits."
# %matplotlib inline
import matplotlib.pyplot as plt

axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")[1]
for ax, run, title in zip(axes, (price_run, policy_run), ("exercise 3", "exercise 4"), strict=True):
    lam, cost = run["history"]["lam"], run["history"]["cost"]
    ax.plot(lam, cost, "o-", linewidth=1.5)
    for number, place in enumerate(zip(lam, cost, strict=True), start=1):
        ax.annotate(str(number), place, xytext=(5, 5), textcoords="offset points")
    ax.axhline(run["limit"], linestyle="--", color="#D55E00", label="limit C")
    ax.set(xlabel="price λ", ylabel="cost as written down", title=title)
    ax.legend()
