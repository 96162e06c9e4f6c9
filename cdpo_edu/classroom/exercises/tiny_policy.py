"""The capstone's policy: a network of 230 parameters over a language of 31 dishes for each of two guests.

The notebook has the same class in a locked cell; a test holds the two together. This room imports torch, so
rooms that list exercises import it inside functions.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

END, WORDS = 0, 5  # token 0 ends a dish, tokens 1 to 5 are ingredients
DISHES = [list(words) + [END] for n in range(3) for words in itertools.product(range(1, WORDS + 1), repeat=n)]
TOKENS = torch.tensor([(dish + [END, END])[:3] for dish in DISHES])  # (31, 3)
MASK = torch.tensor([[place < len(dish) for place in range(3)] for dish in DISHES])  # (31, 3)


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
