# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 01: the dual step
#
# **What you will have done by the end.** You will have written all of constrained DPO's outer loop on tables: the policy
# that a price of harm makes, what that policy costs, the one line that moves the price, and the loop around it. And you will
# have found, on your own instance, how long a step may be before the loop never comes to rest.
#
# Time: about 80 minutes. You need numpy and lessons 02 and 03.

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
# **The kitchen.** Rows are guests $x$ (prompts), columns are dishes $y$ (responses). `reference` holds
# $\pi_{ref}(y|x)$, how often the careless cook serves a dish, `reward` the taste $r$ in nats, higher is better, and `weights`
# how often each guest comes.

# %% [markdown] exercise="tilted_policy" variant="standard"
# ## 1 The policy for a price
#
# `cost` holds $c$, higher is more harmful. At the price $\lambda$ the best policy multiplies the reference by an
# exponential and normalises:
#
# $$\pi_\lambda(y|x) = \frac{\pi_{ref}(y|x)\,e^{(r(x,y)-\lambda c(x,y))/\beta}}
# {\sum_{y'}\pi_{ref}(y'|x)\,e^{(r(x,y')-\lambda c(x,y'))/\beta}}$$

# %% [markdown] exercise="tilted_policy" variant="safety"
# ## 1 The policy for a price of safety
#
# In this course the argument `cost` holds **safety** $s$: higher is *less* harmful, and $\lambda$ is what is paid for a unit
# of it. The best policy multiplies the reference by the exponential of the score over $\beta$, and normalises. Write
# down the score that goes with this sign yourself:
#
# $$\pi_\lambda(y|x) = \frac{\pi_{ref}(y|x)\,e^{\text{score}(x,y)/\beta}}
# {\sum_{y'}\pi_{ref}(y'|x)\,e^{\text{score}(x,y')/\beta}}$$

# %% [markdown]
# One guest's rewards may be counted from another zero than the next one's, hundreds of nats away. That changes nothing
# in the formula, and everything for `np.exp`:

# %%
with np.errstate(over="ignore"):
    print(np.exp(700.0), np.exp(800.0))

# %% [markdown]
# <details><summary>Hint</summary>
# A number subtracted from all exponents of one row cancels. Subtract the largest, so that the largest exponential is 1.
# <code>keepdims=True</code> keeps the shapes fitting.
# </details>
#
# Expected: an array of the tables' shape with rows that add up to 1, and no `nan` in it.


# %% answer="tilted_policy" variant="standard"
def tilted_policy(reference, reward, cost, lam, beta):
    """Return pi_lam(y|x), shape (X, Y), rows sum to 1.

    reference, reward, cost: (X, Y), cost higher = more harmful; lam: at least 0; beta: above 0.
    """
    ### BEGIN SOLUTION
    score = np.log(reference) + (reward - lam * cost) / beta  # (X, Y)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)
    ### END SOLUTION


# %% answer="tilted_policy" variant="safety"
def tilted_policy(reference, reward, cost, lam, beta):
    """Return pi_lam(y|x), shape (X, Y), rows sum to 1.

    reference, reward, cost: (X, Y), cost higher = safer; lam: at least 0; beta: above 0.
    """
    ### BEGIN SOLUTION
    score = np.log(reference) + (reward + lam * cost) / beta  # (X, Y)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)
    ### END SOLUTION


# %% check="tilted_policy"
desk.check("tilted_policy", tilted_policy)

# %% [markdown] exercise="expected_cost" variant="standard"
# ## 2 The expected cost
#
# The limit is on one number, the mean over the guests who come and the dishes that this cook serves them:
#
# $$E[c] = \sum_x w(x) \sum_y \pi(y|x)\,c(x,y)$$

# %% [markdown] exercise="expected_cost" variant="unsafe_share"
# ## 2 The share of unsafe dishes
#
# In this course the limit is on how *often* a dish is unsafe. A dish is unsafe when its cost lies above 0, by however much.
# Return the expected share of unsafe dishes, a number between 0 and 1:
#
# $$P(c > 0) = \sum_x w(x) \sum_y \pi(y|x)\,[\,c(x,y) > 0\,]$$

