"""Hugging Face models and checkpoints: layouts, an experts backend, layers in a model, its Trainer, local weights.

`transformers` is imported where it is used; the extra `nn-hub` installs it.
"""

from turnout.nn.hub.backend import register
from turnout.nn.hub.checkpoints import load_checkpoint, save_checkpoint
from turnout.nn.hub.layouts import layer_of, state_of
from turnout.nn.hub.local import load_local
from turnout.nn.hub.models import Upcycled, find_moe, replace_moe, restore_moe, upcycle
from turnout.nn.hub.training import routed_trainer
from turnout.nn.hub.watching import watch

__all__ = [
    "Upcycled",
    "find_moe",
    "layer_of",
    "load_checkpoint",
    "load_local",
    "register",
    "replace_moe",
    "restore_moe",
    "routed_trainer",
    "save_checkpoint",
    "state_of",
    "upcycle",
    "watch",
]
