"""`hydra.sweeper.custom_search_space=<file.py>:<function>`: a person's own code that adds to every sampled point.

Named on the command line only. Owns the import and the check of what the function returns; when it is called, and
what of its values is kept with a trial, is `asking`'s.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.abc import InspectLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from sweeper.checks import ConfigError, suggestion
from sweeper.config import VOLATILE, RunConfig
from sweeper.search.compose import refuse_targets
from sweeper.search.overrides import check_value_key

if TYPE_CHECKING:
    from optuna.trial import Trial

    from sweeper.search.space import Cell

KEY = "hydra.sweeper.custom_search_space"
NOT_OF_A_TRIAL = VOLATILE | {"seed"}  # of the sweep, or of a replicate


@dataclass(frozen=True)
class CustomSpace:
    """`define(trial: optuna.trial.Trial, config: dict) -> dict`: dotted key -> value, for this trial."""

    where: str  # as it was given
    digest: str  # sha256 of the file
    define: Callable[[Trial, dict[str, Any]], Any]

    def describe(self) -> list[str]:
        """The file may move."""
        return [self.where.rpartition(":")[2], self.digest]

    def overrides(self, trial: Trial, cell: Cell, config: RunConfig) -> dict[str, Any]:
        """What the function adds to a point. Raises ConfigError, and whatever the function raises."""
        returned = self.define(trial, config.to_dict())
        if not isinstance(returned, dict):
            raise ConfigError(KEY, self.where, f"must return a dictionary, not {type(returned).__name__}",
                              'return {"train.learning_rate": 1e-4}, say')  # fmt: skip
        for key, value in returned.items():
            self._check(key, value, cell)
        plain: dict[str, Any] = json.loads(json.dumps(returned))  # as a resumed trial gets it
        return plain

    def _check(self, key: object, value: object, cell: Cell) -> None:
        if not isinstance(key, str):
            raise ConfigError(KEY, self.where, f"returns the key {key!r}, which is no text")
        if key.partition(".")[0] in NOT_OF_A_TRIAL or "_target_" in key.split("."):
            raise ConfigError(key, value, "is not for a trial to set")
        check_value_key(key, value)
        if "." not in key:
            raise ConfigError(key, value, "is a group of keys, not a value", f"return a key below it: {key}.<key>")
        refuse_targets(value, f"{key}.")
        for axis in (*cell.design, *cell.search):
            if f"{axis}.".startswith(f"{key}.") or f"{key}.".startswith(f"{axis}."):
                raise ConfigError(key, value, f"{axis} is an axis of this sweep already", "leave one of them out")
        try:
            json.dumps(value)
        except TypeError as error:
            raise ConfigError(key, value, f"must be plain numbers, text, lists or dictionaries ({error})") from error


def load(where: str) -> CustomSpace:
    """Raises ConfigError for a file or function that is not there or cannot be imported."""
    file, colon, name = where.rpartition(":")
    if not (colon and file.endswith(".py") and name.isidentifier()):
        raise ConfigError(KEY, where, "is written <file.py>:<function>", "my_space.py:define, say")
    path = Path(file).expanduser()
    try:
        source = path.read_bytes()
    except OSError as error:
        near = suggestion(path.name, [other.name for other in path.parent.glob("*.py")])
        raise ConfigError(KEY, where, f"cannot be read ({error.strerror})", near) from error
    digest = hashlib.sha256(source).hexdigest()
    try:
        module = _imported(path, source, f"custom_search_space_{digest[:16]}")
    except (Exception, SystemExit) as error:
        raise ConfigError(KEY, where, f"cannot be imported ({one_line(error)})") from error
    define = getattr(module, name, None)
    functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
    if not callable(define):
        raise ConfigError(KEY, where, f"no function {name} in this file",
                          suggestion(name, functions) or f"it has: {', '.join(functions) or 'none'}")  # fmt: skip
    try:
        inspect.signature(define).bind(None, None)
    except TypeError as error:
        raise ConfigError(KEY, where, f"must take two arguments ({error})", f"def {name}(trial, config)") from error
    return CustomSpace(where, digest, define)


def one_line(error: BaseException) -> str:
    """A ConfigError's own line, else the kind of error and its first line."""
    if isinstance(error, ConfigError):
        return str(error)
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _imported(path: Path, source: bytes, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(path, source))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where a dataclass looks its own module up
    spec.loader.exec_module(module)
    return module


class _Source(InspectLoader):
    """The very bytes that were read, and no compiled file beside them: nothing is written before a sweep starts."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path, self.source = path, source

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.source)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.source, str(self.path))
