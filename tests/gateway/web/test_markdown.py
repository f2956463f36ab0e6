"""Text as models write it: Markdown, code in colours, formulas; drawn as it streams, and never as markup of its own."""

from __future__ import annotations

import threading

import pytest

from tests.gateway.web.scripted import DONE, OVER, START, answered, ask, text

TEXT = """## Steps

1. **First** and *then*
2. `code` and ~~old~~
   - nested
   - [x] ticked

> quoted

| a | b |
|---|--:|
| x | 1 |

See [docs](https://example.com/a?b=1) or https://example.org/p，然后继续。

```python
def f(x):  # why
    return "s" + str(x)
```

---

**重点：**内容 &amp; &#x4e2d;&lt;b&gt;
"""
SHAPE = """[...document.querySelector('.prose').children].map(e => e.tagName.toLowerCase())"""


def test_every_shape_of_markdown_becomes_its_element(page, server):
    answered(page, server, [START, text(TEXT), DONE])
    assert page.js(SHAPE) == ["h3", "ol", "blockquote", "div", "p", "figure", "hr", "p"]
    assert page.texts(".prose ol > li > ul > li") == ["nested", "☑ ticked"]
    assert page.texts(".prose strong") == ["First", "重点："] and page.texts(".prose em") == ["then"]
    assert page.texts(".prose del") == ["old"] and page.texts(".prose td") == ["x", "1"]
    assert page.js("[...document.querySelectorAll('.prose a')].map(a => [a.textContent, a.href, a.rel, a.target])") == [
        ["docs", "https://example.com/a?b=1", "noopener noreferrer nofollow", "_blank"],
        ["https://example.org/p", "https://example.org/p", "noopener noreferrer nofollow", "_blank"],
    ]
    assert page.texts(".prose p")[-1] == "重点：内容 & 中<b>"
    assert page.texts(".code .keyword") == ["def", "return"] and page.texts(".code .comment") == ["# why"]
    assert page.texts(".code .string") == ['"s"'] and page.text(".kind") == "python"


@pytest.mark.parametrize("size", [1, 3, 17])
def test_however_the_text_is_cut_the_result_is_the_same(page, server, size):
    answered(page, server, [START, text(TEXT), DONE], "whole")
    whole = page.js("document.querySelector('.prose').innerHTML")
    page.click("#fresh")
    pieces = [text(TEXT[n : n + size]) for n in range(0, len(TEXT), size)]
    answered(page, server, [START, *pieces, DONE], "cut")
    assert page.js("document.querySelector('.prose').innerHTML") == whole


@pytest.mark.parametrize(
    ("so_far", "shown"),
    [
        ("Some **bol", "Some bold".removesuffix("d")),
        ("Some **bold*", "Some bold"),
        ("Some `co", "Some co"),
        ("A [link](https://exa", "A link"),
        ("Text\n\n```sq", "Text"),
        ("Text\n\n| a | b |", "Text"),
        ("Text\n\n| a | b |\n|--", "Text"),
        ("Text\n\n-", "Text"),
        ("Text\n\n##", "Text"),
    ],
)
def test_a_mark_that_is_not_complete_never_shows_as_text(page, server, so_far, shown):
    more = threading.Event()
    server.scripts["q"] = [START, text(so_far), more, DONE]
    ask(page, "q")
    page.wait("document.querySelector('.prose')?.textContent.length > 0")
    page.js("new Promise((resolve) => setTimeout(resolve, 60))")
    assert page.js("document.querySelector('.prose').innerText.trim()") == shown
    more.set()
    page.wait(OVER)


def test_formulas_become_mathml(page, server):
    answered(
        page, server, [START, text("Energy $E = mc^2$, \\(a_1\\) and\n\n$$\\frac{1}{2}$$\n\nThat is $5 or $6."), DONE]
    )
    page.wait("document.querySelectorAll('.formula math').length === 3")
    assert page.js("document.querySelector('.formula.display math mfrac') !== null")
    assert page.texts(".prose p")[-1] == "That is $5 or $6."


def test_a_formula_that_cannot_be_read_stays_as_it_was_written(page, server):
    answered(page, server, [START, text("See $\\unknown{x$ here"), DONE])
    page.js("import('/page/vendor/temml.js').then(() => new Promise(resolve => setTimeout(resolve, 50)))")
    assert page.text(".prose p") == "See $\\unknown{x$ here"


HOSTILE = [
    "[x](javascript:window.hit=1) <javascript:window.hit=1> [y](data:text/html,x) [z](/answers) ![i](https://e.com/i)",
    "<img src=x onerror='window.hit=1'>\n\n<script>window.hit=1</script>\n\n<a href='https://e.com'>x</a>",
    "$\\href{javascript:window.hit=1}{x}$ $\\htmlData{a=b}{x}$ $\\includegraphics{https://e.com/x}$",
    ">" * 5000 + " deep",
    "[" * 5000 + "a" + "](" * 5000,
    "*a_ " * 3000,
    "- " * 500 + "x",
]


@pytest.mark.parametrize("evil", HOSTILE, ids=range(len(HOSTILE)))
def test_a_models_text_never_becomes_markup_of_its_own(page, server, evil):
    answered(page, server, [START, text(evil), DONE])
    page.js("new Promise((resolve) => setTimeout(resolve, 100))")
    found = "[...document.querySelectorAll('#turns :is(img, script, iframe, object, form, style)')].length"
    assert page.js(found) == 0 and page.js("window.hit") is None
    schemes = page.js("[...document.querySelectorAll('#turns a')].map(a => a.protocol)")
    assert set(schemes) <= {"https:"}


PIECES = """['- a', '  - b', '\\n', '\\n\\n', '```py', '```', '| a |', '|--|', '> q', '$$x$$', '**b**', '    code',
  '1. x', '# h', '\\t', 'text ', '<div>', '`c`', '*e*', '---',
  '\\\\(y\\\\)', '[l](https://e.com)', '~~d~~', '公式：', '$z$']"""


def test_random_documents_are_drawn_the_same_however_they_are_cut(page):
    differing = page.js(f"""import('/page/answer/prose.js').then(({{ Prose }}) => {{
      const pieces = {PIECES};
      let seed = 7;
      const next = (n) => Math.floor((seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648 * n);
      const drawn = (parts) => {{
        const root = document.createElement('div'), prose = new Prose(root, null);
        for (const part of parts) {{ prose.write(part); prose.flush(); }}
        prose.end();
        return root.innerHTML;
      }};
      const differing = [];
      for (let n = 0; n < 400; n++) {{
        const text = Array.from({{ length: 1 + next(14) }}, () => pieces[next(pieces.length)])
          .join(next(2) ? '\\n' : '');
        const parts = [];
        for (let at = 0; at < text.length;) {{
          const to = at + 1 + next(5);
          parts.push(text.slice(at, to));
          at = to;
        }}
        if (drawn(parts) !== drawn([text])) differing.push(text);
      }}
      return differing;
    }})""")
    assert differing == []
