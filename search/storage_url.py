"""What a URL of a study's storage may be. Pure: no database is asked, none of its packages imported."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

SCHEMES = ("sqlite", "postgresql")
SECRETS = frozenset({"password", "passwd", "passfile", "sslpassword"})


def check_storage_url(url: str) -> None:
    """Refuses what is no storage, and passwords: an experiment is copied into the study, MLflow and reports.

    Raises:
        ValueError: saying what is wrong with it, without its text: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None
    except ValueError:
        raise ValueError("a storage's URL such as postgresql://USER@HOST/DATABASE was required") from None
    if has_password or SECRETS & {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}:
        raise ValueError(
            "a storage's URL must hold no password, since experiments are copied into reports and tracking; put it in "
            "the environment (PGPASSWORD) or in ~/.pgpass"
        )
    scheme = parts.scheme.partition("+")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"{' or '.join(f'{name}://...' for name in SCHEMES)} was required, but got {scheme!r}")