# %% [markdown]
# <details><summary>Hint</summary>
# First the mean of each row under its own probabilities, then the mean of these with the weights: <code>weights @ rows</code>.
# </details>
#
# Expected: one number.


# %% answer="expected_cost" variant="standard"
def expected_cost(policy, cost, weights):
    """Return E[c], one number.

    policy, cost: (X, Y), rows of the policy sum to 1; weights: (X,), sum to 1.
    """
    ### BEGIN SOLUTION
    rows = (policy * cost).sum(axis=1)  # (X,)
    return float(weights @ rows)
    ### END SOLUTION


# %% answer="expected_cost" variant="unsafe_share"
def expected_cost(policy, cost, weights):
    """Return the expected share of dishes with a cost above 0, one number.

    policy, cost: (X, Y), rows of the policy sum to 1; weights: (X,), sum to 1.
    """
    ### BEGIN SOLUTION
    rows = (policy * (cost > 0)).sum(axis=1)  # (X,)
    return float(weights @ rows)
    ### END SOLUTION


# %% check="expected_cost"
desk.check("expected_cost", expected_cost)

# %% [markdown] only="lecture"
# A question for the room: the weights. Two guests, one of whom comes nine times out of ten. Ask who would average the two
# rows, and what the limit then promises to the one who comes often.

# %% [markdown] exercise="dual_step" variant="standard"
# ## 3 The dual step
#
# The policy's expected cost is $E[c]$ and it must stay at or below the limit $C$. Dual gradient descent moves the
# multiplier and then projects it to the allowed side:
#
# $$\lambda \leftarrow \max\bigl(0,\; \lambda + \eta\,(E[c] - C)\bigr)$$

# %% [markdown] exercise="dual_step" variant="safety"
# ## 3 The dual step, with safety
#
# Here the numbers measure **safety**, not harm: the policy's expected safety $E[s]$ is the argument `cost`, and
# it must stay at or *above* the limit. The multiplier is the price of a lack of safety, and it is never negative.
# Write down the step for this sign yourself.

# %% [markdown]
# The price rises while the limit is broken and falls while there is room, but nobody is ever paid for harm: below 0 it
# does not go.
#
# <details><summary>Hint</summary>
# Try it on paper first: what must happen at a price of 1 when the limit is broken by a half, and what at a price of 0 when
# there is room?
# </details>
#
# Expected: one number, at least 0.


# %% answer="dual_step" variant="standard"
def dual_step(lam, cost, limit, step):
    """Return the multiplier after one step; every argument is a number, lam and step are not negative."""
    ### BEGIN SOLUTION
    return max(0.0, lam + step * (cost - limit))
    ### END SOLUTION


# %% answer="dual_step" variant="safety"
def dual_step(lam, cost, limit, step):
    """Return the multiplier after one step; every argument is a number, lam and step are not negative."""
    ### BEGIN SOLUTION
    return max(0.0, lam + step * (limit - cost))
    ### END SOLUTION


# %% check="dual_step"
desk.check("dual_step", dual_step)

# %% [markdown] exercise="which_way"
# ## 4 Which way does it go?
#
# **Predict, and compute nothing.** In a kitchen with a limit $C$ on the cost the right price is $\lambda^*$: the policy of
# that price costs just $C$. A higher price makes a cheaper policy, and without a price the policy is too costly.
#
# Your kitchen's numbers are below. Each time the policy of the present price is measured and one short step is made. Say
#
# * `moves`: for each multiplier in `lams`, in order, whether the step under the limit goes `"up"` or `"down"`;
# * `from_zero`: the same for $\lambda = 0$ under `loose_limit`: `"up"`, `"down"` or `"stays"`;
# * `resting_cost`: at which expected cost a step under the limit leaves a multiplier above 0 as it is.

# %%
given = desk.instance("which_way")
for name, value in given.items():
    print(f"{name:13}", value)

# %% [markdown]
# <details><summary>Hint</summary>
# On which side of the limit is the cost of a policy whose price is below lam*? The step compares just these two.
# </details>
#
# Expected: `{"moves": four words, "from_zero": one word, "resting_cost": a number}`.

# %% answer="which_way"
which_way = None
### BEGIN SOLUTION
which_way = {
    "moves": ["up" if lam < given["lam_star"] else "down" for lam in given["lams"]],
    "from_zero": "stays",
    "resting_cost": given["limit"],
}
### END SOLUTION

