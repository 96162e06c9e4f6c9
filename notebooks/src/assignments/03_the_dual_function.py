# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 03: the dual function
#
# **What you will have done by the end.** You will have written the function whose lowest point is the price of a limit, its
# slope, and a search for that point which knows when no price is needed and when none is enough. You will have said before any
# search which of the three cases a limit is in, and written the certificate that bounds what a policy may still lose.
#
# Time: about 90 minutes. You need numpy and lesson 03.

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
# **The kitchen.** Rows are guests $x$ (prompts), columns are dishes $y$ (responses). `reference` holds $\pi_{ref}(y|x)$,
# `reward` the taste $r$ in nats, higher is better, and `weights` how often each guest comes: $E_x$ is the mean with these weights.

# %% [markdown] exercise="dual_value" variant="standard"
# ## 1 The dual function
#
# `cost` holds $c$, higher is more harmful, and the limit is $E[c] \le C$. For every price $\lambda \ge 0$
#
# $$D(\lambda) = \beta\,E_x \log Z_\lambda(x) + \lambda C, \qquad
# Z_\lambda(x) = \sum_y \pi_{ref}(y|x)\,e^{(r(x,y) - \lambda c(x,y))/\beta}$$
#
# is at least the objective of every policy that meets the limit. Mind the order: the logarithm is taken **for each guest**,
# and then the mean.

# %% [markdown] exercise="dual_value" variant="safety"
# ## 1 The dual function, with safety
#
# In this exercise the argument `cost` holds **safety** $s$, higher is *less* harmful, and the limit is $E[s] \ge C$. The
# constraint "something at most something" is then $-E[s] \le -C$. Write down $D$ for it yourself, from the form for a cost:
#
# $$\max_\pi E[r] - \beta\,E_x\mathrm{KL} \text{ with } E[c] \le C: \qquad
# D(\lambda) = \beta\,E_x \log \sum_y \pi_{ref}(y|x)\,e^{(r - \lambda c)/\beta} + \lambda C$$
#
# Mind the order: the logarithm is taken **for each guest**, and then the mean.

# %% [markdown]
# With a small $\beta$ the exponents go into the hundreds and `np.exp` overflows. The way out is to take the largest exponent out
# of the sum, which numpy's `logaddexp.reduce` does for you:

# %%
exponents = np.array([1000.0, 1001.0])
print(np.logaddexp.reduce(exponents), "=", 1001 + np.log(1 + np.exp(-1.0)))

# %% [markdown]
# <details><summary>Hint</summary>
# The logarithm of the reference joins the exponent. <code>np.logaddexp.reduce(table, axis=1)</code> gives log Z of each row.
# </details>
#
# Expected: one finite number.


# %% answer="dual_value" variant="standard"
def dual_value(reference, reward, cost, weights, beta, lam, limit):
    """Return D(lam), one number, in the unit of the reward.

    reference, reward, cost: (X, Y), cost higher = more harmful; weights: (X,), sum to 1;
    beta, lam, limit: numbers.
    """
    ### BEGIN SOLUTION
    exponent = np.log(reference) + (reward - lam * cost) / beta  # (X, Y)
    log_z = np.logaddexp.reduce(exponent, axis=1)  # (X,)
    return float(beta * weights @ log_z + lam * limit)
    ### END SOLUTION


# %% answer="dual_value" variant="safety"
def dual_value(reference, reward, cost, weights, beta, lam, limit):
    """Return D(lam), one number, in the unit of the reward.

    reference, reward, cost: (X, Y), cost higher = safer; weights: (X,), sum to 1; beta, lam, limit: numbers.
    """
    ### BEGIN SOLUTION
    exponent = np.log(reference) + (reward + lam * cost) / beta  # (X, Y)
    log_z = np.logaddexp.reduce(exponent, axis=1)  # (X,)
    return float(beta * weights @ log_z - lam * limit)
    ### END SOLUTION


# %% check="dual_value"
desk.check("dual_value", dual_value)

# %% [markdown] only="lecture"
# The order of mean and logarithm is a bug of published code: a plotted dual that averaged over all prompts *inside* the logarithm.
# By Jensen's inequality its values are too high, and its lowest point belongs to another price.

