"""A schema of 500 tables, and questions about it; the data is in large_schema.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

from prompts.tables import Column, ForeignKey, Schema, Table

DATA = yaml.safe_load((Path(__file__).parent / "large_schema.yaml").read_text("utf-8"))


def large_schema() -> Schema:
    tables = []
    for domain, (domain_zh, own) in DATA["domains"].items():
        for entity, (entity_zh, columns, keys) in DATA["entities"].items():
            named = [["id", "编号"], *columns, own, ["remark", "备注"]]
            tables.append(
                Table(
                    f"{domain}_{entity}",
                    tuple(Column(name, "VARCHAR(100)", comment) for name, comment in named),
                    f"{domain_zh}{entity_zh}表",
                    ("id",),
                    tuple(ForeignKey((name,), f"{domain}_{other}", ("id",)) for name, other in keys.items()),
                )
            )
    return Schema("postgresql", tuple(sorted(tables, key=lambda table: table.name)), "public")
