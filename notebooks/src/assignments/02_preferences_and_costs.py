# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 02: preferences and costs
#
# **What you will have done by the end.** You will have written how a comparison becomes a probability and a loss, and what a
# cost model needs beyond comparisons so that a limit on it means something. You will have made the soft label of a
# penalised pair, and found how many nats a raw point of reward is worth to the people who chose.
#
# Time: about 70 minutes. You need numpy and lessons 01 and 02.

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
# function is called with arguments by name, on inputs that are drawn anew. Throughout, $\sigma(m) = 1/(1 + e^{-m})$, and a pair
# is two dishes $y_0$ and $y_1$ for one guest.

# %% [markdown] exercise="preference_probability" variant="standard"
# ## 1 Who wins?
#
# Bradley and Terry's model of a comparison: the difference of two rewards, in nats, is the logarithm of the odds.
#
# $$P(y_1 \text{ beats } y_0) = \sigma(r_1 - r_0)$$

# %% [markdown] exercise="preference_probability" variant="bits"
# ## 1 Who wins, in bits?
#
# Bradley and Terry's model of a comparison: the difference of two rewards is the logarithm of the odds. In this course the
# rewards of this exercise are in **bits**: the logarithm has base 2, and a lead of one bit means odds of 2 to 1. Return
#
# $$P(y_1 \text{ beats } y_0)$$

# %% [markdown]
# By hand first: odds of 3 to 1 are a probability of three quarters, and the logarithm that says so depends on its base.

# %%
print("3 to 1 is", 3 / (3 + 1), "as a probability,", np.log(3), "nats,", np.log2(3), "bits")

# %% [markdown]
# <details><summary>Hint</summary>
# Equal rewards must give one half. Then try the lead that should give odds of 3 to 1.
# </details>
#
# Expected: an array of numbers between 0 and 1, one a pair.


# %% answer="preference_probability" variant="standard"
def preference_probability(reward0, reward1):
    """Return the probability that y1 beats y0, shape (n,).

    reward0, reward1: (n,), nats, higher is better.
    """
    ### BEGIN SOLUTION
    return 1 / (1 + np.exp(reward0 - reward1))
    ### END SOLUTION


# %% answer="preference_probability" variant="bits"
def preference_probability(reward0, reward1):
    """Return the probability that y1 beats y0, shape (n,).

    reward0, reward1: (n,), bits, higher is better.
    """
    ### BEGIN SOLUTION
    return 1 / (1 + 2.0 ** (reward0 - reward1))
    ### END SOLUTION


# %% check="preference_probability"
desk.check("preference_probability", preference_probability)

# %% [markdown] exercise="preference_loss" variant="standard"
# ## 2 The loss of a reward model
#
# A reward model is fitted by making what people chose probable. With $w$ the winner and $l$ the loser of a pair, in nats,
#
# $$\ell = -\log\sigma(r_w - r_l)$$
#
# `label` is the number of the **winner**: 0 or 1.

# %% [markdown] exercise="preference_loss" variant="loser"
# ## 2 The loss of a reward model, from losers
#
# A reward model is fitted by making what people chose probable. With $w$ the winner and $l$ the loser of a pair, in nats,
#
# $$\ell = -\log\sigma(r_w - r_l)$$
#
# In this course people were asked which dish they would *send back*: `label` is the number of the **loser**, 0 or 1.

# %% [markdown]
# A model that is young can be very wrong, and a loss of a thousand nats must come out as a thousand, not as infinity.
# Compare two ways to write $-\log\sigma(m)$ at a lead of −1000:

# %%
with np.errstate(all="ignore"):
    print(-np.log(1 / (1 + np.exp(np.float64(1000.0)))), "or", np.logaddexp(0.0, 1000.0))

# %% [markdown]
# <details><summary>Hint</summary>
# First the lead of the winner, with <code>np.where</code>. Then −log of 1/(1 + e^−m) is the log of a sum of two exponentials.
# </details>
#
# Expected: one number a pair, at least 0, and finite.


# %% answer="preference_loss" variant="standard"
def preference_loss(reward0, reward1, label):
    """Return the loss of each comparison, nats, shape (n,), not reduced.

    reward0, reward1: (n,), nats, higher is better; label: (n,) integers, 1 where y1 won and 0 where y0 won.
    """
    ### BEGIN SOLUTION
    lead = np.where(label == 1, reward1 - reward0, reward0 - reward1)
    return np.logaddexp(0.0, -lead)
    ### END SOLUTION


