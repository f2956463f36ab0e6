"""pydantic's errors as our problems: key paths cleaned, words translated, values shown where that is safe."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.settings.problems import EXPECTATIONS, VALIDATORS, Problem, hint, shown_both

# Values of these keys, and of those below them, are never shown.
SECRET = {
    *("api_key", "secret_key", "secret", "sha256", "keys", "url", "redis_url", "base_url", "proxy"),
    *("headers", "query", "extra", "password", "auth"),
}

Path = tuple[str, ...]


def problems(error: ValidationError, written: Any, model: type[BaseModel]) -> list[Problem]:
    """
    written   the file's data before variables were filled in: a value that came from the environment is not shown
    model     what was validated
    """
    by_path: dict[Path, list[Any]] = {}
    for one in error.errors(include_url=False):
        path = _path(one["loc"], written)
        by_path.setdefault((*path, *_below(one)), []).append(one)
    return [_problem(path, errors, written, model) for path, errors in by_path.items()]


def _below(error: Any) -> Path:
    """A validator of a whole section names the key it means in its context."""
    key = error.get("ctx", {}).get("key")
    return (str(key),) if key else ()


def _path(location: tuple[int | str, ...], written: Any) -> Path:
    """The keys of `location`, without pydantic's own marks for a union's member or a validator."""
    path: list[str] = []
    value = written
    for n, part in enumerate(location):
        if isinstance(value, dict) and str(part) in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif n == len(location) - 1 and isinstance(value, dict) and str(part).isidentifier():
            pass  # a key that is missing
        else:
            continue
        path.append(str(part))
    return tuple(path)


def at(data: Any, path: Path) -> Any:
    """The value at `path`; raises KeyError."""
    for part in path:
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            raise KeyError(part)
    return data


def _problem(path: Path, errors: list[Any], written: Any, model: type[BaseModel]) -> Problem:
    key, first = ".".join(path), errors[0]
    if first["type"] == "missing":
        return Problem(key, "missing")
    if first["type"] == "extra_forbidden":
        section = section_at(model, path[:-1])
        keys = section.model_fields if section else ()
        return Problem(key, "unknown_key", {"hint": hint(path[-1], keys, all_keys(model))})
    if own := next((one for one in errors if one["type"] not in EXPECTATIONS and one["type"] != "literal_error"), None):
        said = own["msg"].removeprefix("Value error, ")
        got = _got(path, written) if said.startswith("must ") and ", got " not in said else ("", "")
        return Problem(key, "said", {"said": (said + got[0], _in_chinese(said) + got[1])})
    expected = [_expectation(one) for one in errors]
    english = " or ".join(dict.fromkeys(one[0] for one in expected))
    chinese = " 或 ".join(dict.fromkeys(one[1] for one in expected))
    # A space stands between Chinese and other letters.
    chinese = f" {chinese}" if chinese[0].isascii() else chinese
    return Problem(key, "must_be", {"expected": (english, chinese), "got": _got(path, written)})


def _in_chinese(said: str) -> str:
    """A validator's message in Chinese, where there is one."""
    chinese = next((chinese for english, chinese in VALIDATORS.items() if said.startswith(english)), said)
    got = said.partition(", got ")[2].replace("; did you mean ", "；是不是 ").replace("?", "？")
    return f"{chinese}，实际是 {got}" if got and chinese != said else chinese


def _expectation(error: Any) -> tuple[str, str]:
    context = error.get("ctx", {})
    if error["type"] == "literal_error":
        words = context["expected"].replace("'", '"')
        return words, words.replace(" or ", " 或 ").replace(", ", "、")
    english, chinese = EXPECTATIONS[error["type"]]
    limits = {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}
    return english.format(**limits), chinese.format(**limits)


def _got(path: Path, written: Any) -> tuple[str, str]:
    if SECRET & {*path}:
        return "", ""
    try:
        value = at(written, path)
    except KeyError:
        return "", ""
    if isinstance(value, str) and "${" in value:
        name = value[value.index("${") + 2 :].partition("}")[0].partition(":")[0]
        return f", got another value from ${{{name}}}", f"，而 ${{{name}}} 的值不是"
    english, chinese = shown_both(value)
    return f", got {english}", f"，实际是{chinese}"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a field's type holds, in lists, mappings and unions too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)


def section_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The section at `path`; names of providers and places in lists are passed over."""
    for part in path:
        if part in model.model_fields:
            inside = next(_models(model.model_fields[part].annotation), None)
            if inside is None:
                return None
            model = inside
    return model


def all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of the configuration, `<name>` standing for a name of the user's."""
    for name, declared in model.model_fields.items():
        yield prefix + name
        for inside in _models(declared.annotation):
            named = "<name>." if typing.get_origin(declared.annotation) is dict else ""
            yield from all_keys(inside, f"{prefix}{name}.{named}")


def each(found: Iterable[Problem], line: Callable[[Path], int | None]) -> list[Problem]:
    """The problems with their lines."""
    return [
        Problem(one.key, one.kind, one.values, one.line or (line(tuple(one.key.split("."))) if one.key else None))
        for one in found
    ]
