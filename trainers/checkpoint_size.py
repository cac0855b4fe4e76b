"""How large a trial's checkpoints are, before there is one."""

from __future__ import annotations

from trainers.build import build_model
from trainers.config import TrialConfig
from trainers.optim import make_optimizer

NUM_MOMENTS = 2
"""Values that AdamW keeps beside each parameter that it trains."""


def checkpoint_bytes(config: TrialConfig) -> int:
    """Bytes of one checkpoint of a trial but for its small files, at the end of the training.

    Raises:
        ConfigError: the model cannot be made.
    """
    own = config.model.model_copy(update={"checkpoint": None, "pretrained": False})  # other values, as many of them
    model = build_model(config.model_copy(update={"model": own, "start": None}))
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    groups = make_optimizer(model, config.training).param_groups
    trained = sum(parameter.nbytes for group in groups for parameter in group["params"])
    num_copies = 1 if config.training.ema_decay is None else 2
    return int(num_copies * weights + NUM_MOMENTS * trained)
