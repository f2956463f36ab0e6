from __future__ import annotations

import itertools

import pytest
import torch

from providers.local.engine.compute.drawing import sampler
from providers.local.engine.compute.drawing.batch import Batch
from providers.local.engine.compute.drawing.inputs import NUMBERS
from providers.local.engine.compute.drawing.sampler import counter, counters, gumbel, most_likely
from providers.local.engine.sequence import Sequence
from providers.sampling import OFF, Sampling, constraints

LOGITS = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -30.0])
DRAWS = 10_000


Row = tuple[Sequence, int]
"""One draw: for which sequence, and as its how-many-th generated token."""


def a_row(position: int = 0, tokens: list[int] | None = None, counts: dict[int, int] | None = None, **told) -> Row:
    sequence = Sequence(0, tokens or [0], 1, sampling=Sampling(**told))
    sequence.counts |= counts or {}
    return sequence, position


def sample(logits: torch.Tensor, rows: list[Row]) -> list[int | None]:
    """Draw every row as a step does."""
    sequences, positions = zip(*rows, strict=True)
    batch = Batch(list(sequences), logits.shape[1], logits.device)
    batch.prepare(list(positions))
    logits = batch.penalise(logits)
    return batch.read(batch.draw(logits).tolist(), logits)


def expected(**told) -> torch.Tensor:
    """The plain way, as transformers' logits processors do it, one after the other."""
    import transformers as hf

    ids = torch.tensor([told.get("tokens", [0])])
    steps = []
    if "repetition_penalty" in told:
        steps.append(hf.RepetitionPenaltyLogitsProcessor(told["repetition_penalty"]))
    steps.append(hf.TemperatureLogitsWarper(told.get("temperature", 1.0)))
    if "top_k" in told:
        steps.append(hf.TopKLogitsWarper(told["top_k"]))
    if "top_p" in told:
        steps.append(hf.TopPLogitsWarper(told["top_p"]))
    if "min_p" in told:
        steps.append(hf.MinPLogitsWarper(told["min_p"]))
    scores = LOGITS.clone().unsqueeze(0)
    for step in steps:
        scores = step(ids, scores)
    return scores[0].softmax(-1)


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    """How far counts are from their expectation, in standard deviations of the chi-square distribution."""
    possible = probabilities > 1e-9
    assert counts[~possible].sum() == 0, "a token was drawn that the filters forbid"
    wanted = probabilities[possible] * counts.sum()
    value = ((counts[possible] - wanted) ** 2 / wanted).sum().item()
    freedom = max(1, int(possible.sum()) - 1)
    return (value - freedom) / (2 * freedom) ** 0.5


FILTERS = [
    {},
    {"top_k": 3},
    {"top_p": 0.8},
    {"min_p": 0.2},
    {"top_k": 5, "top_p": 0.7, "min_p": 0.1},
    {"top_k": 50},
    {"top_p": 1.0},
]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("candidates", [1024, 2], ids=["within the candidates", "beyond the candidates"])
def test_draws_have_the_distribution_that_the_parameters_say(temperature, filters, candidates, monkeypatch):
    monkeypatch.setattr(sampler, "CANDIDATES", candidates)
    told = {"temperature": temperature} | filters
    rows = [a_row(position=i, seed=11, **told) for i in range(DRAWS)]
    drawn = torch.tensor(sample(LOGITS.expand(DRAWS, -1).clone(), rows))
    assert chi_square(drawn.bincount(minlength=8).double(), expected(**told).double()) < 6


def test_a_mixture_of_parameters_in_one_batch_draws_each_row_its_own_way():
    kinds = [
        {"temperature": 0.0},
        {"temperature": 1.0, "top_k": 2},
        {"temperature": 0.7, "top_p": 0.5},
        {"temperature": 1.0},
    ]
    rows = [a_row(position=i, seed=5, **kind) for i in range(5000) for kind in kinds]
    drawn = torch.tensor(sample(LOGITS.expand(len(rows), -1).clone(), rows)).view(5000, len(kinds))
    assert (drawn[:, 0] == 0).all()
    for column, kind in zip(drawn.T[1:], kinds[1:], strict=True):
        assert chi_square(column.bincount(minlength=8).double(), expected(**kind).double()) < 6


