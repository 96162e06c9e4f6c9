# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 06, capstone: constrained DPO on a toy language
#
# **What you will have done by the end.** You will have written the whole of constrained DPO, for a policy that writes
# token after token: log-probabilities, loss, the step of the price, and the loop that holds them together. The language is
# so small that every text can be listed. So nobody has to believe a training curve: your policy is held against the exact
# optimum.
#
# Time: about two hours. You need torch, lesson 07 and assignments 04 and 05.

# %% [markdown]
# Type the id under which you hand in. It decides the instances that you see.

# %% student="id"
STUDENT = "your id"

# %% given="desk"
import itertools

import numpy as np
import torch

from cdpo_edu.classroom import Desk

desk = Desk(STUDENT, course="public")

# %% [markdown]
# Your answers are marked where `cdpo_edu` is not installed: write them with numpy, torch and functions of your own. Each
# function is called with arguments by name; tables come as numpy arrays, so begin with `torch.as_tensor` where you need a
# tensor, and return a tensor or an array.
#
# ## The language
#
# Two guests $x$, each with an allergy. A dish $y$ is a row of at most two of five ingredients and an **end token**. That
# makes 31 dishes, the empty plate among them. Shorter ones are filled up to three places, and `MASK` marks the places
# that count.

# %% given="language"
END, WORDS = 0, 5  # token 0 ends a dish, tokens 1 to 5 are ingredients
DISHES = [list(words) + [END] for n in range(3) for words in itertools.product(range(1, WORDS + 1), repeat=n)]
TOKENS = torch.tensor([(dish + [END, END])[:3] for dish in DISHES])  # (31, 3)
MASK = torch.tensor([[place < len(dish) for place in range(3)] for dish in DISHES])  # (31, 3)

# %% [markdown]
# The policy is a network of 230 parameters. `logits()` gives, for each guest and each place of each dish, the logits *of the
# token at that place*: they are aligned with `TOKENS` already. After two ingredients only the end token is possible.


# %% given="policy"
class TinyPolicy(torch.nn.Module):
    """Up to two ingredients and an end token; a token depends on the guest and on the token before."""

    def __init__(self, seed):
        super().__init__()
        rng = np.random.default_rng(seed)

        def drawn(*size):
            return torch.nn.Parameter(torch.tensor(rng.normal(0, 0.4, size=size), dtype=torch.float64))

        self.inward, self.bias = drawn(7, 16), drawn(16)
        self.outward, self.level = drawn(16, 6), drawn(6)

    def logits(self):
        """Return the logits of each token of each dish for each guest, (2, 31, 3 places, 6)."""
        guest = torch.eye(2, dtype=torch.float64)[:, None, None, :].expand(2, 31, 3, 2)
        before = torch.cat([torch.zeros(31, 1, dtype=torch.long), TOKENS[:, :2]], dim=1)  # (31, 3)
        word = torch.nn.functional.one_hot(before, 6)[:, :, 1:].to(guest).expand(2, 31, 3, 5)
        hidden = torch.tanh(torch.cat([guest, word], dim=-1) @ self.inward + self.bias)
        full = torch.tensor([[0.0] * 6, [0.0] * 6, [0.0] + [-1e9] * 5], dtype=torch.float64)
        return hidden @ self.outward + self.level + full  # after two words comes the end


# %%
print("dishes", len(DISHES), " the first, the third and the last:", DISHES[0], DISHES[2], DISHES[-1])
print("parameters", sum(p.numel() for p in TinyPolicy(0).parameters()))
print("logits", tuple(TinyPolicy(0).logits().shape))

# %% [markdown] exercise="masked_logp" variant="standard"
# ## 1 The log-probability of every dish
#
# $$\log\pi(y|x) = \sum_{t:\,\text{mask}} \log\frac{e^{z_t[y_t]}}{\sum_v e^{z_t[v]}}$$
#
# The logits are aligned with the tokens, so nothing has to be moved. A sum, the end token included. `tokens` and `mask` are the
# same for every guest.

