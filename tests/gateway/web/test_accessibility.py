"""axe-core finds nothing serious in any state of the page, in light and dark."""

from __future__ import annotations

from importlib.resources import files

import pytest

from tests.gateway.web.scripted import ask, opened
from tests.gateway.web.shots import AFTER, STATES

# The library judges the whole page; "region" and the like are moderate, and are judged here too.
RULES = """axe.run(document, {resultTypes: ["violations"]}).then(({violations}) =>
  violations.filter(({impact}) => ["moderate", "serious", "critical"].includes(impact))
    .map(({id, impact, nodes}) => `${impact} ${id}: ${nodes.map(({html}) => html.slice(0, 160)).join(" | ")}`))"""


@pytest.fixture(scope="module")
def axe():
    return files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["empty", *STATES, *AFTER])
def test_axe_finds_nothing_in_any_state(page, server, axe, state, scheme):
    page.media(prefers_color_scheme=scheme)
    script, after = AFTER.get(state, (state, None))
    if script in STATES:
        server.scripts["q"] = list(STATES[script])
        ask(page, "q")
        page.wait("document.querySelector('#stop').hidden && document.querySelector('.usage') !== null")
    if after:
        after(page)
    page.js(axe + "\n; null")
    assert page.js(RULES) == []
    page.events.clear()  # axe's own complaints are not the page's


@pytest.mark.parametrize("language", ["zh-CN", "en-US"])
def test_there_is_one_first_heading_and_each_landmark_once(page, server, language):
    page.speaks(language)
    opened(page, server)
    count = "['h1', 'main', 'header', '[role=status]'].map(name => document.querySelectorAll(name).length)"
    assert page.js(count) == [1, 1, 1, 1]
