"""The keys that an experiment file may hold: for the reference in `docs/` and for finding what a typo meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from search.config import ExperimentConfig

NUM_SUGGESTIONS_CUTOFF = 0.6
PLAIN_NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of the experiment file, by its dotted name."""

    name: str
    type: str
    default: str
    description: str
    is_table: bool

    @property
    def is_open(self) -> bool:
        """Whether keys may follow that are no keys by themselves: of a table with names of its own, or of a range."""
        return self.type.startswith("table of") or "{" in self.type


@cache
def known_keys() -> tuple[Key, ...]:
    """Every key, tables before the keys within them, in the order in which the configuration declares them."""
    return tuple(_keys_of(ExperimentConfig, ""))


def nearest_key(name: str) -> str | None:
    """The known key that a misspelt one most likely meant: same table first, then the same last part anywhere."""
    names = [key.name for key in known_keys()]
    table, _, leaf = name.rpartition(".")
    siblings = [known for known in names if known.rpartition(".")[0] == table]
    by_leaf = {known.rpartition(".")[2]: known for known in siblings}
    if close := difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=NUM_SUGGESTIONS_CUTOFF):
        return by_leaf[close[0]]
    same_leaf = [known for known in names if known.rpartition(".")[2] == leaf]
    if same_leaf:
        return same_leaf[0]
    close = difflib.get_close_matches(name, names, n=1, cutoff=NUM_SUGGESTIONS_CUTOFF)
    return close[0] if close else None


def type_text(annotation: object, metadata: Sequence[object] = ()) -> str:
    """A type in plain words, with its range: `whole number, 1 or more`."""
    bounds = _bounds(metadata)
    return ", ".join(part for part in (_type_name(annotation), bounds) if part)


def _keys_of(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, info in model.model_fields.items():
        dotted = f"{prefix}{name}"
        inner = _as_model(info.annotation)
        yield Key(
            name=dotted,
            type="table" if inner else type_text(info.annotation, info.metadata),
            default="" if inner else _default_text(info),
            description=(info.description or (_first_sentence(inner.__doc__) if inner else "")).strip(),
            is_table=inner is not None,
        )
        if inner:
            yield from _keys_of(inner, f"{dotted}.")


def _as_model(annotation: object) -> type[BaseModel] | None:
    """The model behind a field that is a table of the file. Ranges stay inline tables: they are values to a reader."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _first_sentence(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n", " ")


def _default_text(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    return _value_text(info.get_default(call_default_factory=True, validated_data={}))


def _value_text(value: object) -> str:
    match value:
        case None:
            return "absent"
        case Enum():
            return f"`{value.value}`"
        case tuple() if value:
            return ", ".join(_value_text(each) for each in value)
        case bool():
            return f"`{str(value).lower()}`"
        case Mapping() | str() | tuple() if not value:
            return "empty"
        case _:
            return f"`{value}`"


def _type_name(annotation: object) -> str:
    arguments = get_args(annotation)
    match get_origin(annotation):
        case None:
            return _class_name(annotation) if isinstance(annotation, type) else str(annotation)
        case origin if origin is Annotated:
            return type_text(arguments[0], _flat_metadata(arguments[1:]))
        case origin if origin is Literal:
            return " or ".join(f"`{value}`" for value in arguments)
        case origin if origin is tuple:
            return f"list of {_plural(_type_name(arguments[0]))}"
        case origin if origin is dict:
            return f"table of {_type_name(arguments[1])}"
        case _:
            return " or ".join(dict.fromkeys(_type_name(a) for a in arguments if a is not type(None)))


def _plural(name: str) -> str:
    if name.startswith(("{", "`")):
        return name
    kind, comma, bounds = name.partition(",")
    return (kind.replace("list", "lists", 1) if kind.startswith("list of") else f"{kind}s") + comma + bounds


def _class_name(annotation: type[Any]) -> str:
    if issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    if issubclass(annotation, BaseModel):
        return "{ " + ", ".join(annotation.model_fields) + " }"
    return PLAIN_NAMES.get(annotation, annotation.__name__)


def _flat_metadata(metadata: Sequence[object]) -> list[object]:
    flat: list[object] = []
    for item in metadata:
        flat.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    return flat


def _bounds(metadata: Sequence[object]) -> str:
    texts = {"ge": "{} or more", "gt": "above {}", "le": "at most {}", "lt": "below {}", "min_length": "at least {}"}
    found = [
        text.format(f"{getattr(item, name):g}")
        for item in metadata
        for name, text in texts.items()
        if getattr(item, name, None) is not None
    ]
    return ", ".join(found)
