"""The few tables that a question needs, out of hundreds: by names, comments and foreign keys.

A table's score is the sum of what the question's terms are worth (rare ones more: BM25 without the length) in its
name, its comment, its columns' names and comments. A part of it goes to the tables that foreign keys lead to, so that
what has to be joined comes along. The best ones within the budget are taken, in the schema's order: the same tables
always give the same bytes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

from prompts.tables import Schema, Table
from prompts.tokens import estimate
from prompts.words import terms

NAME, COMMENT, COLUMN, COLUMN_COMMENT, SAMPLE = 4.0, 4.0, 1.0, 1.5, 1.0
TO_NEIGHBOUR = 0.35
# A table whose score is below this share of the best one's is only taken as a neighbour.
FLOOR = 0.12


class SchemaLinker:
    """One schema, prepared: choosing tables then costs microseconds for each term of the question."""

    def __init__(self, schema: Schema, write: Callable[[Table], str]) -> None:
        self.schema = schema
        self._sizes = {table.name: estimate(write(table)) for table in schema.tables}
        self.tokens = sum(self._sizes.values())
        self._weights: dict[str, dict[str, float]] = defaultdict(dict)
        for table in schema.tables:
            for term, weight in _weights(table).items():
                self._weights[term][table.name] = weight
        self._neighbours: dict[str, set[str]] = defaultdict(set)
        for table in schema.tables:
            for key in table.foreign_keys:
                if key.table in self._sizes and key.table != table.name:
                    self._neighbours[table.name].add(key.table)
                    self._neighbours[key.table].add(table.name)

    def choose(self, question: str, tokens: int) -> Schema:
        """The schema with the tables that `question` needs, in about `tokens` tokens; all of them where they fit."""
        if self.tokens <= tokens:
            return self.schema
        scores = self._scores(question)
        best = max(scores.values(), default=0.0)
        order = sorted(scores, key=lambda name: (-scores[name], name))
        chosen: list[str] = []
        for name in order:
            if scores[name] < best * FLOOR:
                break
            if self._sizes[name] <= tokens:
                tokens -= self._sizes[name]
                chosen.append(name)
        if not chosen:
            # No table matches the question: the first tables still show the model what exists.
            chosen = [name for name in self._sizes if (tokens := tokens - self._sizes[name]) >= 0]
        return self.schema.only(chosen)

    def _scores(self, question: str) -> dict[str, float]:
        own: dict[str, float] = defaultdict(float)
        for term in set(terms(question)):
            weights = self._weights.get(term)
            if weights:
                rarity = math.log(1 + (len(self._sizes) - len(weights) + 0.5) / (len(weights) + 0.5))
                for name, weight in weights.items():
                    own[name] += rarity * weight
        scores = dict(own)
        for name, score in own.items():
            for neighbour in self._neighbours[name]:
                scores[neighbour] = scores.get(neighbour, 0.0) + score * TO_NEIGHBOUR / math.sqrt(
                    len(self._neighbours[name])
                )
        return scores


def _weights(table: Table) -> dict[str, float]:
    """What each term is worth in this table: that of its best place, and a little for every other one."""
    places: dict[str, list[float]] = defaultdict(list)
    places_of = [(table.name, NAME), (table.comment, COMMENT)]
    for column in table.columns:
        places_of += [(column.name, COLUMN), (column.comment, COLUMN_COMMENT)]
        places_of += [(sample, SAMPLE) for sample in column.samples]
    for text, weight in places_of:
        for term in set(terms(text)):
            places[term].append(weight)
    return {term: max(weights) + 0.2 * (len(weights) - 1) ** 0.5 for term, weights in places.items()}