# %% answer="preference_loss" variant="loser"
def preference_loss(reward0, reward1, label):
    """Return the loss of each comparison, nats, shape (n,), not reduced.

    reward0, reward1: (n,), nats, higher is better; label: (n,) integers, 1 where y1 lost and 0 where y0 lost.
    """
    ### BEGIN SOLUTION
    lead = np.where(label == 1, reward0 - reward1, reward1 - reward0)
    return np.logaddexp(0.0, -lead)
    ### END SOLUTION


# %% check="preference_loss"
desk.check("preference_loss", preference_loss)

# %% [markdown] exercise="anchored_cost_loss" variant="standard"
# ## 3 A cost that knows its zero
#
# A cost $c$ is higher for the more harmful dish. Comparisons fix it up to a shift for every guest, so the cost model of Dai et
# al. (2024) adds a term for every dish whose flag is known. With $\ell(m, p) = \log(1 + e^m) - p\,m$,
#
# $$\ell(c_0 - c_1,\; p) \;+\; \ell(c_0, u_0) \;+\; \ell(c_1, u_1)$$
#
# where $p$ is `safer`, 1 when $y_1$ is the safer one and 0 when $y_0$ is, and $u_k$ is `unsafe`, 1 when dish $k$ is **unsafe** and
# 0 when it is safe. `nan` is a flag that nobody gave: its term is 0.

# %% [markdown] exercise="anchored_cost_loss" variant="safe_flags"
# ## 3 A cost that knows its zero, from safe flags
#
# A cost $c$ is higher for the more harmful dish. Comparisons fix it up to a shift for every guest, so the cost model of Dai et
# al. (2024) adds a term for every dish whose flag is known. With $\ell(m, p) = \log(1 + e^m) - p\,m$,
#
# $$\ell(c_0 - c_1,\; p) \;+\; \ell(c_0, u_0) \;+\; \ell(c_1, u_1)$$
#
# where $p$ is `safer`, 1 when $y_1$ is the safer one and 0 when $y_0$ is, and $u_k$ is 1 when dish $k$ is unsafe. In this course the
# argument `unsafe` is misnamed and holds flags of being **safe**: 1 when dish $k$ is safe and 0 when it is unsafe. `nan` is a
# flag that nobody gave: its term is 0.

# %% [markdown]
# The flags' terms make $\sigma(c)$ the probability of being unsafe, and so $c = 0$ the boundary. One dish, one flag "unsafe": the
# loss is $\ln 2$ at the boundary and falls as the cost rises.

# %%
for c in (-1.0, 0.0, 1.0, 3.0):
    print(f"cost {c:4.1f}   loss of the flag 'unsafe' {np.logaddexp(0.0, -c):.3f}")

# %% [markdown]
# <details><summary>Hint</summary>
# nan times 0 is nan. Take the loss with the unknown flags replaced by any number, then put 0 where
# <code>np.isnan</code> says so.
# </details>
#
# Expected: one number a pair, with no `nan` in it.


# %% answer="anchored_cost_loss" variant="standard"
def anchored_cost_loss(cost0, cost1, safer, unsafe):
    """Return the loss of each pair, nats, shape (n,), not reduced.

    cost0, cost1: (n,), nats, higher = more harmful; safer: (n,), 1 where y1 is the safer dish, else 0;
    unsafe: (n, 2) for y0 and y1, 1 unsafe, 0 safe, nan unknown.
    """

    ### BEGIN SOLUTION
    def term(margin, target):
        return np.logaddexp(0.0, margin) - target * margin

    signs = term(np.stack([cost0, cost1], axis=1), np.nan_to_num(unsafe))  # (n, 2)
    known = np.where(np.isnan(unsafe), 0.0, signs)
    return term(cost0 - cost1, safer) + known.sum(axis=1)
    ### END SOLUTION


# %% answer="anchored_cost_loss" variant="safe_flags"
def anchored_cost_loss(cost0, cost1, safer, unsafe):
    """Return the loss of each pair, nats, shape (n,), not reduced.

    cost0, cost1: (n,), nats, higher = more harmful; safer: (n,), 1 where y1 is the safer dish, else 0;
    unsafe: (n, 2) for y0 and y1, 1 safe, 0 unsafe, nan unknown.
    """

    ### BEGIN SOLUTION
    def term(margin, target):
        return np.logaddexp(0.0, margin) - target * margin

    signs = term(np.stack([cost0, cost1], axis=1), 1 - np.nan_to_num(unsafe))  # (n, 2)
    known = np.where(np.isnan(unsafe), 0.0, signs)
    return term(cost0 - cost1, safer) + known.sum(axis=1)
    ### END SOLUTION