# %% [markdown] exercise="dual_slope" variant="standard"
# ## 2 Its slope
#
# $$D'(\lambda) = C - E_{\pi_\lambda}[c], \qquad
# \pi_\lambda(y|x) \propto \pi_{ref}(y|x)\,e^{(r(x,y) - \lambda c(x,y))/\beta}$$
#
# This is what makes the dual useful in practice: $D$ needs a sum over every response, its slope only the mean cost of samples.
# On tables both are exact.

# %% [markdown] exercise="dual_slope" variant="safety"
# ## 2 Its slope, with safety
#
# The argument `cost` holds **safety** $s$ and the limit is $E[s] \ge C$, as in your course's first exercise. Return the slope of
# *that* dual, $D'(\lambda)$. For a cost it would be the limit minus the expected cost of the tilted policy; write down both the
# slope and the tilted policy for safety.

# %% [markdown]
# <details><summary>Hint</summary>
# You can test yourself without the checker: (D(lam + h) − D(lam − h))/(2h) with a small h and your first function.
# </details>
#
# Expected: one number, negative where the limit is broken at this price.


# %% answer="dual_slope" variant="standard"
def dual_slope(reference, reward, cost, weights, beta, lam, limit):
    """Return D'(lam), one number.

    reference, reward, cost: (X, Y), cost higher = more harmful; weights: (X,), sum to 1;
    beta, lam, limit: numbers.
    """
    ### BEGIN SOLUTION
    exponent = np.log(reference) + (reward - lam * cost) / beta  # (X, Y)
    policy = np.exp(exponent - np.logaddexp.reduce(exponent, axis=1)[:, None])
    return float(limit - weights @ (policy * cost).sum(axis=1))
    ### END SOLUTION


# %% answer="dual_slope" variant="safety"
def dual_slope(reference, reward, cost, weights, beta, lam, limit):
    """Return D'(lam), one number.

    reference, reward, cost: (X, Y), cost higher = safer; weights: (X,), sum to 1; beta, lam, limit: numbers.
    """
    ### BEGIN SOLUTION
    exponent = np.log(reference) + (reward + lam * cost) / beta  # (X, Y)
    policy = np.exp(exponent - np.logaddexp.reduce(exponent, axis=1)[:, None])
    return float(weights @ (policy * cost).sum(axis=1) - limit)
    ### END SOLUTION


# %% check="dual_slope"
desk.check("dual_slope", dual_slope)

# %% [markdown] exercise="regimes"
# ## 3 Which regime?
#
# **Predict before you search.** A limit on a cost, higher is more harmful, is
#
# * `"infeasible"` when no policy meets it: it lies below the least expected cost that anyone can reach;
# * `"slack"` when the best policy *without* any price meets it already;
# * `"binding"` otherwise.
#
# Two numbers decide: `least`, the least expected cost of any policy, and `free`, the expected cost of the best policy at $\lambda = 0$.
# Find both for your kitchen, and the regime of each of the four `limits`, in order.

# %%
mine = desk.instance("regimes")
for name, value in mine.items():
    print(name, np.round(value, 3), sep="\n" if np.ndim(value) == 2 else " ")

# %% [markdown]
# <details><summary>Hint</summary>
# The cheapest policy serves each guest the cheapest dish of her own row. And the best policy without a price is not the
# reference, though it is tied to it.
# </details>
#
# Expected: `{"regimes": four words, "least": a number, "free": a number}`.

# %% answer="regimes"
regimes = None
### BEGIN SOLUTION
costs, often = np.asarray(mine["cost"]), np.asarray(mine["weights"])
tilt = np.asarray(mine["reference"]) * np.exp(np.asarray(mine["reward"]) / mine["beta"])
tilt = tilt / tilt.sum(axis=1, keepdims=True)
least, free = often @ costs.min(axis=1), often @ (tilt * costs).sum(axis=1)
words = ["infeasible" if c < least else "slack" if c >= free else "binding" for c in mine["limits"]]
regimes = {"regimes": words, "least": least, "free": free}
### END SOLUTION

# %% check="regimes"
desk.check("regimes", regimes)

