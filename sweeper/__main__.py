"""`python -m sweeper`: the command line. Compose, check, then run, sweep, plan or explain.

Owns what a person meets first: help, plans, and errors of one line (key, value, rule, fix; exit code 2).
`--debug`, or HYDRA_FULL_ERROR=1 in the environment, shows the traceback instead.
"""

from __future__ import annotations

import argparse
import os
import select
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import yaml
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf.errors import OmegaConfBaseException

from sweeper.checks import ConfigError, suggestion
from sweeper.config import RunConfig
from sweeper.search import overrides as command_line
from sweeper.search.command import CONFIG_NAME, read_command
from sweeper.search.compose import read_composition, register_schema
from sweeper.search.drift import Drift, begin
from sweeper.search.plan import plan_text
from sweeper.search.record import Command
from sweeper.search.scales import scaled
from sweeper.search.study import Sweep
from sweeper.tracking.damage import refusal
from sweeper.tracking.redaction import Redactor

FAILED, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141  # exit codes
FIRST_SIGNAL = 128  # an exit code from here on says by which signal the command was stopped
MAX_MESSAGE = 600  # characters of an error's line
REFUSED_FLAGS = ("experimental_rerun", "config_path", "config_name")  # a pickle; another application's files


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 when a run failed, 2 for bad input, 128 + signal when stopped."""
    return in_one_line(list(sys.argv[1:] if argv is None else argv), command)


def in_one_line(arguments: Sequence[str], application: Callable[[list[str]], int]) -> int:
    """The application's exit code, or that of the error that it ended in, told in one line."""
    debug = "--debug" in arguments or os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        exit_code = application([argument for argument in arguments if argument != "--debug"])
        sys.stdout.flush()
        return exit_code
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        if not _reader_has_left():
            raise  # a pipe between our own processes
        return PIPE_CLOSED
    except (ConfigError, HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        if debug:
            raise
        redactor = Redactor.from_environment()
        for line in error.changes if isinstance(error, Drift) else ():
            print(redactor.text(line), file=sys.stderr)
        print(f"error: {_shortened(redactor.text(one_line(error)))}", file=sys.stderr)
        return BAD_INPUT
    except Exception as error:
        if debug or (refused := refusal(error)) is None:
            raise
        kept = "what is done is kept, the same command goes on once that is mended"
        print(f"error: {_shortened(Redactor.from_environment().text(refused))}; {kept}", file=sys.stderr)
        return FAILED


def execute(given: Command, sweep: Sweep) -> int:
    """The checked sweep, planned or run; its exit code."""
    if sweep.base.plan:
        from sweeper.launch.forecast import forecast_text

        print(f"{plan_text(sweep)}\n\n{forecast_text(sweep)}")
        return 0
    if not sweep.is_single:
        for line in begin(sweep, given):
            print(line)
    from sweeper.launch import start

    exit_code = start.run(sweep)
    if exit_code >= FIRST_SIGNAL:  # which may have come in the middle of an import: nothing more is begun
        return exit_code
    if sweep.run_ids or sweep.num_finished:
        _show_results(sweep)
    return exit_code


def one_line(error: Exception) -> str:
    """What a person reads of an error of Hydra, OmegaConf, YAML or ours."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: not YAML ({error.problem})"
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    causes = [error, *([error.__cause__] if error.__cause__ is not None else [])]
    parts = [" ".join(str(cause).split()) for cause in causes]
    return ": ".join(dict.fromkeys(part for part in parts if part)) or type(error).__name__


def command(arguments: list[str], *, resumes: str | None = None) -> int:
    """`resumes`: id of the sweep that the command is known to have begun."""
    version.setbase("1.3")
    parser = _Parser.of_hydra()
    args = parser.parse_intermixed_args(arguments)  # flags may stand between overrides
    for flag in REFUSED_FLAGS:
        if getattr(args, flag) is not None:
            name = f"--{flag.replace('_', '-')}"
            raise ConfigError(
                name, getattr(args, flag), "not supported here", "--config-dir adds a folder of YAML files"
            )
    hydra = open_hydra(args.config_dir)
    loader = hydra.config_loader
    if args.hydra_help:
        hydra.hydra_help(config_name=CONFIG_NAME, args_parser=parser, args=args)
        return 0
    if args.shell_completion:
        hydra.shell_completion(config_name=CONFIG_NAME, overrides=args.overrides)
        return 0
    if args.cfg and args.multirun:
        raise ConfigError("--cfg", args.cfg, "shows the config of one run", "leave out -m; plan=true shows a sweep")
    given = command_line.parse(args.overrides, loader)
    command_line.check(given, loader, is_sweep=args.multirun)
    given = scaled(given, loader, config_name=CONFIG_NAME)
    command_line.check(given, loader, is_sweep=args.multirun)
    run = partial(execute, Command(tuple(args.overrides), args.config_dir, resumes))
    args.overrides = command_line.settled(given)
    if _explain(hydra, parser, args):
        return 0
    if args.multirun:
        return _sweep(hydra, args.overrides, run)
    return run(read_command(args.overrides, loader, is_sweep=False))


def _sweep(hydra: Hydra, overrides: list[str], run: Callable[[Sweep], int]) -> int:
    """Through Hydra's plugin; its own multirun would set up logging, callbacks and folders first."""
    loader = hydra.config_loader
    config = loader.load_configuration(CONFIG_NAME, overrides, run_mode=RunMode.MULTIRUN)
    read_composition(config)  # refuses what must not be instantiated, before the sweeper is
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    sweeper = Plugins.instance().instantiate_sweeper(config=config, hydra_context=context, task_function=run)
    exit_code: int = sweeper.sweep([str(line) for line in config.hydra.overrides.task])
    return exit_code


def _explain(hydra: Hydra, parser: argparse.ArgumentParser, args: argparse.Namespace) -> bool:
    """Whether the command only asked for something to be shown."""
    if args.help:
        hydra.app_help(config_name=CONFIG_NAME, args_parser=parser, args=args)
    elif args.cfg:
        hydra.show_cfg(CONFIG_NAME, args.overrides, cfg_type=args.cfg, package=args.package, resolve=args.resolve)
    elif args.info:
        hydra.show_info(args.info, config_name=CONFIG_NAME, overrides=args.overrides)
    else:
        return False
    return True


def open_hydra(config_dir: str | None) -> Hydra:
    """Raises ConfigError where `--config-dir` is no folder."""
    register_schema()
    GlobalHydra.instance().clear()
    search_path = create_config_search_path(str(conf_folder()))
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError("--config-dir", config_dir, "no such folder")
        where = SearchPathQuery(provider="schema")
        search_path.prepend("command-line", f"file://{Path(config_dir).resolve()}", anchor=where)
    return Hydra.create_main_hydra2("sweeper", search_path)


def conf_folder() -> Path:
    """`conf/` inside the package where it is installed, beside it in a clone."""
    package = Path(__file__).resolve().parent
    folders = [package / "conf", package.parent / "conf"]
    return next(folder for folder in folders if (folder / f"{CONFIG_NAME}.yaml").is_file())


class _Parser(argparse.ArgumentParser):
    """Hydra's flags, with errors of one line."""

    @classmethod
    def of_hydra(cls) -> _Parser:
        parser = get_args_parser()
        parser.__class__ = cls
        assert isinstance(parser, cls)
        return parser

    def error(self, message: str) -> NoReturn:
        wrong = message.removeprefix("unrecognized arguments: ")
        flags = [flag for action in self._actions for flag in action.option_strings] + ["--debug"]
        fix = suggestion(wrong.split()[0], flags) or "`python -m sweeper --help` shows the command line"
        if wrong != message:
            raise ConfigError("command line", wrong, "unknown flag", fix)
        raise ConfigError("command line", message, "cannot be read", fix)


def _show_results(sweep: Sweep) -> None:
    """The table of what was just run, and the way to the rest."""
    from analysis import pareto, table
    from analysis.load import BadArgument, NothingToShow
    from analysis.ped_anova import MIN_TRIALS
    from sweeper.tracking.mlflow_database import default_uri

    database = sweep.base.tracking_uri or default_uri(Path(sweep.base.output_dir))
    which = {"run_id": sweep.run_ids[0]} if sweep.is_single else {"sweep_id": sweep.sweep_id}
    redactor = Redactor.from_environment()
    try:
        table.print_table(database, **which)
        if not sweep.is_single and len(sweep.objectives) > 1:
            pareto.table_of(database, sweep_id=sweep.sweep_id)
        if not sweep.is_single and sweep.num_trials >= MIN_TRIALS:
            _point_to_importances(sweep)
    except Exception as error:  # the runs are done, whatever MLflow's server says
        is_mlflows = type(error).__module__ == "mlflow.exceptions"  # which only `analysis` imports, with its settings
        if not is_mlflows and not isinstance(error, NothingToShow | BadArgument):
            raise
        print(f"no table: {_shortened(redactor.text(str(error)))}", file=sys.stderr)
    is_default = database == default_uri(Path(RunConfig().output_dir))
    command = "make ui" if is_default else f"mlflow ui --host 127.0.0.1 --backend-store-uri {database}"
    if database.startswith(("http://", "https://")):
        command = f"open {redactor.text(database)}"
    print(f"MLflow's pages, with curves, predictions and pictures: {command}")


def _point_to_importances(sweep: Sweep) -> None:
    if any(sweep.num_points(cell) > 1 for cell in sweep.space.cells):
        places = {"output_dir": sweep.base.output_dir, "tracking_uri": sweep.base.tracking_uri}
        given = [f"{key}={value}" for key, value in places.items() if value != getattr(RunConfig(), key)]
        words = [f"task={sweep.base.task.name}", f"sweep={sweep.sweep_id}", *given]
        command = Redactor.from_environment().text(shlex.join(["python", "-m", "analysis.importances", *words]))
        print(f"which hyperparameters mattered: {command}")


def _reader_has_left() -> bool:
    """Whether nobody reads what is printed (`| head`); what is still buffered then goes nowhere."""
    broken = [stream.fileno() for stream in (sys.stdout, sys.stderr) if _is_broken(stream.fileno())]
    for descriptor in broken:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return bool(broken)


def _is_broken(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]} ..."


if __name__ == "__main__":
    sys.exit(main())
