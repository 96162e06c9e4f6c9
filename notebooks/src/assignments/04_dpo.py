# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 04: DPO by hand
#
# **What you will have done by the end.** You will have written everything between a row of tokens and the loss that
# constrained DPO lowers: which tokens count, the log-probability of a response, the loss with a probability as its
# target, and labels that follow the price $\lambda$. And you will have found how large scores may be before a few
# samples decide everything.
#
# Time: about 75 minutes. You need numpy and lesson 04.

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

# %% [markdown] exercise="response_mask" variant="standard"
# ## 1 Which tokens count
#
# A row of tokens is a prompt, then the response, then, in rows shorter than the longest, more **end tokens** that
# only fill the row up:
#
# | place | 0 | 1 | 2 | 3 | 4 | 5 | 6 |
# |---|---|---|---|---|---|---|---|
# | token | guest | nuts | apple | pie | end | end | end |
# | counts | no | no | yes | yes | yes | no | no |
#
# The response begins at `starts` and reaches to its **first** end token, which is part of it: to stop is the
# policy's decision too. A response without an end token was cut by the budget and reaches to the end of the row.

# %% [markdown] exercise="response_mask" variant="finished"
# ## 1 Which tokens count, in finished responses
#
# A row of tokens is a prompt, then the response, then, in rows shorter than the longest, more **end tokens** that
# only fill the row up:
#
# | place | 0 | 1 | 2 | 3 | 4 | 5 | 6 |
# |---|---|---|---|---|---|---|---|
# | token | guest | nuts | apple | pie | end | end | end |
# | counts | no | no | yes | yes | yes | no | no |
#
# The response begins at `starts` and reaches to its **first** end token, which is part of it: to stop is the
# policy's decision too. A response without an end token was cut by the budget, nobody knows how it would have gone on,
# and in this course **none of its tokens count**.

# %% [markdown]
# <details><summary>Hint</summary>
# A place counts when it lies at or after the start and no end token lies between the start and it. The cumulative sum
# of "is an end token of the response" counts the ends so far, this one included.
# </details>
#
# Expected: an array of booleans, True where the token counts. Beware of end tokens in the *prompt*.


# %% answer="response_mask" variant="standard"
def response_mask(tokens, starts, end):
    """Return True where a token belongs to the response, its end token included.

    tokens: (B, T) integers; starts: (B,) place of the first response token; end: the end token.
    Returns (B, T) booleans.
    """
    ### BEGIN SOLUTION
    after = np.arange(tokens.shape[1]) >= starts[:, None]  # (B, T)
    ends = after & (tokens == end)
    return after & (np.cumsum(ends, axis=1) - ends == 0)
    ### END SOLUTION


# %% answer="response_mask" variant="finished"
def response_mask(tokens, starts, end):
    """Return True where a token belongs to a finished response, its end token included.

    tokens: (B, T) integers; starts: (B,) place of the first response token; end: the end token.
    Returns (B, T) booleans; a row without an end token after its start is all False.
    """
    ### BEGIN SOLUTION
    after = np.arange(tokens.shape[1]) >= starts[:, None]  # (B, T)
    ends = after & (tokens == end)
    mask = after & (np.cumsum(ends, axis=1) - ends == 0)
    return mask & ends.any(axis=1, keepdims=True)
    ### END SOLUTION


# %% check="response_mask"
desk.check("response_mask", response_mask)

# %% [markdown] only="lecture"
# The end token is worth a minute of talk. Leave it out, and "apple" and "apple pie" share the probability of their
# first token; DPO cannot then raise the one and lower the other, and a policy that never stops looks as good as one that does.

# %% [markdown] exercise="response_logp" variant="standard"
# ## 2 The log-probability of a response
#
# $$\log\pi(y|x) = \sum_{t \in y} \log \frac{e^{z_t[y_t]}}{\sum_v e^{z_t[v]}}$$
#
# Here $z_t$ are the logits *for* token $y_t$. A causal model gives them one place earlier: `logits[:, t]` is about token
# `tokens[:, t + 1]`, and the last logits are about nothing. The mask marks tokens. It is a **sum**, not a mean.