# %% [markdown]
# Neither number needs a search, and neither needs training: on a real data set the least cost of a few samples per prompt already
# warns of a limit that is out of reach.

# %% [markdown] exercise="multipliers" variant="standard"
# ## 4 The multiplier of a limit
#
# Return, for each of the `limits`, the least $\lambda \ge 0$ at which $E_{\pi_\lambda}[c] \le C$: the lowest point of $D$.
#
# * A slack limit has the multiplier 0.
# * A binding one lies where the slope is 0. $E_{\pi_\lambda}[c]$ falls as $\lambda$ rises, so bisection finds it: bracket, halve, repeat.
# * An infeasible one has none: `None`.
#
# Here `cost` is a cost, higher is more harmful. Prices are wanted to four digits, and they may be well above 1.

# %% [markdown] exercise="multipliers" variant="safety"
# ## 4 The multiplier of a limit on safety
#
# The argument `cost` holds **safety** $s$. Return, for each of the `limits`, the least $\lambda \ge 0$ at which
# $E_{\pi_\lambda}[s] \ge C$: the lowest point of $D$ for safety.
#
# * A limit that is met without a price has the multiplier 0.
# * A binding one lies where the slope is 0, and bisection finds it: bracket, halve, repeat.
# * A limit that no policy meets has none: `None`.
#
# Which policies can be reached, and which way $E[s]$ goes as the price rises, is for you to say. Prices are wanted to
# four digits, and they may be well above 1.

# %% [markdown]
# Two dishes by hand: harmful at cost 1, harmless at cost 0, both at even odds and equally tasty, $\beta = 1$. The odds of harm are
# $e^{-\lambda}$, so a quarter is met at $\lambda = \ln 3$. Halving from the bracket 0 to 2:

# %%
low, high = 0.0, 2.0
for _ in range(12):
    middle = (low + high) / 2
    low, high = (middle, high) if 1 / (1 + np.exp(middle)) > 0.25 else (low, middle)
print(f"{high:.4f} against ln 3 = {np.log(3):.4f}")

# %% [markdown]
# <details><summary>Hint</summary>
# First the two easy cases, as in exercise 3. Then double an upper end from 1 until it meets the limit; fifty halvings are
# plenty.
# </details>
#
# Expected: a list as long as `limits`, of numbers and `None`.


# %% answer="multipliers" variant="standard"
def multipliers(reference, reward, cost, weights, beta, limits):
    """Return a list with the least lam >= 0 that meets each limit, or None where none does.

    reference, reward, cost: (X, Y), cost higher = more harmful; weights: (X,); beta: number;
    limits: list of numbers.
    """

    ### BEGIN SOLUTION
    def cost_at(lam):
        exponent = np.log(reference) + (reward - lam * cost) / beta  # (X, Y)
        policy = np.exp(exponent - np.logaddexp.reduce(exponent, axis=1)[:, None])
        return weights @ (policy * cost).sum(axis=1)

    def search(limit):
        if weights @ cost.min(axis=1) > limit:
            return None
        left, right = 0.0, 1.0
        if cost_at(left) <= limit:
            return 0.0
        while cost_at(right) > limit:
            right = 2 * right
        for _ in range(50):
            centre = (left + right) / 2
            left, right = (centre, right) if cost_at(centre) > limit else (left, centre)
        return right

    return [search(limit) for limit in limits]
    ### END SOLUTION


# %% answer="multipliers" variant="safety"
def multipliers(reference, reward, cost, weights, beta, limits):
    """Return a list with the least lam >= 0 that meets each limit, or None where none does.

    reference, reward, cost: (X, Y), cost higher = safer; weights: (X,); beta: number; limits: list of numbers.
    """

    ### BEGIN SOLUTION
    def safety_at(lam):
        exponent = np.log(reference) + (reward + lam * cost) / beta  # (X, Y)
        policy = np.exp(exponent - np.logaddexp.reduce(exponent, axis=1)[:, None])
        return weights @ (policy * cost).sum(axis=1)

    def search(limit):
        if weights @ cost.max(axis=1) < limit:
            return None
        left, right = 0.0, 1.0
        if safety_at(left) >= limit:
            return 0.0
        while safety_at(right) < limit:
            right = 2 * right
        for _ in range(50):
            centre = (left + right) / 2
            left, right = (centre, right) if safety_at(centre) < limit else (left, centre)
        return right

    return [search(limit) for limit in limits]
    ### END SOLUTION


