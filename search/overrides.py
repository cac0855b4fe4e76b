"""`--set key=value`: changes to an experiment that are made on the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from spvit.errors import ConfigError


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values with each override put in; the given ones are left as they are.

    Raises:
        ConfigError: an override is not `key=value`, or leads through a key that is no table.
    """
    result = _copied(values)
    for override in overrides:
        key, value = parse_override(override)
        _put(result, key, value, override)
    return result


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """The key's parts and the value of `training.epochs=5`. A value that is no TOML is taken as text.

    Raises:
        ConfigError: there is no `=`, or a part of the key is empty.
    """
    key, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not equals or not all(parts):
        raise ConfigError(f"--set: `key=value` was required, such as `training.epochs=5`, but got {text!r}.")
    return parts, _parsed_value(value.strip())


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


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in values.items()}
