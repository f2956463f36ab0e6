"""Log probabilities of a step's drawn tokens, for all rows that want them in one piece on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from providers.local.engine.compute.drawing.inputs import sent
from providers.local.engine.output import TokenLogprobs


class Logprobs:
    """log softmax of the model's logits, before masks and penalties, in the rows that want it.

    wanted   row → how many of the most likely tokens are wanted with theirs
    """

    def __init__(self, wanted: dict[int, int], logits: Tensor) -> None:
        self._wanted = wanted
        self._rows = sent(list(wanted), logits.device)
        self._scores = logits.index_select(0, self._rows).float().log_softmax(-1)
        self._best = self._scores.topk(min(max(wanted.values()), logits.shape[1]))

    def read(self, tokens: list[int | None]) -> dict[int, TokenLogprobs]:
        """By row; `tokens` are all rows' drawn tokens. A row without numbers has none. Waits for the device."""
        drawn = [tokens[row] or 0 for row in self._wanted]
        mine = self._scores.gather(1, torch.tensor(drawn, device=self._scores.device).unsqueeze(1)).squeeze(1).tolist()
        values, indices = self._best.values.tolist(), self._best.indices.tolist()
        return {
            row: (mine[i], list(zip(indices[i][:top], values[i][:top], strict=True)))
            for i, (row, top) in enumerate(self._wanted.items())
            if tokens[row] is not None
        }