# %% check="which_way"
desk.check("which_way", which_way)

# %% [markdown]
# That is all that the step knows: it goes *towards* $\lambda^*$ from both sides, without knowing where $\lambda^*$ is. How far
# it goes is another question, and the last one here.

# %% [markdown] exercise="dual_walk" variant="standard"
# ## 5 A loop of dual steps
#
# Constrained DPO repeats two things: make the best policy for the present price, measure what it costs; move the price.
# On tables the first is your `tilted_policy`, exactly. Return every multiplier, the start included:
#
# $$\lambda_0 = \text{start}, \qquad \lambda_{t+1} = \max\bigl(0,\; \lambda_t + \eta\,(E_{\pi_{\lambda_t}}[c] - C)\bigr)$$
#
# Here `cost` is a cost, higher is more harmful, and the limit is on its mean.

# %% [markdown] exercise="dual_walk" variant="log"
# ## 5 A loop of multiplicative steps
#
# Constrained DPO repeats two things: make the best policy for the present price, measure what it costs; move the price.
# In this course the price moves by a *factor*, which is a gradient step on $\log\lambda$ and needs no projection. Return
# every multiplier, the start included:
#
# $$\lambda_0 = \text{start}, \qquad \lambda_{t+1} = \lambda_t\,e^{\eta\,(E_{\pi_{\lambda_t}}[c] - C)}$$
#
# Here `cost` is a **cost**, higher is more harmful, and the limit is on its mean: $\pi_\lambda \propto
# \pi_{ref}\,e^{(r - \lambda c)/\beta}$.

# %% [markdown]
# <details><summary>Hint</summary>
# The cost in round t is that of the policy for lam_t, made anew in each round. If your functions above answer another wording,
# of safety or of shares, write the two lines for a cost again here.
# </details>
#
# Expected: an array of `rounds + 1` numbers. Starts are too high here and steps are long, so expect a wild first step.


# %% answer="dual_walk" variant="standard"
def dual_walk(reference, reward, cost, weights, beta, limit, start, step, rounds):
    """Return lam_0 = start, ..., lam_rounds, shape (rounds + 1,).

    reference, reward, cost: (X, Y), cost higher = more harmful; weights: (X,);
    beta, limit, start, step: numbers; rounds: integer.
    """
    ### BEGIN SOLUTION
    lams = [start]
    for _ in range(rounds):
        score = np.log(reference) + (reward - lams[-1] * cost) / beta  # (X, Y)
        policy = np.exp(score - score.max(axis=1, keepdims=True))
        policy = policy / policy.sum(axis=1, keepdims=True)
        measured = weights @ (policy * cost).sum(axis=1)
        lams.append(max(0.0, lams[-1] + step * (measured - limit)))
    return np.array(lams)
    ### END SOLUTION


# %% answer="dual_walk" variant="log"
def dual_walk(reference, reward, cost, weights, beta, limit, start, step, rounds):
    """Return lam_0 = start, ..., lam_rounds, shape (rounds + 1,).

    reference, reward, cost: (X, Y), cost higher = more harmful; weights: (X,);
    beta, limit, start, step: numbers, start above 0; rounds: integer.
    """
    ### BEGIN SOLUTION
    lams = [start]
    for _ in range(rounds):
        score = np.log(reference) + (reward - lams[-1] * cost) / beta  # (X, Y)
        policy = np.exp(score - score.max(axis=1, keepdims=True))
        policy = policy / policy.sum(axis=1, keepdims=True)
        measured = weights @ (policy * cost).sum(axis=1)
        lams.append(lams[-1] * np.exp(step * (measured - limit)))
    return np.array(lams)
    ### END SOLUTION


# %% check="dual_walk"
desk.check("dual_walk", dual_walk)

# %% [markdown] exercise="longest_step"
# ## 6 How long may a step be?
#
# Near $\lambda^*$ the slope of the dual, $D'(\lambda) = C - E_\lambda[c]$, is nearly a straight line, and its steepness is
# the curvature
#
# $$D''(\lambda) = \frac{1}{\beta}\sum_x w(x)\,\mathrm{Var}_{\pi_\lambda}(c\,|\,x)$$
#
# So one projected gradient step turns a distance $d$ to $\lambda^*$ into about $(1 - \eta D'')\,d$. It settles when that factor
# lies between −1 and 1.
#
# Turn the dial: take the **largest** of your `steps` at which $\lambda$ settles at `lam_star` when it starts close by, under
# the projected rule of exercise 3 with a cost. **Predict it first**, then run the walk. And judge the four `statements`,
# True or False, in their order.

