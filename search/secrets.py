"""What must not be told: passwords and tokens in text, in plain values, and in the environment of workers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"
_WORDS = r"secret|passw(?:or)?d|passphrase|credentials?|api_?key|access_?key(?:_id)?|private_?key"
_TOKEN = r"(?:[a-z0-9]+_)*(?:auth|access|api|bearer|refresh|session|tracking|hf|hub)_?token"  # noqa: S105 - a pattern
"""`token` alone and `num_tokens` are what this product prunes."""
SECRET_NAME = re.compile(rf"(?:\b|_)(?:{_WORDS})(?:\b|_)|\b{_TOKEN}\b|^token$", re.IGNORECASE)
"""Names of keys and variables whose values are never shown."""
SECRET_VARIABLE = re.compile(r"token|secret|passw|credential|api_?key|access_?key", re.IGNORECASE)
"""Names of environment variables whose values are looked for: any token's, as no variable counts tokens."""

_USER_INFO = re.compile(r"(?<=://)[^/\s@'\"]+@")
_NAMED = re.compile(
    rf"(?P<name>\b(?:[a-z0-9.-]+_)*(?:{_WORDS})(?:_[a-z0-9_]+)?[\"']?\s*[=:]\s*|\b{_TOKEN}[\"']?\s*[=:]\s*|\btoken=)"
    r"(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;&'\"}\])]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}")

DRIVER_ONLY = ("MLFLOW_", "DATABRICKS_", "PG")
"""How the variables begin by which MLflow, Databricks and PostgreSQL find their servers and passwords.

A worker opens neither the study nor the tracking server. What reads data or checkpoints (`AWS_...`, `HF_TOKEN`) stays.
"""


def redacted(text: str) -> str:
    """The text without the passwords of URLs, `password=...` and the like, and bearer tokens."""
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    text = _NAMED.sub(lambda found: f"{found['name']}{HIDDEN}", text)
    return _BEARER.sub(rf"\g<1>{HIDDEN}", text)


def redacted_values(values: Any) -> Any:
    """Plain values (tables, lists, texts) with the same left out, and with what keys of secret names hold."""
    if isinstance(values, Mapping):
        return {key: _redacted_value(str(key), value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [redacted_values(value) for value in values]
    return redacted(values) if isinstance(values, str) else values


def has_user_info(url: str) -> bool:
    """Whether a URL names a user, and maybe a password, before its host."""
    return _USER_INFO.search(url) is not None


def without_password(uri: str) -> str:
    """A URI as it may be shown: without user and password, and without options, which may hold them too."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc and not parts.query:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def is_driver_only(variable: str) -> bool:
    """Whether an environment variable is the driver's alone."""
    return variable.startswith(DRIVER_ONLY)


def _redacted_value(key: str, value: Any) -> Any:
    if SECRET_NAME.search(key) and isinstance(value, str) and value:
        return HIDDEN
    return redacted_values(value)