# %% [markdown] exercise="masked_logp" variant="bits"
# ## 1 The surprise of every dish
#
# Return the **surprise** of each dish in bits, which is a positive number:
#
# $$-\log_2\pi(y|x) = -\sum_{t:\,\text{mask}} \log_2\frac{e^{z_t[y_t]}}{\sum_v e^{z_t[v]}}$$
#
# The logits are aligned with the tokens, so nothing has to be moved. A sum, the end token included. `tokens` and `mask` are the
# same for every guest. (Losses are in nats all the same: where exercise 5 needs log-probabilities, turn bits into nats.)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>log_softmax(-1)</code>, then <code>gather(-1, ...)</code> with the tokens expanded to the shape of the logits
# without their last axis. Leave gradients alive: exercise 5 trains through this function.
# </details>
#
# Expected: one number for each guest and dish. For a whole language the probabilities of a guest's dishes sum to 1.


# %% answer="masked_logp" variant="standard"
def masked_logp(logits, tokens, mask):
    """Return log pi(y|x), shape (guests, dishes), nats.

    logits: (guests, dishes, places, 6), about the token at their own place; tokens, mask: (dishes, places).
    """
    ### BEGIN SOLUTION
    logits, tokens, mask = torch.as_tensor(logits), torch.as_tensor(tokens), torch.as_tensor(mask)
    index = tokens.expand(logits.shape[:-1])[..., None]
    picked = logits.log_softmax(-1).gather(-1, index)[..., 0]  # (guests, dishes, places)
    return (picked * mask).sum(-1)
    ### END SOLUTION


# %% answer="masked_logp" variant="bits"
def masked_logp(logits, tokens, mask):
    """Return -log2 pi(y|x), shape (guests, dishes), bits.

    logits: (guests, dishes, places, 6), about the token at their own place; tokens, mask: (dishes, places).
    """
    ### BEGIN SOLUTION
    logits, tokens, mask = torch.as_tensor(logits), torch.as_tensor(tokens), torch.as_tensor(mask)
    index = tokens.expand(logits.shape[:-1])[..., None]
    picked = logits.log_softmax(-1).gather(-1, index)[..., 0]  # (guests, dishes, places)
    return -(picked * mask).sum(-1) / np.log(2)
    ### END SOLUTION


# %% check="masked_logp"
desk.check("masked_logp", masked_logp)

# %% [markdown] exercise="pair_loss" variant="standard"
# ## 2 The loss on pairs
#
# `logp` is the table of exercise 1. A pair is a row $(x, y_0, y_1)$ of numbers of a guest and of two dishes. With
#
# $$m = \beta\Bigl[\log\frac{\pi(y_1|x)}{\pi_{ref}(y_1|x)} - \log\frac{\pi(y_0|x)}{\pi_{ref}(y_0|x)}\Bigr], \qquad
# \ell = \log(1+e^m) - p\,m$$
#
# and $p$ the probability that $y_1$ is the chosen one, return the **mean** of $\ell$ over the pairs.

# %% [markdown] exercise="pair_loss" variant="first"
# ## 2 The loss on pairs, first dish first
#
# `logp` is a table of log-probabilities in nats, (guests, dishes). A pair is a row $(x, y_0, y_1)$ of numbers of a guest and
# of two dishes. Here $p$ is the probability that the *first* dish $y_0$ is the chosen one. With
#
# $$m = \beta\Bigl[\log\frac{\pi(y_0|x)}{\pi_{ref}(y_0|x)} - \log\frac{\pi(y_1|x)}{\pi_{ref}(y_1|x)}\Bigr], \qquad
# \ell = \log(1+e^m) - p\,m$$
#
# return the **mean** of $\ell$ over the pairs.

# %% [markdown]
# <details><summary>Hint</summary>
# Take beta (logp - ref_logp) as a table first and index it with the columns of the pairs. In torch log(1 + e^m) is
# <code>torch.nn.functional.softplus</code>.
# </details>
#
# Expected: one number; ln 2 where the policy is the reference.


# %% answer="pair_loss" variant="standard"
def pair_loss(logp, ref_logp, pairs, target, beta):
    """Return the mean DPO loss, nats, one number.

    logp, ref_logp: (guests, dishes); pairs: (n, 3) integers x, y0, y1; target: (n,) probability that y1 is chosen.
    """
    ### BEGIN SOLUTION
    implicit = beta * (torch.as_tensor(logp) - torch.as_tensor(ref_logp))
    x, y0, y1 = torch.as_tensor(pairs).T
    margin = implicit[x, y1] - implicit[x, y0]
    return (torch.nn.functional.softplus(margin) - torch.as_tensor(target) * margin).mean()
    ### END SOLUTION