def test_a_draw_is_the_same_whoever_else_is_in_the_batch():
    others = [a_row(position=i, seed=i, **kind) for i, kind in enumerate(itertools.islice(itertools.cycle(
        {"temperature": 1.0} | filters for filters in FILTERS), 30))]  # fmt: skip
    for filters in FILTERS:
        mine = a_row(position=3, seed=77, temperature=1.3, **filters)
        alone = sample(LOGITS.clone().unsqueeze(0), [mine])
        together = sample(LOGITS.expand(31, -1).clone(), [*others[:15], mine, *others[15:]])
        assert together[15] == alone[0]


def test_repetition_penalty_is_as_in_transformers():
    told = {"temperature": 1.0, "repetition_penalty": 1.7}
    rows = [a_row(position=i, seed=1, tokens=[0, 5, 5], **told) for i in range(DRAWS)]
    drawn = torch.tensor(sample(LOGITS.expand(DRAWS, -1).clone(), rows))
    wanted = expected(tokens=[0, 5, 5], **told)
    assert chi_square(drawn.bincount(minlength=8).double(), wanted.double()) < 6


@pytest.mark.parametrize("name", OFF)
def test_every_number_changes_what_is_drawn(name):
    """A parameter that is declared as `_drawn` and that the sampler does not use fails here."""
    meta = constraints(name)
    low, high = meta.ge if meta.ge is not None else 0.01, min(meta.le, 3)

    def drawn(**told: float) -> list[int | None]:
        rows = [a_row(i, [0, 1], {0: 2}, seed=3, **told) for i in range(300)]
        return sample(LOGITS.expand(300, -1).clone(), rows)

    plain = drawn()
    assert plain == drawn(**{name: OFF[name]})
    assert plain != drawn(**{name: low}) or plain != drawn(**{name: high})


def test_presence_and_frequency_penalties_are_as_openai_defines_them():
    row = a_row(temperature=0.0, counts={0: 3, 1: 1}, presence_penalty=0.3, frequency_penalty=0.4)
    logits = LOGITS.clone().unsqueeze(0)
    assert sample(logits, [row]) == [2]
    assert logits[0, :3].tolist() == pytest.approx([2.0 - 0.3 - 1.2, 1.5 - 0.3 - 0.4, 1.0])


def test_logits_that_are_no_numbers_are_told_for_their_row_alone():
    logits = LOGITS.expand(4, -1).clone()
    logits[1, 3] = float("nan")
    logits[2, :] = float("-inf")
    rows = [a_row(temperature=told) for told in (0.0, 1.0, 0.0)] + [a_row(temperature=1.0, top_k=1)]
    assert sample(logits, rows) == [0, None, None, 0]


def uniforms(seeds, positions, tokens):
    """The uniform numbers behind the noise of such draws."""
    starts = torch.tensor([counter(*each) for each in itertools.product(seeds, positions)])
    return (-(-gumbel(starts, torch.tensor([list(tokens)]))).exp()).exp().flatten()


@pytest.mark.parametrize(
    "told",
    [
        ([7], range(10_000), [0]),
        (range(10_000), [0], [3]),
        ([7], [5], range(10_000)),
        ([1 << 63], [1 << 40], range(-5_000, 0)),
    ],
    ids=["positions", "seeds", "tokens", "runs"],
)
def test_noise_is_uniform_and_neighbours_are_unrelated(told):
    numbers = uniforms(*told)
    assert chi_square(numbers.histc(50, 0, 1).double(), torch.full((50,), 0.02).double()) < 6
    pairs = (numbers[:-1] * 7).long() * 7 + (numbers[1:] * 7).long()
    assert chi_square(pairs.bincount(minlength=49).double(), torch.full((49,), 1 / 49).double()) < 6