# %% check="multipliers"
desk.check("multipliers", multipliers)

# %% [markdown] exercise="certificate_terms" variant="standard"
# ## 5 The certificate's two terms
#
# For every policy $\pi$ and every price, with $J(\pi) = E[r] - \beta\,E_x\mathrm{KL}(\pi\,\|\,\pi_{ref})$ and a limit $E[c] \le C$,
#
# $$D(\lambda) - J(\pi) = \underbrace{\beta\,E_x \mathrm{KL}(\pi\,\|\,\pi_\lambda)}_{\text{kl\_term}} \;+\;
# \underbrace{\lambda\,(C - E_\pi[c])}_{\text{slack\_term}}$$
#
# For a policy that meets the limit the sum bounds what it loses against the best one. Return **both** terms, since one number
# does not say which of them is to be worked on.

# %% [markdown] exercise="certificate_terms" variant="safety"
# ## 5 The certificate's two terms, with safety
#
# For every policy $\pi$ and every price, with $J(\pi) = E[r] - \beta\,E_x\mathrm{KL}(\pi\,\|\,\pi_{ref})$, the gap $D(\lambda) - J(\pi)$
# has two terms: `kl_term`, which is $\beta\,E_x \mathrm{KL}(\pi\,\|\,\pi_\lambda)$, and `slack_term`, the price times the room that
# the policy leaves.
#
# The argument `cost` holds **safety** $s$ and the limit is $E[s] \ge C$. Write down $\pi_\lambda$ and the room for it. Return
# **both** terms, since one number does not say which of them is to be worked on.

# %% [markdown]
# The divergence is $\mathrm{KL}(p\,\|\,q) = \sum_y p(y) \log\frac{p(y)}{q(y)}$, and its two arguments cannot be exchanged:

# %%
p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
print(f"KL(p || q) = {(p * np.log(p / q)).sum():.3f}   KL(q || p) = {(q * np.log(q / p)).sum():.3f}")

# %% [markdown]
# <details><summary>Hint</summary>
# Test yourself: J of any policy plus both terms must be your dual_value, whatever the policy is.
# </details>
#
# Expected: `{"kl_term": a number, at least 0, "slack_term": a number, negative for a policy that breaks the limit}`.


# %% answer="certificate_terms" variant="standard"
def certificate_terms(policy, reference, reward, cost, weights, beta, lam, limit):
    """Return {"kl_term": beta E_x KL(pi || pi_lam), "slack_term": lam (C - E_pi[c])}, in the unit of the reward.

    policy, reference, reward, cost: (X, Y), cost higher = more harmful; weights: (X,);
    beta, lam, limit: numbers.
    """
    ### BEGIN SOLUTION
    exponent = np.log(reference) + (reward - lam * cost) / beta  # (X, Y)
    log_best = exponent - np.logaddexp.reduce(exponent, axis=1)[:, None]
    rows = (policy * (np.log(policy) - log_best)).sum(axis=1)  # (X,)
    room = limit - weights @ (policy * cost).sum(axis=1)
    return {"kl_term": float(beta * weights @ rows), "slack_term": float(lam * room)}
    ### END SOLUTION


# %% answer="certificate_terms" variant="safety"
def certificate_terms(policy, reference, reward, cost, weights, beta, lam, limit):
    """Return {"kl_term": ..., "slack_term": ...}, the two terms of the gap, in the unit of the reward.

    policy, reference, reward, cost: (X, Y), cost higher = safer; weights: (X,); beta, lam, limit: numbers.
    """
    ### BEGIN SOLUTION
    exponent = np.log(reference) + (reward + lam * cost) / beta  # (X, Y)
    log_best = exponent - np.logaddexp.reduce(exponent, axis=1)[:, None]
    rows = (policy * (np.log(policy) - log_best)).sum(axis=1)  # (X,)
    room = weights @ (policy * cost).sum(axis=1) - limit
    return {"kl_term": float(beta * weights @ rows), "slack_term": float(lam * room)}
    ### END SOLUTION


