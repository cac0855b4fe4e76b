"""Turns what pydantic found wrong into sentences for the author of an experiment file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from search.config_keys import known_keys, nearest_key
from search.latency_config import BUDGET_FORMS

MAX_VALUE_CHARS = 60
# Where a value may have one of several forms, pydantic adds the form's name to the place of the error.
RANGE_FORMS = ("IntRange", "FloatRange", "Choice")
SCALAR_FORMS = ("bool", "int", "float", "str")
RANGE_TABLES = ("search.space.losses.", "search.space.training.", "search.space.elastic.")
OF_A_RANGE = "; a range has `low`, `high`, `log` and `type`, or else `choices`."
RANGE_REQUIRED = "a range `{ low = .., high = .. }` or `{ choices = [..] }` was required"

REQUIRED = {
    "bool_parsing": "true or false was required",
    "bool_type": "true or false was required",
    "dict_type": "a table was required",
    "finite_number": "a finite number was required",
    "float_parsing": "a number was required",
    "float_type": "a number was required",
    "int_from_float": "a whole number was required",
    "int_parsing": "a whole number was required",
    "int_parsing_size": "a smaller whole number was required",
    "int_type": "a whole number was required",
    "model_attributes_type": "a table was required",
    "model_type": "a table was required",
    "path_type": "a path (text) was required",
    "string_type": "text was required",
    "string_unicode": "text was required",
    "tuple_type": "a list was required",
}
BOUNDS = {
    "greater_than": ("gt", "a number above {} was required"),
    "greater_than_equal": ("ge", "{} or more was required"),
    "less_than": ("lt", "a number below {} was required"),
    "less_than_equal": ("le", "at most {} was required"),
    "enum": ("expected", "{} was required"),
    "literal_error": ("expected", "{} was required"),
    "too_short": ("min_length", "at least {} value was required"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong: the dotted key and a sentence."""

    key: str
    text: str

    def __str__(self) -> str:
        return self.text


def explain(error: ValidationError) -> tuple[Problem, ...]:
    """Every problem once, in the order of the file's tables."""
    problems: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(_place(detail["loc"]), detail)
        problems.setdefault(problem.text, problem)
    return tuple(problems.values())


def _place(loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """The place as the author wrote it: without the names of forms. No key of the file is that deep and so called."""
    if loc[:1] == ("latency",):
        return tuple(part for depth, part in enumerate(loc) if depth != 2 or part not in BUDGET_FORMS)
    shortened = [part for depth, part in enumerate(loc) if depth < 3 or part not in RANGE_FORMS]
    if len(shortened) > 2 and shortened[-1] in SCALAR_FORMS:
        shortened.pop()
    return tuple(shortened)


def _problem(place: tuple[int | str, ...], detail: Mapping[str, Any]) -> Problem:
    key = dotted(place)
    match detail["type"]:
        case "extra_forbidden":
            return Problem(key=key, text=f"unknown key `{key}`{_suggestion(key)}")
        case "missing":
            return Problem(key=key, text=f"missing key `{key}`{_description(key)}")
        case "value_error":
            text = f"{str(detail['ctx']['error']).rstrip('.')}."
            return Problem(key=key, text=f"`{key}`: {text}" if key else text)  # no key where several tables disagree
        case _:
            got = _shown(detail["input"])
            return Problem(key=key, text=f"`{key}`: {_required(place, detail)}, but got {got}.")


def dotted(place: Iterable[int | str]) -> str:
    """`search.space.losses.ratio`, `pruning.blocks[2]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def _required(place: tuple[int | str, ...], detail: Mapping[str, Any]) -> str:
    kind, context = str(detail["type"]), detail.get("ctx", {})
    if place[:2] == ("search", "space") and len(place) > 2 and kind in {"model_type", "union_tag_not_found"}:
        return RANGE_REQUIRED
    if (place[:2] == ("model", "args") and len(place) > 2) or place[-2:-1] == ("choices",):
        return "a number, text, true or false was required"
    if kind in BOUNDS:
        name, text = BOUNDS[kind]
        return text.format(context[name])
    return REQUIRED.get(kind, "another value was required")


def _suggestion(key: str) -> str:
    if key.startswith(RANGE_TABLES) and key.count(".") == 4:
        return OF_A_RANGE
    nearest = nearest_key(key)
    if nearest is not None and key.startswith(f"{nearest}."):
        return f"; {_keys_of(nearest)}." if _has_keys(nearest) else OF_A_RANGE
    if nearest is not None:
        return f"; did you mean `{nearest}`?"
    tables = [known.name for known in known_keys() if known.is_table and "." not in known.name]
    return f"; the tables are {', '.join(f'`{table}`' for table in tables)}."


def _has_keys(table: str) -> bool:
    return any(known.name.startswith(f"{table}.") for known in known_keys())


def _keys_of(table: str) -> str:
    """The keys that a table has, where a misspelt one is like none of them."""
    names = [known.name.removeprefix(f"{table}.") for known in known_keys() if known.name.startswith(f"{table}.")]
    return f"[{table}] has {', '.join(f'`{name}`' for name in names if '.' not in name)}"


def _description(key: str) -> str:
    for known in known_keys():
        if known.name == key:
            return f" ({known.type}){': ' + known.description if known.description else '.'}"
    return "."


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of more than 4,300 digits cannot be printed
        return "a value too long to print"
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}..."
