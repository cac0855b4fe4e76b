"""`--set key=value`: changes to an experiment that are made on the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from search.config_keys import known_keys, nearest_key
from spvit.errors import ConfigError


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values with each override put in, or its key taken away; the given ones are left as they are.

    Raises:
        ConfigError: an override is not `key=value`, leads through a key that is no table, or takes away what nobody
            knows.
    """
    result = _copied(values)
    for override in overrides:
        key, value = parse_override(override)
        if value is None:
            _take_away(result, key, override)
        else:
            _put(result, key, value, override)
    return result


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """The key's parts and the value of `training.epochs=5`; None where nothing follows the `=`, as TOML has no null.

    A value that is no TOML is taken as text.

    Raises:
        ConfigError: there is no `=`, or a part of the key is empty.
    """
    key, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not equals or not all(parts):
        raise ConfigError(f"--set: `key=value` was required, such as `training.epochs=5`, but got {text!r}.")
    return parts, _parsed_value(value.strip()) if value.strip() else None


def _parsed_value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if set(document) == {"value"} else text


def _put(values: dict[str, Any], key: tuple[str, ...], value: object, override: str) -> None:
    table = values
    for depth, part in enumerate(key[:-1], start=1):
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: `{'.'.join(key[:depth])}` is a value, not a table of keys.")
        table = inner
    table[key[-1]] = value


def _take_away(values: dict[str, Any], key: tuple[str, ...], override: str) -> None:
    """A known key may be absent already: the same command line then serves several files."""
    table: Any = values
    for part in key[:-1]:
        table = table.get(part) if isinstance(table, dict) else None
    name = ".".join(key)
    if isinstance(table, dict) and key[-1] in table:
        del table[key[-1]]
    elif not _is_key(name):
        nearest = nearest_key(name)
        hint = f"; did you mean `{nearest}`?" if nearest else "."
        raise ConfigError(f"--set {override}: there is no key `{name}` that could be taken away{hint}")


def _is_key(name: str) -> bool:
    """Whether a file may have it: known by name, or of a table of free keys, or of a range."""
    return any(known.name == name or (known.is_open and name.startswith(f"{known.name}.")) for known in known_keys())


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in values.items()}
