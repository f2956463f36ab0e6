"""Masks of the tokens with which a constrained reply may go on.

A grammar is compiled once per schema, one at a time, and copied per reply. While the model computes a step's logits,
the step's masks are computed in another thread (the grammar library lets go of the interpreter's lock), so a mask
costs the step only what it takes longer.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from providers.errors import Rejected
from providers.local.engine.sqlgrammar import PROSE_CHARACTERS, grammar

log = logging.getLogger("sluice.engine")

KEPT_GRAMMARS = 64
# Together they bound compiling to 0.5 s, for three to eight tables; 0.2 s is usual for so many columns.
MOST_COLUMNS = 3000
# A column's name counts twice and its table's once: so often at least they are in the grammar.
MOST_NAMES = 500_000


Begun = Future[list[tuple[int, bytes]]]
"""A step's masks in the making, by row."""


class Constraint:
    """One reply's place in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def advance(self, token: int) -> None:
        """The reply goes on with `token`."""
        self._matcher.consume_token(token)

    def mask(self) -> bytes:
        """One byte per token, 0 where the reply may not go on with it; all are 0 where the grammar failed."""
        allowed: bytes = self._matcher.compute_logit_bias()
        return bytes(len(allowed)) if self._matcher.is_error() else allowed


class Grammars:
    """Compiled grammars by schema, for one tokeniser.

    tokenizer    tokenizer.json's text
    vocabulary   how many logits the model has
    ends         tokens that end a reply, where the grammar lets it end
    """

    def __init__(self, tokenizer: str, vocabulary: int, ends: Collection[int], prose: int = PROSE_CHARACTERS) -> None:
        self._told = (tokenizer, vocabulary, sorted(ends))
        self._prose = prose
        self._compiled: OrderedDict[Hashable, Any] = OrderedDict()
        self._one_compiles = Lock()
        self._cannot = "" if ends else "needs a model that has an end token"
        try:
            import llguidance

            # At the start, not when it is needed: for 150,000 tokens it keeps the interpreter to itself for 0.3 s.
            self._tokenizer = llguidance.LLTokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(ends) or None)
        except ImportError:
            self._cannot = "needs llguidance, which is not installed"
        except Exception as error:
            log.warning("constrain sql cannot be used: llguidance does not read the tokeniser: %s", error)
            self._cannot = self._cannot or "cannot be used with this model's tokeniser"

    def constraint(self, kind: str, schema: Mapping[str, Sequence[str]], dialect: str = "") -> Constraint:
        """A fresh constraint of `kind` (sql) over `schema`, table → columns, in `dialect`. Raises Rejected.

        May be called in several threads.
        """
        if kind != "sql":
            raise Rejected(f"constrain {kind} is not known; it is sql")
        if self._cannot:
            raise Rejected(f"constrain sql {self._cannot}")
        if sum(map(len, schema.values())) > MOST_COLUMNS:
            raise Rejected(f"constrain sql takes schemas of {MOST_COLUMNS:,} columns at most")
        if sum(len(table) + 2 * len(column) for table, columns in schema.items() for column in columns) > MOST_NAMES:
            raise Rejected(f"constrain sql takes schemas with {MOST_NAMES:,} characters of names at most")
        if not any(schema.values()):
            raise Rejected("constrain sql needs a schema that has columns")
        key = dialect, tuple((table, tuple(columns)) for table, columns in schema.items())
        with self._one_compiles:
            if key not in self._compiled:
                self._compiled[key] = self._compile(schema, dialect)
                if len(self._compiled) > KEPT_GRAMMARS:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(key)
            return Constraint(self._compiled[key].deep_copy())

    def _compile(self, schema: Mapping[str, Sequence[str]], dialect: str) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        text = LLMatcher.grammar_from_lark(grammar(schema, dialect, self._prose))
        matcher = LLMatcher(self._tokenizer, text, limits=LLParserLimits(max_items_in_row=20_000), log_level=0)
        if matcher.is_error():
            raise Rejected("constrain sql cannot be used with this schema: its grammar does not compile")
        return matcher


class Masks:
    """A step's masks, computed beside its forward pass."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")

    def begin(self, constraints: Sequence[Constraint | None]) -> Begun | None:
        """Start on the masks of the rows that have a constraint."""
        wanted = [(row, each) for row, each in enumerate(constraints) if each is not None]
        return self._thread.submit(lambda: [(row, each.mask()) for row, each in wanted]) if wanted else None

    def apply(self, begun: Begun | None, logits: Tensor) -> None:
        """Forbid in `logits` (rows, vocabulary) what the masks do not allow."""
        if begun is None:
            return
        rows, masks = zip(*begun.result(), strict=True)
        allowed = torch.frombuffer(bytearray(b"".join(masks)), dtype=torch.uint8).view(len(rows), -1)
        at = torch.tensor(rows, device=logits.device)
        forbidden = allowed.to(logits.device)[:, : logits.shape[1]] == 0
        logits.index_copy_(0, at, logits.index_select(0, at).masked_fill_(forbidden, float("-inf")))
