"""`spvit-search backbones`: which models can be pruned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from search.commands.options import epilog, json_option
from search.commands.output import columns, emit
from spvit.families import FAMILIES
from spvit.registry import Family


@click.command("backbones", epilog=epilog("spvit-search backbones"))
@json_option
def command(*, as_json: bool) -> None:
    """List the kinds of models that can be pruned, what each was tested with, and which cannot be pruned and why.

    Names are those of model.name; more names of timm belong to a kind than the examples. A model of timm that is of
    no listed kind can be pruned if it is one of timm's plain vision transformers.
    """
    supported = [family for family in FAMILIES if family.is_supported]
    refused = [family for family in FAMILIES if not family.is_supported]
    document = {"supported": list(map(_supported, supported)), "refused": list(map(_refused, refused))}
    emit(document, lambda: _text(supported, refused), as_json=as_json)


def _supported(family: Family) -> dict[str, Any]:
    return {
        "family": family.name,
        "examples": family.examples,
        "pooling": family.pooling,
        "special": family.special,
        "tested_with": family.tested_with,
    }


def _refused(family: Family) -> dict[str, Any]:
    return {"family": family.name, "examples": family.examples, "reason": family.refusal}


def _text(supported: list[Family], refused: list[Family]) -> str:
    lines = ["Can be pruned:", columns([["family", "examples", "logits from"], *map(_row, supported)])]
    lines += ["", "What is particular:"]
    lines += [f"  {family.name}: {family.special}" for family in supported if family.special]
    lines += ["", "Each example was tested, as a small model, with:", *_tests(supported)]
    lines += ["", "Cannot be pruned:"]
    lines += [f"  {family.name} ({', '.join(family.examples)}) {family.refusal}" for family in refused]
    return "\n".join(lines)


def _row(family: Family) -> list[str]:
    return [family.name, ", ".join(family.examples), str(family.pooling)]


def _tests(families: list[Family]) -> Iterator[str]:
    """A line for each set of checks, with the families that passed it."""
    for checks in dict.fromkeys(family.tested_with for family in families):
        names = [family.name for family in families if family.tested_with == checks]
        yield f"  {', '.join(checks)}: {'all' if len(names) == len(families) else ', '.join(names)}"
