"""What the keys of a condition (`when`) stand for: a config group, another axis, or a value of the config.

Owns the check of conditions against them. A condition over groups and fixed values is settled here, for one choice
of config groups; what hangs on other axes is left to cells and points.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType

from sweeper import peft_method
from sweeper.checks import ConfigError, suggestion
from sweeper.config import RunConfig
from sweeper.search import overrides as command_line
from sweeper.search.compose import Composition
from sweeper.search.conditions import PARAMS, is_among, ordered, required
from sweeper.search.space import SEED, Axis, Role, abbreviated
from sweeper.search.typed import value_of


@dataclass(frozen=True)
class Parents:
    loader: ConfigLoader
    composition: Composition
    fixed: Mapping[str, Any]  # single values that the config declares for a sweep
    axes: Mapping[str, Axis]  # config groups are none of them
    given: Collection[str]  # keys on the command line, whose values a condition in a file need not know

    def settled(self) -> list[Axis]:
        """Each axis after those of its condition, without the axes that this choice of groups rules out.

        Conditions over axes are then in those axes' own values. Raises ConfigError.
        """
        axes = {key: self._checked(axis) for key, axis in self.axes.items()}
        keys = ordered({key: axis.dimension for key, axis in axes.items()})
        left = without([axes[key] for key in keys], {key for key in keys if not self._can_hold(axes[key])})
        dimensions = {axis.key: axis.dimension for axis in left}
        for key in dimensions:
            for parent, values in required(key, dimensions).items():
                if not values:
                    raise ConfigError(f"{PARAMS}.{key}.when", parent, "no value of it meets every condition on the way")
        return left

    def _checked(self, axis: Axis) -> Axis:
        when = {key: self._own_values(axis, key, wanted) for key, wanted in axis.dimension.when.items()}
        return replace(axis, dimension=replace(axis.dimension, when=when))

    def _own_values(self, child: Axis, key: str, wanted: Sequence[Any]) -> tuple[Any, ...]:
        try:
            if command_line.is_group(key, self.loader):
                return tuple(check_choice(key, key, value, self.loader) for value in wanted)
            if key not in self.axes:
                return tuple(self._plain_value(key, value) for value in wanted)
            if child.role is Role.DESIGN and self.axes[key].role is not Role.DESIGN:
                raise ConfigError(key, wanted[0], "a design axis cannot hang on a searched value",
                                  f"make {key} a design axis: tag(design, choice(...))")  # fmt: skip
            return tuple(own for value in wanted for own in self._on_axis(self.axes[key], value))
        except ConfigError as error:
            where = f"{PARAMS}.{child.key}.when"
            raise ConfigError(where, f"{error.key}: {error.value}", error.rule, error.fix) from error

    def _plain_value(self, key: str, wanted: Any) -> Any:
        """As it is written, which is how a plan shows it."""
        if key == SEED:
            raise ConfigError(key, wanted, "seeds are replicates: nothing hangs on them")
        command_line.check_value_key(key, wanted)
        value_of(key, wanted, RunConfig)
        peft_key = key.removeprefix("peft.").partition(".")[0]
        if key.startswith("peft.") and peft_key not in peft_method.every_key():
            raise peft_method.unknown_key(self.composition.tree.get("peft", {}), peft_key, wanted)
        if key not in self.fixed and self.composition.follows(key):
            raise ConfigError(key, wanted, "follows other keys by an interpolation", "name one of those keys")
        return wanted

    def _on_axis(self, axis: Axis, wanted: Any) -> list[Any]:
        """The value of the axis that equals the wanted one; none where the command line left it out."""
        found = _values_on(axis, wanted)
        if not found and axis.key not in self.given:
            names = [str(choice) for choice in axis.dimension.choices]
            shown = abbreviated(names) if names else str(replace(axis.dimension, when={}))
            raise ConfigError(axis.key, wanted, f"not a value of that axis ({shown})", suggestion(str(wanted), names))
        return found

    def _can_hold(self, axis: Axis) -> bool:
        """As far as groups, fixed values and the command line go."""
        return all(bool(allowed) if key in self.axes else self._has(key, allowed)
                   for key, allowed in axis.dimension.when.items())  # fmt: skip

    def _has(self, key: str, allowed: Sequence[Any]) -> bool:
        if command_line.is_group(key, self.loader):
            return self.composition.choices.get(key) in allowed
        value = self.fixed[key] if key in self.fixed else self.composition.value(key)
        return is_among(value_of(key, value, RunConfig), [value_of(key, item, RunConfig) for item in allowed])


def check_choice(key: str, group: str, wanted: Any, loader: ConfigLoader) -> str:
    """Raises ConfigError under `key` for a choice that the group does not have."""
    options = loader.get_group_options(group, ObjectType.CONFIG)
    if str(wanted) not in options:
        raise ConfigError(key, wanted, "no such choice", suggestion(str(wanted), options)
                          or f"choices: {', '.join(options)}")  # fmt: skip
    return str(wanted)


def without(axes: Sequence[Axis], absent: set[str]) -> list[Axis]:
    """The axes less those that are absent, and less all that is conditional on one that is absent."""
    left = [axis for axis in axes if axis.key not in absent and not absent & axis.dimension.when.keys()]
    gone = {axis.key for axis in axes} - {axis.key for axis in left}
    return without(left, gone) if gone else left


def _values_on(axis: Axis, wanted: Any) -> list[Any]:
    """The value of the axis that equals the wanted one once both have the key's type, or none."""
    if not axis.dimension.is_finite:
        raise ConfigError(axis.key, wanted, "an interval has no single values to be equal to",
                          "list its values: choice(...), or range(...)")  # fmt: skip
    if not axis.dimension.choices and wanted in axis.dimension:
        return [int(wanted) if axis.dimension.integer else float(wanted)]
    typed = value_of(axis.key, wanted, RunConfig)
    return [choice for choice in axis.dimension.choices if is_among(typed, [value_of(axis.key, choice, RunConfig)])]
