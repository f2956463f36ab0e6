"""Grammars of constrained replies: compiled once per schema, one at a time, and copied per reply."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from threading import Lock
from typing import Any

from providers.errors import Rejected
from providers.local.engine.constraint import Constraint, FreeThought
from providers.local.engine.serving.sqlgrammar import grammar

log = logging.getLogger("sluice.engine")

KEPT_GRAMMARS = 64
# Together they bound compiling to 0.5 s; 0.2 s is usual for so many columns, 0.3 for 200 tables.
MOST_COLUMNS = 3000
# A column's name counts twice and its table's once, as often as the grammar has them at least.
MOST_NAMES = 500_000
MOST_GRAMMAR = 200_000


class Grammars:
    """Compiled grammars by schema, for one tokeniser.

    tokenizer    tokenizer.json's text
    vocabulary   how many logits the model has
    ends         end tokens, allowed where the grammar lets a reply end
    """

    def __init__(self, tokenizer: str, vocabulary: int, ends: Collection[int], prose: int | None = None) -> None:
        self._prose = prose
        self.vocabulary = vocabulary
        self._compiled: OrderedDict[Hashable, Any] = OrderedDict()
        self._one_compiles = Lock()
        self._cannot = "" if ends else "needs a model that has an end token"
        try:
            import llguidance

            # At the start: for 150,000 tokens it holds the interpreter's lock for 0.3 s.
            self._tokenizer = llguidance.LLTokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(ends) or None)
        except ImportError:
            self._cannot = "needs llguidance, which is not installed"
        except Exception as error:  # noqa: BLE001 - llguidance raises many kinds
            log.warning("no constrained replies: llguidance does not read the tokeniser: %s", error)
            self._cannot = self._cannot or "cannot be used with this model's tokeniser"

    def constraint(
        self, kind: str, schema: Mapping[str, Sequence[str]], dialect: str = "", thought: FreeThought | None = None
    ) -> Constraint:
        """A fresh constraint of `kind` (sql) over `schema`, table → columns, in `dialect`. Raises Rejected.

        May be called in several threads.
        """
        if kind != "sql":
            raise Rejected(f"constrain: must be sql, got {kind}")
        self._usable("constrain")
        if (columns := sum(map(len, schema.values()))) > MOST_COLUMNS:
            raise Rejected(f"constrain: sql takes schemas of at most {MOST_COLUMNS:,} columns, got {columns:,}")
        letters = sum(len(table) + 2 * len(column) for table, names in schema.items() for column in names)
        if letters > MOST_NAMES:
            raise Rejected(f"constrain: sql takes at most {MOST_NAMES:,} characters of names, got {letters:,}")
        if not any(schema.values()):
            raise Rejected("constrain: sql needs a schema that has columns")
        key = dialect, tuple((table, tuple(columns)) for table, columns in schema.items())
        return Constraint(self._matcher(key, lambda: self._compile_sql(schema, dialect)), thought)

    def structure(self, member: str, lark: str, thought: FreeThought | None = None) -> Constraint:
        """A fresh constraint by a grammar; `member` of the request asked for it. Raises Rejected.

        Behind a thought models write a line or two of nothing.
        """
        self._usable(member)
        if len(lark) > MOST_GRAMMAR:
            raise Rejected(f"{member}: must be at most {MOST_GRAMMAR:,} characters as a grammar, got {len(lark):,}")
        if thought is not None:
            lark = lark.replace("start:", "start: /[ \\n]{0,8}/ begin\nbegin:", 1)

        def compiled() -> Any:
            matcher = self._compile(lark)
            if matcher.is_error():
                reason = (matcher.get_error() or "").splitlines()[0]
                raise Rejected(f"{member}: is not a structure that can be followed: {reason}")
            return matcher

        return Constraint(self._matcher(lark, compiled), thought)

    def _usable(self, member: str) -> None:
        if self._cannot:
            raise Rejected(f"{member}: {self._cannot}")

    def _matcher(self, key: Hashable, compiled: Callable[[], Any]) -> Any:
        """A copy of the matcher for `key`, compiled at its first use."""
        with self._one_compiles:
            if key not in self._compiled:
                self._compiled[key] = compiled()
                if len(self._compiled) > KEPT_GRAMMARS:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(key)
            return self._compiled[key].deep_copy()

    def _compile_sql(self, schema: Mapping[str, Sequence[str]], dialect: str) -> Any:
        lark = grammar(schema, dialect, self._prose)
        if not lark:
            raise Rejected("constrain: sql needs a schema that has columns whose names can be written")
        matcher = self._compile(lark)
        if matcher.is_error():
            raise Rejected("constrain: sql cannot be used with this schema, whose grammar does not compile")
        return matcher

    def _compile(self, lark: str) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(max_items_in_row=20_000)
        return LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(lark), limits=limits, log_level=0)