# %%
mine = desk.instance("longest_step")
for name in ("weights", "beta", "limit", "lam_star", "steps"):
    print(f"{name:9}", np.round(mine[name], 3))
print(
    "reference, reward, cost:",
    *(np.round(mine[name], 2) for name in ("reference", "reward", "cost")),
    sep="\n",
)
for statement in mine["statements"]:
    print("-", statement)

# %% [markdown]
# <details><summary>Hint</summary>
# Make the policy of lam_star, take the variance of the cost in each row under it, average with the weights, divide by beta.
# A factor of −1 is reached at which step?
# </details>
#
# Expected: `{"step": one of the steps, "statements": four times True or False}`. Between three and five of the steps settle.

# %% answer="longest_step"
longest_step = None
### BEGIN SOLUTION
table, price = np.asarray(mine["cost"]), mine["lam_star"]
tilt = np.asarray(mine["reference"]) * np.exp((np.asarray(mine["reward"]) - price * table) / mine["beta"])
tilt = tilt / tilt.sum(axis=1, keepdims=True)
centred = table - (tilt * table).sum(axis=1, keepdims=True)
curvature = np.asarray(mine["weights"]) @ (tilt * centred**2).sum(axis=1) / mine["beta"]
right = [
    "A step a little longer than the longest that settles makes lam jump from side to side of lam*.",
    "With half the cost's variance under the tilted policy, steps may be twice as long.",
    "If every cost and the limit are doubled, the longest step that settles is a quarter as long.",
    "A walk that swings for ever is cured by a shorter step, with the same limit.",
    "While the limit is broken, a longer step raises the price faster.",
]
longest_step = {
    "step": max(step for step in mine["steps"] if step < 2 / curvature),
    "statements": [statement in right for statement in mine["statements"]],
}
### END SOLUTION

# %% check="longest_step"
desk.check("longest_step", longest_step)

# %% [markdown] written="why_it_swings"
# **In your own words** (read by your teacher, no automatic points). A colleague's multiplier swings between two values for
# hundreds of rounds. What would you measure to say whether the step is too long or the limit is out of reach?
# ### BEGIN SOLUTION
# The costs on the two sides. If the policy of the higher price meets the limit and that of the lower one breaks it, the right
# price lies between them and the step jumps across it: halve the step. If the limit is broken at every price the multiplier
# does not swing, it climbs without end.
# ### END SOLUTION

# %% [markdown]
# ## To close: three walks on your dual
#
# The package's own walk on your last kitchen, from 0, with three of your step sizes: the first, the fourth and the sixth
# on the dial. The dotted line is $\lambda^*$. The picture needs no answer of yours.

# %% alt="The multiplier against the round for three step sizes. The shortest step climbs slowly towards the dotted line of lam*, longer ones reach it faster, overshoot it or swing around it."
# %matplotlib inline
import matplotlib.pyplot as plt

from cdpo_edu import FiniteProblem, exact, lagrangian

tables = {name: mine[name] for name in ("reference", "reward", "cost", "beta")}
kitchen = FiniteProblem(**tables, cost_limit=mine["limit"], prompt_probs=mine["weights"])
ax = plt.subplots(figsize=(7, 4))[1]
for eta in (mine["steps"][0], mine["steps"][3], mine["steps"][5]):
    walk = exact.dual_walk(kitchen, lagrangian.GradientRule(eta), steps=24)
    ax.plot([visit.lam for visit in walk], marker=".", label=f"step {eta:g}")
ax.axhline(mine["lam_star"], linestyle=":", color="black")
ax.set(xlabel="round", ylabel="multiplier lam")
_ = ax.legend()

# %% [markdown]
# A short step is safe and slow, and one that is too long swings for ever. In between lies the fastest: at a step of $1/D''$
# the first jump would land on $\lambda^*$, if the slope of the dual were a straight line.
