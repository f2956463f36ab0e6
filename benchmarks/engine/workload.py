"""What is asked, and when its tokens came."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Workload:
    """So many clients that ask at the same moment, one request each.

    prompts       token ids, a shared beginning and own ones
    new           tokens each reply has
    temperature   0: greedy
    """

    prompts: list[list[int]]
    new: int
    temperature: float


@dataclass(slots=True)
class Times:
    """Seconds after the asking, per client, at which each token came."""

    tokens: list[list[float]] = field(default_factory=list)


def workload(clients: int, prefix: int, own: int, new: int, temperature: float, seed: int) -> Workload:
    """Prompts of ids below 4,000, which every shape has; `seed` makes the own parts, never the shared one."""
    shared_ids, own_ids = random.Random(1), random.Random(1000 + seed)
    shared = [shared_ids.randrange(300, 4000) for _ in range(prefix)]
    return Workload(
        [shared + [own_ids.randrange(300, 4000) for _ in range(own)] for _ in range(clients)], new, temperature
    )


@dataclass(slots=True)
class Figures:
    """What one target did with one workload; times in seconds.

    cpu      CPU seconds per token, over all cores
    others   the share of all cores that went elsewhere meanwhile
    """

    tokens_per_second: float
    first_p50: float
    first_p99: float
    between_p50: float
    between_p99: float
    cpu: float = 0.0
    others: float = 0.0


def figures(times: Times) -> Figures:
    """Percentiles over all clients; a token that comes together with others counts as coming at the same time."""
    ends = max(client[-1] for client in times.tokens)
    firsts = sorted(client[0] for client in times.tokens)
    gaps = sorted(b - a for client in times.tokens for a, b in itertools.pairwise(client)) or [0.0]
    total = sum(len(client) for client in times.tokens)
    return Figures(total / ends, at(firsts, 0.5), at(firsts, 0.99), at(gaps, 0.5), at(gaps, 0.99))


def at(values: list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return values[min(len(values) - 1, int(share * len(values)))]