# %% answer="pair_loss" variant="first"
def pair_loss(logp, ref_logp, pairs, target, beta):
    """Return the mean DPO loss, nats, one number.

    logp, ref_logp: (guests, dishes); pairs: (n, 3) integers x, y0, y1; target: (n,) probability that y0 is chosen.
    """
    ### BEGIN SOLUTION
    implicit = beta * (torch.as_tensor(logp) - torch.as_tensor(ref_logp))
    x, y0, y1 = torch.as_tensor(pairs).T
    margin = implicit[x, y0] - implicit[x, y1]
    return (torch.nn.functional.softplus(margin) - torch.as_tensor(target) * margin).mean()
    ### END SOLUTION


# %% check="pair_loss"
desk.check("pair_loss", pair_loss)

# %% [markdown] exercise="price_step" variant="standard"
# ## 3 The step of the price
#
# The policy's expected cost is a sum, since all dishes are listed, and both guests come equally often:
#
# $$E_\pi[c] = \tfrac12 \sum_x \sum_y \pi(y|x)\, c(x,y), \qquad \lambda \leftarrow \max\bigl(0, \lambda + \alpha\,(E_\pi[c] - C)\bigr)$$

# %% [markdown] exercise="price_step" variant="multiplicative"
# ## 3 The step of the price, on its logarithm
#
# The policy's expected cost is a sum, since all dishes are listed, and both guests come equally often. Some published code
# steps the *logarithm* of the price, so that it can never become negative:
#
# $$E_\pi[c] = \tfrac12 \sum_x \sum_y \pi(y|x)\, c(x,y), \qquad \log\lambda \leftarrow \log\lambda + \alpha\,(E_\pi[c] - C)$$
#
# Return the new $\lambda$. (Exercise 5 begins at the price 0, from which this step never gets away. Use the plain projected
# step of lesson 03 there.)

# %% [markdown]
# <details><summary>Hint</summary>
# Sum over the dishes of a guest, then take the mean over the guests.
# </details>
#
# Expected: one number, not negative.


# %% answer="price_step" variant="standard"
def price_step(policy, cost, lam, limit, step):
    """Return the next price.

    policy: (guests, dishes) probabilities; cost: (guests, dishes), higher = more harmful; limit: C; step: alpha.
    """
    ### BEGIN SOLUTION
    expected = float((policy * cost).sum(axis=1).mean())
    return max(0.0, lam + step * (expected - limit))
    ### END SOLUTION


# %% answer="price_step" variant="multiplicative"
def price_step(policy, cost, lam, limit, step):
    """Return the next price.

    policy: (guests, dishes) probabilities; cost: (guests, dishes), higher = more harmful; limit: C; step: alpha.
    """
    ### BEGIN SOLUTION
    expected = float((policy * cost).sum(axis=1).mean())
    return lam * np.exp(step * (expected - limit))
    ### END SOLUTION


# %% check="price_step"
desk.check("price_step", price_step)

# %% [markdown] exercise="end_of_the_run"
# ## 4 Where a run must end
#
# Before the loop, its end. Your own language is below: the reference's probabilities, rewards and costs of all 31 dishes for
# both guests. **Predict** the price $\lambda^*$ and the expected reward at which constrained DPO on it has to end. The best
# policy for a price is a formula, and its expected cost falls as the price rises:
#
# $$\pi_\lambda(y|x) \propto \pi_{ref}(y|x)\, e^{(r-\lambda c)/\beta}, \qquad E_{\pi_{\lambda^*}}[c] = C$$

# %%
mine = desk.instance("end_of_the_run")
own_cost = (mine["reference"] * mine["cost"]).sum(axis=1).mean()
print(f"beta {mine['beta']}   C {mine['limit']:.3f}   cost of the reference {own_cost:.3f}")

# %% [markdown]
# <details><summary>Hint</summary>
# Bisection: the price lies between 0.7 and 3. Both guests have the same price, and the limit is on the mean of their costs.
# </details>
#
# Expected: `{"lam": ..., "reward": ...}`, right to three digits.

# %% answer="end_of_the_run"
end_of_the_run = None
### BEGIN SOLUTION


