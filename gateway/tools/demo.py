"""`sluice demo`: a folder with the demo's database and a configuration, so that a first question can be asked."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path

import yaml

from gateway.installed import path_of

CONFIGURATION = """\
# The configuration of Sluice's demo. Every key is explained in docs/configuration.md; `sluice check` checks this file.
server:
  bind: "127.0.0.1:9001"
default: local            # switching providers is this line
providers:
  local:                  # a small model that answers questions about the demo database only
    type: local
    model: {model}
databases:
  metro:                  # Hangzhou's metro
    url: "sqlite:///metro.db"
    tables: [dtzpt, lines, riders]
text2sql:
  corrections: 0          # the demo's small model learns nothing from a refusal
"""


class Missing(Exception):
    """The demo cannot run here; the message says what to install."""


def prepare(folder: Path) -> Path:
    """Make the demo's database and configuration in `folder`, where they are not there yet; returns the configuration.

    Raises Missing.
    """
    build, model = path_of("demo/metro/build.py"), path_of("models/metro-sql")
    if build is None or model is None:
        raise Missing("this installation was made without the demo's files; install sluice from its wheel")
    if find_spec("torch") is None:
        raise Missing('the demo\'s model runs on this machine and needs torch: pip install "sluice[local]"')
    folder.mkdir(parents=True, exist_ok=True)
    database, configuration = folder / "metro.db", folder / "sluice.yaml"
    if not database.exists():
        runpy.run_path(str(build))["build"](database)
    if not configuration.exists():
        model_path = yaml.safe_dump(str(model), allow_unicode=True, width=10_000).removesuffix("...\n").strip()
        configuration.write_text(CONFIGURATION.format(model=model_path), "utf-8")
    return configuration