# %% [markdown] exercise="response_logp" variant="aligned"
# ## 2 The log-probability of a response, from aligned logits
#
# $$\log\pi(y|x) = \sum_{t \in y} \log \frac{e^{z_t[y_t]}}{\sum_v e^{z_t[v]}}$$
#
# Here $z_t$ are the logits *for* token $y_t$. Many causal models give them one place earlier; this engine has moved
# them already, so that `logits[:, t]` is about token `tokens[:, t]`. The mask marks tokens. It is a **sum**, not a mean.

# %% [markdown]
# First the primitive, on one place with two tokens at odds of 3 to 1. Its two log-probabilities are those of
# three quarters and of one quarter:

# %%
z = np.array([np.log(3.0), 0.0])
print(np.exp(z - np.log(np.exp(z).sum())))

# %% [markdown]
# <details><summary>Hint</summary>
# Subtract the log-sum-exp over the last axis, pick each token with <code>np.take_along_axis</code>, multiply by the
# mask, sum over places.
# </details>
#
# Expected: one negative number per row, larger in size for longer responses.


# %% answer="response_logp" variant="standard"
def response_logp(logits, tokens, mask):
    """Return the summed log-probability of each row's response, nats, shape (B,).

    logits: (B, T, V), place t predicts token t + 1; tokens: (B, T) integers;
    mask: (B, T) booleans, True at response tokens, False at place 0.
    """
    ### BEGIN SOLUTION
    z, wanted, counts = logits[:, :-1], tokens[:, 1:], mask[:, 1:]
    z = z - z.max(axis=-1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))  # (B, T - 1, V)
    picked = np.take_along_axis(logp, wanted[..., None], axis=-1)[..., 0]  # (B, T - 1)
    return (picked * counts).sum(axis=1)
    ### END SOLUTION


# %% answer="response_logp" variant="aligned"
def response_logp(logits, tokens, mask):
    """Return the summed log-probability of each row's response, nats, shape (B,).

    logits: (B, T, V), place t is about token t; tokens: (B, T) integers;
    mask: (B, T) booleans, True at response tokens.
    """
    ### BEGIN SOLUTION
    z = logits - logits.max(axis=-1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))  # (B, T, V)
    picked = np.take_along_axis(logp, tokens[..., None], axis=-1)[..., 0]  # (B, T)
    return (picked * mask).sum(axis=1)
    ### END SOLUTION


# %% check="response_logp"
desk.check("response_logp", response_logp)

# %% [markdown] exercise="dpo_loss" variant="standard"
# ## 3 The DPO loss with a soft target
#
# The reference never changes, so its log-probabilities were computed once and are a column. With the margin
#
# $$m = \beta\Bigl[\log\frac{\pi(y_1|x)}{\pi_{ref}(y_1|x)} - \log\frac{\pi(y_0|x)}{\pi_{ref}(y_0|x)}\Bigr]$$
#
# and $p$, the probability that $y_1$ is the chosen one, the loss of a comparison is
#
# $$\ell(m, p) = -p\,\log\sigma(m) - (1-p)\,\log\sigma(-m) = \log(1+e^{m}) - p\,m$$

# %% [markdown] exercise="dpo_loss" variant="first"
# ## 3 The DPO loss with a soft target, first response first
#
# The reference never changes, so its log-probabilities were computed once and are a column. With the margin
#
# $$m = \beta\Bigl[\log\frac{\pi(y_0|x)}{\pi_{ref}(y_0|x)} - \log\frac{\pi(y_1|x)}{\pi_{ref}(y_1|x)}\Bigr]$$
#
# and $p$, here the probability that the *first* response $y_0$ is the chosen one, the loss of a comparison is
#
# $$\ell(m, p) = -p\,\log\sigma(m) - (1-p)\,\log\sigma(-m) = \log(1+e^{m}) - p\,m$$

# %% [markdown]
# <details><summary>Hint</summary>
# Texts of a hundred tokens have margins of hundreds of nats, and exp of those overflows.
# <code>np.logaddexp(0, m)</code> is log(1 + e^m) without overflow.
# </details>
#
# Expected: one positive number per comparison; ln 2 = 0.6931 where the policy equals the reference.


