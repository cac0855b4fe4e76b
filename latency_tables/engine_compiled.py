"""`torch.compile` as an engine: every transformer block by itself, once for all numbers of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latency_tables.clock import Work
from latency_tables.engine import EagerEngine, Inputs, Model
from spvit.compiling import blocks_within, check_compiler

# Beyond torch's own limit of 8 translations of one function a block would silently run uncompiled: levels of different
# widths, with and without a batch of one, each take one or two.
_MAX_TRANSLATIONS = 64


class CompiledEngine(EagerEngine):
    """Blocks are compiled in place; what is between them (stem, selectors, head) runs as it is.

    So does the last block of a pruned model, which computes its prefix tokens alone (`spvit.last_block`).
    """

    def check(self, device: torch.device) -> None:
        """See `Engine.check`."""
        check_compiler(device, asked='latency.runtime = "compiled"', instead='latency.runtime = "eager"')

    def adopt(self, backbone: nn.Module) -> None:
        """Have every block compiled at its first call.

        Raises:
            ConfigError: torch cannot compile here.
        """
        self.check(next(backbone.parameters()).device)
        for block in blocks_within(backbone):
            if block._compiled_call_impl is None:  # else another model that has this block had it compiled
                block.compile(dynamic=True, recompile_limit=_MAX_TRANSLATIONS)

    def work(self, modules: Sequence[nn.Module], inputs: Inputs, *, any_num_tokens: bool = False) -> Work:
        """See `Engine.work`; compiles now."""
        work = super().work(modules, inputs, any_num_tokens=any_num_tokens)
        for _ in modules:
            work()
        return work

    def model(self, model: nn.Module, example: Tensor) -> Model:
        """See `Engine.model`; compiles now, in place."""
        self.adopt(model)
        model(example)
        return model
