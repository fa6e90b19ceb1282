"""transformers' Trainer for models with routed layers or adapters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from turnout.errors import RoutingError
from turnout.nn.layer import OutputOnly, losses, update_biases


def routed_trainer(trainer: type[Any], names: Collection[str] | None = None) -> type[Any]:
    """A subclass of `transformers.Trainer` (or of a subclass of it) that trains routed layers and adapters too.

    In training the balancing losses of these names (None: all that a pass gives) are added to the model's own, weighed
    as one mean over a step's micro-batches, and their means (of the process that logs) are logged under their names; an
    evaluation's loss stays the model's own. After each optimizer step, not after each micro-batch, biases and what else
    moves beside the optimizer move once; before each, layers are told its number, which schedules go by. Everything
    else is the Trainer's: its checkpoints hold the whole model with its adapters, `adapters.save` writes those alone.

    Raises RoutingError for a name that no balancer gives, for balancing losses under reentrant activation
    checkpointing, which would leave them without gradients, and where the Trainer would split batches over several
    GPUs of one process, whose copies of the model count for themselves; start one process for each GPU instead.
    Limits: give `remove_unused_columns=False` where rows hold `task_ids`; DeepSpeed was not tried.

    >>> from transformers import Trainer, TrainingArguments
    >>> routed_trainer(Trainer).__name__
    'RoutedTrainer'
    """

    class RoutedTrainer(trainer):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if self.args.n_gpu > 1:
                said = f"{self.args.n_gpu} GPUs in one process would train copies whose routing counts are lost"
                raise RoutingError(f"{said}; start one process for each, as with torchrun")
            self._balance: dict[str, list[Tensor]] = {}
            self.add_callback(_steps())

        def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
            if model.training:
                share = self._share(kwargs.get("num_items_in_batch"))
                found = _named(losses(model), names)
                if found:
                    _refuse_reentrant(self.args)
                for name, value in found.items():
                    loss = loss + value * share
                    self._balance.setdefault(name, []).append(value.detach())
            return (loss, outputs) if return_outputs else loss

        def _share(self, items: Any) -> float:
            """What a micro-batch's mean is multiplied by: 1 where the Trainer itself divides by their number later."""
            scaled = getattr(self, "loss_is_scaled_for_ga", None)
            if scaled is None:
                scaled = (self.model_accepts_loss_kwargs and items is not None) or self.compute_loss_func is not None
            return 1 / self.current_gradient_accumulation_steps if scaled else 1.0

        def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
            if "loss" in logs:
                logs = {**logs, **{name: float(sum(each)) / len(each) for name, each in self._balance.items()}}
                self._balance = {}
            super().log(logs, *args, **kwargs)

    return RoutedTrainer


def _steps() -> Any:
    """A callback around each optimizer step."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            for module in model.modules():
                if isinstance(module, OutputOnly):
                    module.context = replace(module.context, step=state.global_step)

        def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            update_biases(model)

    return Steps()


def _refuse_reentrant(arguments: Any) -> None:
    name = next(name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(arguments, name))
    if getattr(arguments, name) and (getattr(arguments, f"{name}_kwargs") or {}).get("use_reentrant"):
        said = "balancing losses get no gradient under reentrant activation checkpointing"
        raise RoutingError(f'{said}; set {name}_kwargs={{"use_reentrant": False}}')


def _named(found: Mapping[str, Tensor], names: Collection[str] | None) -> Mapping[str, Tensor]:
    if names is None:
        return found
    if unknown := sorted(set(names) - set(found)):
        given = ", ".join(sorted(found)) or "none"
        raise RoutingError(f"no balancer of the model gives the loss {unknown[0]!r}; its last pass gave {given}")
    return {name: found[name] for name in names}