# %% check="anchored_cost_loss"
desk.check("anchored_cost_loss", anchored_cost_loss)

# %% [markdown] exercise="which_zero"
# ## 4 Which cost has a zero?
#
# Two cost models were fitted to the same dishes, `first` and `second`. One was given flags, the other comparisons alone. Rows
# are guests, columns are dishes, and `unsafe` is what an inspector found, 1 unsafe and 0 safe.
#
# **Predict, looking only:**
#
# * `anchored`: which of the two has its zero at the boundary of safe and unsafe, `"first"` or `"second"`;
# * `off`: by how much the other one is off, for each guest: the other one minus the anchored one, two numbers;
# * `same_comparisons`: True if both models say the same about every comparison of two dishes of one guest.

# %%
two = desk.instance("which_zero")
for name, table in two.items():
    print(name, table, sep="\n")

# %% [markdown]
# <details><summary>Hint</summary>
# Look for a dish that the inspector calls safe although its cost lies above 0, or the other way round.
# </details>
#
# Expected: `{"anchored": a word, "off": [a number, a number], "same_comparisons": True or False}`.

# %% answer="which_zero"
which_zero = None
### BEGIN SOLUTION
agrees = ((np.asarray(two["first"]) > 0) == (np.asarray(two["unsafe"]) == 1)).all()
names = ("first", "second") if agrees else ("second", "first")
difference = np.asarray(two[names[1]]) - np.asarray(two[names[0]])
which_zero = {"anchored": names[0], "off": difference.mean(axis=1), "same_comparisons": True}
### END SOLUTION

# %% check="which_zero"
desk.check("which_zero", which_zero)

# %% [markdown]
# Both models would pass any test on held-out comparisons, and a limit such as $E[c] \le 0$ means something for one of them only.
# What can be asked of the other is a cost *relative* to the reference's on the same guests, where the shifts cancel.

# %% [markdown] exercise="soft_label" variant="standard"
# ## 5 The label of a penalised pair
#
# Constrained DPO labels pairs by the score $r - \lambda c$. Two models gave raw scores, and each has its own scale to nats,
# by which its scores are **multiplied**. The soft label is the probability that $y_1$ wins:
#
# $$p = \sigma\bigl(g_1 - g_0\bigr), \qquad g_k = s_r\,r_k - \lambda\,s_c\,c_k$$

# %% [markdown] exercise="soft_label" variant="points_a_nat"
# ## 5 The label of a penalised pair, in points
#
# Constrained DPO labels pairs by the score $r - \lambda c$. Two models gave raw scores, and in this course each one's scale
# says how many raw **points make one nat**. The soft label is the probability that $y_1$ wins, where both scores are
# in nats:
#
# $$p = \sigma\bigl(g_1 - g_0\bigr), \qquad g_k = r_k - \lambda\,c_k$$

# %% [markdown]
# The function is also given $\beta$, because whoever calls it has it at hand. Whether a label needs it is for you to say.
#
# <details><summary>Hint</summary>
# A label says what people would choose between two dishes. Do they know how strongly the new cook is tied to the old one?
# </details>
#
# Expected: one number between 0 and 1 a pair.


# %% answer="soft_label" variant="standard"
def soft_label(reward, cost, reward_scale, cost_scale, lam, beta):
    """Return the probability that y1 wins by r - lam c in nats, shape (n,).

    reward, cost: (n, 2) raw scores of y0 and y1, cost higher = more harmful;
    reward_scale, cost_scale: nats per raw point; lam: at least 0; beta: above 0.
    """
    ### BEGIN SOLUTION
    score = reward_scale * reward - lam * cost_scale * cost  # (n, 2)
    return 1 / (1 + np.exp(score[:, 0] - score[:, 1]))
    ### END SOLUTION


# %% answer="soft_label" variant="points_a_nat"
def soft_label(reward, cost, reward_scale, cost_scale, lam, beta):
    """Return the probability that y1 wins by r - lam c in nats, shape (n,).

    reward, cost: (n, 2) raw scores of y0 and y1, cost higher = more harmful;
    reward_scale, cost_scale: raw points per nat; lam: at least 0; beta: above 0.
    """
    ### BEGIN SOLUTION
    score = reward / reward_scale - lam * cost / cost_scale  # (n, 2)
    return 1 / (1 + np.exp(score[:, 0] - score[:, 1]))
    ### END SOLUTION