def best_for(lam):
    weight = mine["reference"] * np.exp((mine["reward"] - lam * mine["cost"]) / mine["beta"])
    return weight / weight.sum(axis=1, keepdims=True)


low, high = 0.0, 16.0
for _ in range(60):
    middle = (low + high) / 2
    above = (best_for(middle) * mine["cost"]).sum(axis=1).mean() > mine["limit"]
    low, high = (middle, high) if above else (low, middle)
end_of_the_run = {"lam": high, "reward": (best_for(high) * mine["reward"]).sum(axis=1).mean()}
### END SOLUTION

# %% check="end_of_the_run"
desk.check("end_of_the_run", end_of_the_run)

# %% [markdown] exercise="constrained_dpo" variant="standard"
# ## 5 Constrained DPO
#
# Now the loop. Begin with `TinyPolicy(seed)` and $\lambda = 0$; its log-probabilities *before* training are the reference's.
# Then in each of `rounds` rounds:
#
# 1. label **all** pairs of dishes of each guest softly at the price, $p = \sigma\bigl[(r_1 - \lambda c_1) - (r_0 - \lambda c_0)\bigr]$;
# 2. take `grad_steps` steps of Adam (learning rate 0.03) on the mean loss, from where the policy stands;
# 3. measure $E_\pi[c]$ of the policy as it is now, and step the price towards $E_\pi[c] \le$ `limit`.
#
# Return the policy as a table of probabilities, (2, 31). It is judged by enumeration: its **closeness** to the exact
# optimum, $1 - E_x KL(\pi\|\pi^*)/E_x KL(\pi_{ref}\|\pi^*)$, must be at least 0.95, and its cost at most 0.03 above the limit.

# %% [markdown] exercise="constrained_dpo" variant="relative"
# ## 5 Constrained DPO, with a relative limit
#
# Now the loop. Begin with `TinyPolicy(seed)` and $\lambda = 0$; its log-probabilities *before* training are the reference's. In
# this course the limit is **relative**: the policy's cost must be lower than the reference's own cost by the margin `limit`,
#
# $$E_\pi[c] \le E_{\pi_{ref}}[c] - \texttt{limit}$$
#
# Then in each of `rounds` rounds:
#
# 1. label **all** pairs of dishes of each guest softly at the price, $p = \sigma\bigl[(r_1 - \lambda c_1) - (r_0 - \lambda c_0)\bigr]$;
# 2. take `grad_steps` steps of Adam (learning rate 0.03) on the mean loss, from where the policy stands;
# 3. measure $E_\pi[c]$ of the policy as it is now, and take a projected step of the price.
#
# Return the policy as a table of probabilities, (2, 31). It is judged by enumeration: its **closeness** to the exact
# optimum, $1 - E_x KL(\pi\|\pi^*)/E_x KL(\pi_{ref}\|\pi^*)$, must be at least 0.95, and its cost at most 0.03 above the limit.

# %% [markdown]
# <details><summary>Hint</summary>
# <code>torch.triu_indices(31, 31, offset=1)</code> lists the pairs of dishes; put a column of guests in front, for each
# guest once. Call <code>.detach()</code> on the reference's log-probabilities and on the table that the price looks at. A
# run takes a second or two.
# </details>
#
# Expected: each row sums to 1; the closeness of a right run is above 0.99.


# %% answer="constrained_dpo" variant="standard"
def constrained_dpo(seed, reward, cost, beta, limit, step, rounds, grad_steps):
    """Return the trained policy's probabilities, shape (2, 31).

    reward, cost: (2, 31), cost higher = more harmful; limit: C; step: alpha; grad_steps: of Adam, in each round.
    """
    ### BEGIN SOLUTION
    policy, lam = TinyPolicy(seed), 0.0
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.03)
    ref_logp = masked_logp(policy.logits(), TOKENS, MASK).detach()
    y0, y1 = torch.triu_indices(31, 31, offset=1)
    x = torch.arange(2).repeat_interleave(len(y0))
    pairs = torch.stack([x, y0.repeat(2), y1.repeat(2)], dim=1)  # (930, 3)
    for _ in range(rounds):
        score = torch.as_tensor(reward - lam * cost)
        target = (score[x, pairs[:, 2]] - score[x, pairs[:, 1]]).sigmoid()
        for _ in range(grad_steps):
            loss = pair_loss(masked_logp(policy.logits(), TOKENS, MASK), ref_logp, pairs, target, beta)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        table = masked_logp(policy.logits(), TOKENS, MASK).detach().exp().numpy()
        lam = price_step(table, cost, lam, limit, step)
    return table
    ### END SOLUTION


