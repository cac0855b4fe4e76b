"""The packages that writing and running ONNX need, which are an extra of this product."""

from __future__ import annotations

from spvit.errors import ConfigError
from spvit.wording import install_hint


def require_onnx(lacking: str, *, otherwise: str) -> None:
    """Import them.

    Args:
        lacking: what cannot be without them, with `{package}` for the one that is missing.
        otherwise: what can be done instead.

    Raises:
        ConfigError: one is missing; says how to install it.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{lacking.format(package=error.name)}. Install it with {install_hint('onnxruntime')}, or {otherwise}."
        ) from error