def test_draws_from_many_runs_of_tokens_have_the_distribution_of_the_softmax():
    logits = torch.randn(1, 1500, generator=torch.Generator().manual_seed(3)) * 2
    rows = [a_row(position=i, seed=9) for i in range(20_000)]
    drawn = torch.tensor(sample(logits.expand(20_000, -1).clone(), rows))
    likely = logits[0].softmax(-1).double()
    # Together, so that each is expected often enough.
    order = likely.argsort(descending=True)
    counts, likely = drawn.bincount(minlength=1500).double()[order], likely[order]
    cells = [slice(i, i + 1) for i in range(40)] + [slice(i, i + 73) for i in range(40, 1500, 73)]
    together = torch.stack([torch.stack([each[cell].sum() for cell in cells]) for each in (counts, likely)])
    assert chi_square(*together) < 6


@pytest.mark.parametrize("filters", [{}, {"top_p": 0.95}, {"top_k": 50}, {"min_p": 0.01}], ids=str)
def test_what_another_batch_rounds_otherwise_draws_the_same(filters):
    # So far apart are float32 logits of one sequence alone and among others.
    chance = torch.Generator().manual_seed(1)
    logits = torch.randn(512, 20_000, generator=chance)
    rows = [a_row(position=i, seed=i, **filters) for i in range(512)]
    otherwise = logits + torch.randn(logits.shape, generator=chance) * 1e-6
    differ = [a != b for a, b in zip(sample(logits, rows), sample(otherwise, rows), strict=True)]
    assert sum(differ) <= 1


@pytest.mark.parametrize("filters", [*FILTERS, {"repetition_penalty": 1e-300}], ids=str)
@pytest.mark.parametrize("temperature", [1e-6, 1e-38, 1e-40, 1e-50, 5e-324])
def test_a_tiny_temperature_takes_the_most_likely_token(temperature, filters):
    logits = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))
    logits[0, 0] = 1e-3  # the only token that a penalty falls on
    best = int(logits.argmax())
    drawn = sample(logits.clone(), [a_row(temperature=temperature, seed=5, tokens=[0], **filters)])
    assert drawn == [0 if "repetition_penalty" in filters else best]


def test_a_draw_among_equal_logits_is_the_same_whoever_else_is_in_the_batch():
    others = [{"top_p": 0.95}, {"temperature": 0.7, "top_k": 1500}, {"temperature": 0.0}, {"top_k": 3}]
    for seed in range(100):
        logits = (torch.randn(5, 8000, generator=torch.Generator().manual_seed(seed)) * 2).bfloat16()
        for filters in ({"top_k": 20}, {"top_k": 50, "top_p": 0.9}, {"top_p": 0.8}):
            mine = a_row(seed=seed, **filters)
            alone = sample(logits[:1].clone(), [mine])
            together = sample(logits.clone(), [mine, *(a_row(seed=1, **told) for told in others)])
            assert together[0] == alone[0], (seed, filters)


@pytest.mark.parametrize("size", [7, 250, 256, 4000, 32_000])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_of_equal_logits_the_first_is_taken_and_a_row_with_nan_is_known(size, dtype):
    chance = torch.Generator().manual_seed(size)
    logits = torch.randint(0, 5, (40, size), generator=chance).to(dtype)
    logits[1, size // 2] = float("nan")
    logits[2] = float("-inf")
    tokens, best = most_likely(logits)
    assert best.isfinite().tolist() == [row not in (1, 2) for row in range(40)]
    first = [row.tolist().index(row.max()) for row in logits[3:]]
    assert tokens[3:].tolist() == first


def test_where_the_noise_begins_is_the_same_for_one_row_and_for_many():
    told = [(seed, position) for seed in (0, 1, 7, 2**31, 2**53 + 1, 2**63, 2**64 - 1, -5) for position in (0, 1, 999)]
    wrapped = [seed & (1 << 64) - 1 for seed, _ in told]
    numbers = torch.zeros(len(NUMBERS), len(told), dtype=torch.float64)
    numbers[-3:] = torch.tensor([[p for _, p in told], [s & 0xFFFFFFFF for s in wrapped], [s >> 32 for s in wrapped]])
    assert counters(numbers).tolist() == [counter(seed, position) for seed, position in told]
