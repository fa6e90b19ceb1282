"""Measuring on the character bed, as most presets of routing by token do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from turnout.nn.presets._compare import Variant, compare
from turnout.systems.base import Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Bed, Trained

More = Callable[["Trained"], Mapping[str, float]]
"""Further columns of a trained model."""


def bed_of(run: Run, domains: int = 1) -> Bed:
    """The character bed of a run's folder."""
    from turnout.nn.beds import chars

    return chars.one_domain(run.data) if domains == 1 else chars.two_domains(run.data)


def first_layer(factory: Callable[[Any], Sequence[Any]]) -> Callable[[], Mapping[str, Any]]:
    """What builds a preset whose layers are alike: the first one of `factory` at the bed's size."""

    def build() -> Mapping[str, Any]:
        from turnout.nn.beds.model import Size

        return {"layer": factory(Size())[0]}

    return build


def trained(bed: Bed, factory: Callable[[Any], Sequence[Any]], more: More | None = None, **options: Any) -> Variant:
    """A variant that trains blocks of `factory`; `options` go to the bed's `train`."""

    def measure(seed: int) -> Mapping[str, float]:
        from turnout.nn.beds import chars

        return columns(chars.train(bed, factory, seed, **options), more)

    return measure


def reference(bed: Bed, name: str, more: More | None = None, times: int = 1) -> Variant:
    """A variant that is one of the bed's baselines, trained once per process, for so many times the usual steps."""

    def measure(seed: int) -> Mapping[str, float]:
        from turnout.nn.beds import chars

        return columns(chars.baseline(bed, name, seed, times), more)

    return measure


def columns(found: Trained, more: More | None = None) -> Mapping[str, float]:
    """What every table on this bed shows, and more."""
    always = {
        "val loss": found.loss,
        "experts a token": found.active,
        "max violation": found.violation,
        "dead experts": float(found.dead),
    }
    return {**always, **(more(found) if more else {})}


def on_chars(
    system: System,
    run: Run,
    bed: Bed,
    variants: Mapping[str, Variant],
    *,
    against: str,
    metric: str = "val loss",
    better: Literal["lower", "higher"] = "lower",
    within: Mapping[str, float] | None = None,
    says: str = "",
    times: int = 1,
) -> Figures:
    """The comparison, with the bed's protocol."""
    from turnout.nn.beds import chars

    size = bed.size
    protocol = (
        f"{size.layers} layers of width {size.width}, {chars.EXPERTS} experts of {chars.HIDDEN} hidden units where "
        f"nothing else is said, {times * chars.STEPS} steps of {chars.BATCH} × {size.context} characters; loss in nats "
        "a character on the last tenth"
    )
    return compare(
        system,
        run,
        variants,
        metric=metric,
        against=against,
        better=better,
        within=within,
        table=bed.name,
        protocol=f"{protocol}; {says}" if says else protocol,
    )