# %% check="soft_label"
desk.check("soft_label", soft_label)

# %% [markdown] only="lecture"
# Ask the room for the reason that $\beta$ is absent. The closed form of DPO turns a label into the log-odds of the *implicit*
# reward, $\beta\log(\pi/\pi_{ref})$, and that is where $\beta$ comes in, once. Dividing the gap by it as well ties the policy to the
# reference with $\beta^2$.

# %% [markdown] exercise="reward_scale"
# ## 6 How large is a nat?
#
# A published reward model gives raw points. For 60 pairs you have the **gap** $r_1 - r_0$ in raw points and whether $y_1$ won. A
# scale $s$ makes nats of points, and the mean loss on what people chose says how good it is:
#
# $$L(s) = \frac{1}{60}\sum_i -\log\sigma(s \cdot \text{lead of the winner}_i)$$
#
# Turn the dial: take the one of your `scales` with the **smallest** mean loss. And judge the four `statements`, True or
# False, in their order.

# %%
asked = desk.instance("reward_scale")
print("gaps of the first pairs", asked["gap"][:6], " y1 won", asked["won"][:6])
print("scales", asked["scales"])
for statement in asked["statements"]:
    print("-", statement)

# %% [markdown]
# <details><summary>Hint</summary>
# The lead of the winner is the gap where y1 won, else minus the gap. You have written this loss already.
# </details>
#
# Expected: `{"scale": one of the scales, "statements": four times True or False}`.

# %% answer="reward_scale"
reward_scale = None
### BEGIN SOLUTION
ahead = np.where(np.asarray(asked["won"]) == 1, 1, -1) * np.asarray(asked["gap"])
right = [
    "Another positive scale of all rewards never changes which dish of a pair is the likelier winner.",
    "As the scale grows without end, soft labels become hard ones.",
    "At scale 0 the mean loss is ln 2, whoever won.",
    "If the higher reward had won every time, the larger the scale, the smaller the loss.",
    "In r - lam c, doubling the scale of r alone leaves the same likelier dishes as halving lam.",
]
reward_scale = {
    "scale": min(asked["scales"], key=lambda scale: np.logaddexp(0.0, -scale * ahead).mean()),
    "statements": [statement in right for statement in asked["statements"]],
}
### END SOLUTION

# %% check="reward_scale"
desk.check("reward_scale", reward_scale)

# %% [markdown] written="without_a_zero"
# **In your own words** (read by your teacher, no automatic points). A cost model was fitted to comparisons alone, and a colleague
# limits its mean to 0. What does that limit say, and what could be limited instead?
# ### BEGIN SOLUTION
# It says something about the unknown shift of each guest: with another shift, just as good on every comparison, the same
# words allow other policies. One can limit the cost relative to the reference's on the same guests, or fit the zero with flags.
# ### END SOLUTION

# %% [markdown]
# ## To close: the loss against the scale
#
# The mean loss of your 60 comparisons, with your scales marked. The dashed line is ln 2, which a model that knows nothing
# has. The picture needs no answer of yours.

# %% alt="Mean loss against the scale on a log axis. At small scales the curve is just below the dashed line of ln 2, it has one lowest point, and rises steeply beyond it. Dots mark the scales of the dial up to 1."
# %matplotlib inline
import matplotlib.pyplot as plt


def mean_loss(scale):
    signs = 2 * np.asarray(asked["won"]) - 1
    return np.logaddexp(0.0, -scale * signs * asked["gap"]).mean()


line = np.geomspace(min(asked["scales"]) / 2, 1.0, 200)
ax = plt.subplots(figsize=(7, 4))[1]
ax.semilogx(line, [mean_loss(scale) for scale in line])
inside = [scale for scale in asked["scales"] if scale <= 1.0]
ax.plot(inside, [mean_loss(scale) for scale in inside], "o")
ax.axhline(np.log(2), linestyle="--", color="#D55E00", label="ln 2")
ax.set(xlabel="scale, nats per raw point", ylabel="mean loss, nats", ylim=(0, 2))
_ = ax.legend()

# %% [markdown]
# Left of the best scale the model is too modest, right of it too sure of itself, and being sure is what costs: where the
# curve stands above the dashed line, the model is worse than one that knows nothing, although it ranks every pair as before.
