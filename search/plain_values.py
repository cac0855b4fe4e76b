"""What parameters mean as plain values, without making and checking the trial's whole configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from trainers.config import TrialConfig


class PlainValues:
    """A trial's tables as `TrialConfig.to_dict` gives them, all but its schedule, for parameters.

    A sampler asks for them about 1,500 times a proposal: 2 us where a configuration takes 70 us. A value is checked
    and written as its own key does; what two keys must have in common is left to the configuration.

    Args:
        default: the trial that parameters change.
        sections: for every table of the trial that has parameters, their names.
    """

    def __init__(self, default: TrialConfig, sections: Mapping[str, tuple[str, ...]]) -> None:
        self._default = default.to_dict()
        self._adapters = {
            section: {key: _adapter(getattr(default, section), key) for key in keys}
            for section, keys in sections.items()
        }

    def of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The tables with these parameters; what is not among them is as in the default.

        Raises:
            ValueError: a value is none that its key may have.
        """
        changed = {
            section: {key: _plain(adapter, params[key]) for key, adapter in adapters.items() if key in params}
            for section, adapters in self._adapters.items()
        }
        return self._default | {section: self._default[section] | values for section, values in changed.items()}


def _adapter(table: BaseModel, key: str) -> TypeAdapter[Any]:
    return TypeAdapter(type(table).model_fields[key].rebuild_annotation())


def _plain(adapter: TypeAdapter[Any], value: Any) -> Any:
    return adapter.dump_python(adapter.validate_python(value), mode="json")