# %% answer="dpo_loss" variant="standard"
def dpo_loss(logp, ref_logp, target, beta):
    """Return the loss of each comparison, nats, shape (n,), not reduced.

    logp, ref_logp: (n, 2) summed log-probabilities of y0 and y1; target: (n,) probability that y1 is chosen;
    beta: above 0.
    """
    ### BEGIN SOLUTION
    implicit = beta * (logp - ref_logp)  # (n, 2)
    margin = implicit[:, 1] - implicit[:, 0]
    return np.logaddexp(0.0, margin) - target * margin
    ### END SOLUTION


# %% answer="dpo_loss" variant="first"
def dpo_loss(logp, ref_logp, target, beta):
    """Return the loss of each comparison, nats, shape (n,), not reduced.

    logp, ref_logp: (n, 2) summed log-probabilities of y0 and y1; target: (n,) probability that y0 is chosen;
    beta: above 0.
    """
    ### BEGIN SOLUTION
    implicit = beta * (logp - ref_logp)  # (n, 2)
    margin = implicit[:, 0] - implicit[:, 1]
    return np.logaddexp(0.0, margin) - target * margin
    ### END SOLUTION


# %% check="dpo_loss"
desk.check("dpo_loss", dpo_loss)

# %% [markdown] exercise="relabel" variant="standard"
# ## 4 Labels follow the price
#
# When the price $\lambda$ changes, the *same* pairs get new labels. Bradley-Terry on the score $r - \lambda c$ says
#
# $$p = \sigma\bigl[(r_1 - \lambda c_1) - (r_0 - \lambda c_0)\bigr]$$
#
# A label has **flipped** when its likelier response is another one than at the old price. $\beta$ does not occur:
# scores are in nats.

# %% [markdown] exercise="relabel" variant="safety"
# ## 4 Labels follow the price of safety
#
# In this course the argument `cost` holds **safety**: a higher number is *less* harmful, and the price $\lambda$ pays for
# it. When the price changes, the *same* pairs get new labels: Bradley-Terry, on the score that goes with this sign. Write
# down the score yourself.
#
# A label has **flipped** when its likelier response is another one than at the old price. $\beta$ does not occur:
# scores are in nats.

# %% [markdown]
# <details><summary>Hint</summary>
# Write the label at one price as a function of its own and call it twice. A label is on the side of y1 when it is above one
# half.
# </details>
#
# Expected: a dict with the labels at the new price and a whole number.


# %% answer="relabel" variant="standard"
def relabel(reward, cost, lam_old, lam_new):
    """Return {"target": soft labels at lam_new, shape (n,), "flipped": number of pairs that changed sides}.

    reward, cost: (n, 2) for y0 and y1, nats, cost higher = more harmful; the target is the probability of y1.
    """

    ### BEGIN SOLUTION
    def label(lam):
        score = reward - lam * cost  # (n, 2)
        return 1 / (1 + np.exp(score[:, 0] - score[:, 1]))

    before, after = label(lam_old), label(lam_new)
    return {"target": after, "flipped": int(((before > 0.5) != (after > 0.5)).sum())}
    ### END SOLUTION


# %% answer="relabel" variant="safety"
def relabel(reward, cost, lam_old, lam_new):
    """Return {"target": soft labels at lam_new, shape (n,), "flipped": number of pairs that changed sides}.

    reward, cost: (n, 2) for y0 and y1, nats, cost higher = safer; the target is the probability of y1.
    """

    ### BEGIN SOLUTION
    def label(lam):
        score = reward + lam * cost  # (n, 2)
        return 1 / (1 + np.exp(score[:, 0] - score[:, 1]))

    before, after = label(lam_old), label(lam_new)
    return {"target": after, "flipped": int(((before > 0.5) != (after > 0.5)).sum())}
    ### END SOLUTION


# %% check="relabel"
desk.check("relabel", relabel)

# %% [markdown] exercise="first_loss"
# ## 5 Before the first step
#
# Your own six pairs are below: soft labels, and the reference's log-probabilities. The policy starts **at the reference**.
# Predict the mean DPO loss over the six pairs before any computing:
#
# * `soft_start`: at the reference, with these soft labels;
# * `hard_start`: at the reference, with the labels rounded to 0 or 1;
# * `soft_floor`: the least mean loss that any policy can have on the soft labels;
# * `hard_floor`: the number that the least mean loss on the hard labels tends to, as margins grow.

# %%
mine = desk.instance("first_loss")
print("labels", mine["target"], "  beta", mine["beta"])
print(mine["ref_logp"])