# %% answer="constrained_dpo" variant="relative"
def constrained_dpo(seed, reward, cost, beta, limit, step, rounds, grad_steps):
    """Return the trained policy's probabilities, shape (2, 31).

    reward, cost: (2, 31), cost higher = more harmful; limit: margin below the reference's cost; step: alpha;
    grad_steps: of Adam, in each round.
    """

    ### BEGIN SOLUTION
    def logp():
        picked = policy.logits().log_softmax(-1).gather(-1, TOKENS.expand(2, 31, 3)[..., None])[..., 0]
        return (picked * MASK).sum(-1)

    policy, lam = TinyPolicy(seed), 0.0
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.03)
    ref_logp = logp().detach()
    y0, y1 = torch.triu_indices(31, 31, offset=1)
    limit = (ref_logp.exp().numpy() * cost).sum(axis=1).mean() - limit
    for _ in range(rounds):
        score = torch.as_tensor(reward - lam * cost)
        target = (score[:, y1] - score[:, y0]).sigmoid()
        for _ in range(grad_steps):
            implicit = beta * (logp() - ref_logp)
            margin = implicit[:, y1] - implicit[:, y0]
            loss = (torch.nn.functional.softplus(margin) - target * margin).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        table = logp().detach().exp().numpy()
        lam = max(0.0, lam + step * ((table * cost).sum(axis=1).mean() - limit))
    return table
    ### END SOLUTION


# %% check="constrained_dpo"
desk.check("constrained_dpo", constrained_dpo)

# %% [markdown] only="lecture"
# Let the room break the loop before the end: leave the sign of the cost, the detach of the reference or the relabelling out, and
# ask each time what the check will say. It recognises five such runs by the policies that they give.

# %% [markdown]
# ## 6 What your run does not show
#
# Here every dish is listed, every score is true and every expectation is a sum. In a run on a real language model none of
# that holds. In at most 150 words: name the two steps of your loop that would then be **estimates**, say which way the error
# of each could mislead the price, and what you would print beside the result so that a reader can tell.

# %% [markdown] written="what_it_does_not_show"
# ### BEGIN SOLUTION
# The cost of the policy becomes a mean over samples, so the price steps on noise; near the limit its sign may be wrong, and a
# learned cost model that is too lenient makes the price too low for good. The labels come from learned scores on the pairs
# that happen to be there, so training may miss what nobody compared, and the policy is not the best one for its price. Print
# the cost with its interval on prompts that were not used for the price, the scorers' errors on held-out comparisons, the KL,
# and the same run at the price 0.
# ### END SOLUTION

# %% [markdown]
# ## To close: dish by dish
#
# Your exact optimum of exercise 4 against the reference, one dot for each dish of each guest. Dots below the diagonal lost
# probability; for each guest, the score $r - \lambda^* c$ alone says by how much. The picture draws the optimum itself and
# needs no answer of yours.

# %% alt="Probability of each dish under the constrained optimum against its probability under the reference, both on log axes, coloured by the score r minus lambda c. Dishes with a low score lie below the diagonal, dishes with a high score above it."
# %matplotlib inline
import matplotlib.pyplot as plt

prices = np.linspace(0, 6, 601)
tilts = mine["reference"] * np.exp((mine["reward"] - prices[:, None, None] * mine["cost"]) / mine["beta"])
tables = tilts / tilts.sum(axis=-1, keepdims=True)  # (prices, guests, dishes)
costs = (tables * mine["cost"]).sum(axis=-1).mean(axis=-1)
place = np.argmax(costs <= mine["limit"])
score = mine["reward"] - prices[place] * mine["cost"]
ax = plt.subplots(figsize=(6, 5))[1]
dots = ax.scatter(mine["reference"], tables[place], c=score, cmap="cividis")
ax.plot([1e-4, 1], [1e-4, 1], ":", color="gray")
ax.set(xscale="log", yscale="log", xlabel="probability under the reference", ylabel="under the optimum")
_ = ax.figure.colorbar(dots, label="score r − λc (nats)")
