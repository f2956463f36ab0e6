"""The matrix can fail: with a promise broken on purpose, the rows about that promise are red, and others are not.

The full run breaks the engine's, too.
"""

from __future__ import annotations

import pytest

from tests.reliability.broken import BROKEN


@pytest.mark.parametrize("broken", [broken for broken in BROKEN if broken.red], ids=str)
def test_a_broken_promise_turns_its_rows_red(broken):
    broken.run()