# %% check="certificate_terms"
desk.check("certificate_terms", certificate_terms)

# %% [markdown] exercise="limit_dial"
# ## 6 Turn the limit
#
# So far the limit was given and the price was found. Turn it round: find the limit on the expected cost at which the
# multiplier is just `wanted_lam`. In your kitchen a cost is a cost, higher is more harmful. And judge the four
# `statements`, True or False, in their order; $D$, $J$ and $\lambda^*$ are as above.

# %%
dial = desk.instance("limit_dial")
for name in ("reference", "reward", "cost", "weights", "beta", "wanted_lam"):
    print(name, np.round(dial[name], 3), sep="\n" if np.ndim(dial[name]) == 2 else " ")
for statement in dial["statements"]:
    print("-", statement)

# %% [markdown]
# <details><summary>Hint</summary>
# No search is needed. At the lowest point of D the slope is 0: what does that say of the limit?
# </details>
#
# Expected: `{"limit": a number, right to three digits, "statements": four times True or False}`.

# %% answer="limit_dial"
limit_dial = None
### BEGIN SOLUTION
harm, wanted = np.asarray(dial["cost"]), dial["wanted_lam"]
mix = np.asarray(dial["reference"]) * np.exp((np.asarray(dial["reward"]) - wanted * harm) / dial["beta"])
mix = mix / mix.sum(axis=1, keepdims=True)
right = [
    "A tighter limit never has a lower multiplier.",
    "A tighter limit never lets the best policy reach a higher objective.",
    "Where the limit binds, a little more limit raises the best objective by lam* times as much.",
    "Below the least cost of any policy, no multiplier is large enough.",
    "For a policy that breaks the limit, D(lam) - J can be negative.",
]
limit_dial = {
    "limit": np.asarray(dial["weights"]) @ (mix * harm).sum(axis=1),
    "statements": [statement in right for statement in dial["statements"]],
}
### END SOLUTION

# %% check="limit_dial"
desk.check("limit_dial", limit_dial)

# %% [markdown] written="out_of_reach"
# **In your own words** (read by your teacher, no automatic points). A run's multiplier has climbed for days and the cost has stopped
# falling just above the limit. What does the dual function look like there, and what would you tell the people who set the limit?
# ### BEGIN SOLUTION
# D falls without end: its slope tends to the limit minus the least cost, which is negative, and never reaches 0. No policy
# meets this limit. One can tell them the least cost that anyone can reach, and on which prompts it is lost.
# ### END SOLUTION

# %% [markdown]
# ## To close: the price of a limit
#
# The package's own multiplier of your last kitchen for every limit between the least cost and the cost without a price, each of
# which is a dotted line. The dot is the price that you were to find the limit for. The picture needs no answer of yours.

# %% alt="The multiplier against the limit on the expected cost. It rises steeply towards the dotted line of the least cost on the left and falls to 0 at the dotted line of the cost without a price on the right. A dot on the curve marks the wanted price."
# %matplotlib inline
import matplotlib.pyplot as plt

from cdpo_edu import FiniteProblem, frontier

tables = {name: dial[name] for name in ("reference", "reward", "cost", "beta")}
kitchen = FiniteProblem(**tables, cost_limit=0.0, prompt_probs=dial["weights"])
along = frontier(kitchen, np.linspace(0, 6, 121))
ax = plt.subplots(figsize=(7, 4))[1]
ax.plot(along.cost, along.lam)
ax.plot(kitchen.limit_at(dial["wanted_lam"]), dial["wanted_lam"], "o")
for edge in (kitchen.solve().min_cost, kitchen.limit_at(0.0)):
    ax.axvline(edge, linestyle=":", color="black")
ax.set(xlabel="limit C on the expected cost", ylabel="multiplier lam")

# %% [markdown]
# Left of the first dotted line lie the limits that nobody meets, right of the second those that cost nothing. In between
# each limit has one price, and the last bit of safety is by far the dearest.