# %% [markdown]
# <details><summary>Hint</summary>
# What is the margin at the reference? For the floor of a soft label set the derivative of log(1 + e^m) - p m to 0:
# the best margin has sigma(m) = p, and what is left of the loss is the entropy of p.
# </details>
#
# Expected: a dict of four numbers, in nats, right to three digits. Two of them are equal.

# %% answer="first_loss"
first_loss = None
### BEGIN SOLUTION
p = np.asarray(mine["target"])
entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()
first_loss = {"soft_start": np.log(2), "hard_start": np.log(2), "soft_floor": entropy, "hard_floor": 0.0}
### END SOLUTION

# %% check="first_loss"
desk.check("first_loss", first_loss)

# %% [markdown]
# This is the cheapest test there is. A first loss that is not ln 2 says that the policy is not the reference, or that the
# cached log-probabilities belong to another model, or that the two were masked differently.

# %% [markdown] exercise="score_scale"
# ## 6 How large may scores be?
#
# Published score models give rewards that spread over ten nats and more. With a small $\beta$ the weights
#
# $$w_k \propto \exp\bigl(s\,(r_k - \lambda c_k)/\beta\bigr)$$
#
# of the reference's samples under the tilted policy then sit on one sample. How many samples still count is said by the
# **effective sample size**, $(\sum_k w_k)^2 / \sum_k w_k^2$. Scores may be multiplied by a scale $s$.
#
# Turn the dial: take the **largest** scale in `scales` at which the effective sample size is at least `wanted`.
# And judge the four `statements`, True or False, in their order.

# %%
asked = desk.instance("score_scale")
print(
    f"{len(asked['reward'])} samples, lam {asked['lam']:.2f}, beta {asked['beta']}, wanted {asked['wanted']}"
)
print("scales", asked["scales"])
for statement in asked["statements"]:
    print("-", statement)

# %% [markdown]
# <details><summary>Hint</summary>
# Subtract the largest exponent before you take exp. The effective sample size falls as the scale rises, from the number of
# samples at scale 0.
# </details>
#
# Expected: `{"scale": one of the scales, "statements": four times True or False}`.

# %% answer="score_scale"
score_scale = None
### BEGIN SOLUTION
score = (np.asarray(asked["reward"]) - asked["lam"] * np.asarray(asked["cost"])) / asked["beta"]


def effective(scale):
    weight = np.exp(scale * (score - score.max()))
    return weight.sum() ** 2 / (weight**2).sum()


true = [
    "Half the score scale gives the same weights as twice the beta.",
    "When every score is scaled by s, the limit on the mean cost is scaled by s as well.",
    "An effective sample size near 1 says that one sample has nearly all the weight.",
    "Adding the same number to the reward of every sample leaves the effective sample size as it is.",
    "At a score scale of 0 the effective sample size is the number of samples.",
]
score_scale = {
    "scale": max(scale for scale in asked["scales"] if effective(scale) >= asked["wanted"]),
    "statements": [statement in true for statement in asked["statements"]],
}
### END SOLUTION

# %% check="score_scale"
desk.check("score_scale", score_scale)

# %% [markdown]
# ## To close: where the samples went
#
# The effective sample size of your samples against the scale, with the number that was wanted. The picture needs no
# answer of yours.

# %% alt="Effective sample size against the score scale, which is on a log axis. The curve falls from the number of samples at small scales to 1 at scale 1; a dashed line marks the number that was wanted, and the curve crosses it once."
# %matplotlib inline
import matplotlib.pyplot as plt

scales = np.geomspace(1e-4, 1, 200)
exponent = (np.asarray(asked["reward"]) - asked["lam"] * np.asarray(asked["cost"])) / asked["beta"]
weights = np.exp(scales[:, None] * (exponent - exponent.max()))  # (scales, samples)
ax = plt.subplots(figsize=(7, 4))[1]
ax.semilogx(scales, weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1), linewidth=2)
ax.axhline(asked["wanted"], linestyle="--", color="#D55E00", label="wanted")
ax.set(xlabel="score scale s", ylabel="effective sample size")
_ = ax.legend()

# %% [markdown]
# At scale 1, where the raw scores are, hardly more than one sample counts, and a policy that follows them has little left
# of the reference's variety.
