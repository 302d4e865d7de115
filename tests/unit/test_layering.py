"""The shape of the code base as rules: who may import whom, what must stay light, how long a thing may get.

Every rule names its offenders as `file:line`. The second half shows each rule an offender, so that none of them
passes only because it sees nothing.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Highest first: a module imports only its own unit and units of lower layers. Units of one layer are strangers.
LAYERS = (
    {"sweeper.resume", "sweeper.predict", "sweeper.publish", "sweeper.serving", "tasks.prepare", "tasks.documents"},
    {"sweeper.__main__", "sweeper.plugin", "hydra_plugins"},
    {"sweeper.launch"},
    {"sweeper.search"},
    {"sweeper.training"},
    {"sweeper.tracking", "sweeper.mini", "tasks"},
    {"sweeper.peft_method", "sweeper.optimizer_names", "sweeper.classical_options", "sweeper.model_digest"},
    {"sweeper.config"},
    {"sweeper.train_config", "sweeper.task_config", "sweeper.metrics"},
    {"sweeper.arguments", "sweeper.hub_upload"},
    {"sweeper.checks", "sweeper.atomic_json"},
)
LAYER_OF = {unit: number for number, units in enumerate(LAYERS) for unit in units}
COMMANDS_OF_TASKS = {"tasks.prepare", "tasks.documents"}  # compose a config, load a model: units of their own
ANALYSIS_MAY_IMPORT = {"analysis", "sweeper.metrics"}

# `--help`, a config error and a plan answer in about a second, so these modules load none of those at import.
LIGHT_UNITS = {"sweeper.__main__", "sweeper.resume", "sweeper.predict", "sweeper.publish", "sweeper.serving",
               "sweeper.arguments", "sweeper.hub_upload", "tasks.prepare", "tasks.documents", "sweeper.plugin",
               "hydra_plugins", "sweeper.search", "sweeper.config", "sweeper.train_config", "sweeper.task_config",
               "sweeper.checks", "sweeper.metrics", "sweeper.peft_method", "sweeper.optimizer_names",
               "sweeper.classical_options", "sweeper.model_digest", "sweeper.atomic_json"}  # fmt: skip
HEAVY = {"torch", "transformers", "peft", "mlflow", "accelerate", "bitsandbytes", "datasets"}
NEVER_IN_TASKS = {"torch", "transformers"}  # a task is text and tables; its tokenizer is passed in

LOADED_BY_NAME = {"pyarrow", "cmaes", "scipy"}  # by pandas, Optuna's samplers

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 45
MAX_PARAMETERS = 6
CATCH_ALL = re.compile(r"(^|_)(utils?|common|helpers?|managers?|misc)$")
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
SILENT = {
    "transformers.Trainer": "brings MLflowCallback; there is one loop: sweeper/training/loop.py",
    "transformers.MLflowCallback": "drops parameters without a word: sweeper/tracking/mlflow_view.py",
    "mlflow.transformers": "reloads an adapter on random weights: log the PEFT folder as an artifact",
}
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(work|root|home|Users|tmp|opt|mnt|farm)/\w")


@dataclass(frozen=True)
class Module:
    name: str  # dotted
    path: Path
    tree: ast.Module

    @property
    def unit(self) -> str:
        """The part of the layering that the module belongs to: `sweeper.search`, `tasks`, `analysis`."""
        return unit_of(self.name)

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"


@dataclass(frozen=True)
class Import:
    target: str  # dotted; for `from a import b` it is `a.b`, which may be a name inside `a`
    line: int
    late: bool  # inside a function: run when called, not at import


Rule = Callable[[Module], Iterator[str]]


def unit_of(dotted: str) -> str:
    parts = dotted.split(".")
    two = ".".join(parts[:2])
    return two if parts[0] == "sweeper" or two in COMMANDS_OF_TASKS else parts[0]


def read_modules(root: Path) -> list[Module]:
    paths = sorted(path for package in ("sweeper", "tasks", "analysis") for path in (root / package).rglob("*.py"))
    return [
        Module(dotted_name(path.relative_to(root)), path.relative_to(root), ast.parse(path.read_text("utf-8")))
        for path in paths
    ]


def dotted_name(relative: Path) -> str:
    parts = list(relative.with_suffix("").parts)
    if parts[:3] == ["sweeper", "plugin", "hydra_plugins"]:
        parts = parts[2:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(module: Module) -> list[Import]:
    """Every import that runs; what only a type checker reads is left out."""
    return list(_imports(module.tree, module, late=False))


def _imports(node: ast.AST, module: Module, *, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = absolute(child, module)
            yield from (Import(f"{base}.{alias.name}", child.lineno, late) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(other, module, late=late)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(child, module, late=late or inside)


def absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    is_package = module.path.name == "__init__.py"
    package = module.name.split(".")[: len(module.name.split(".")) - node.level + is_package]
    return ".".join([*package, *filter(None, [node.module])])


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def imports_point_down(module: Module) -> Iterator[str]:
    if module.unit in ("analysis", "sweeper"):
        return
    if module.unit not in LAYER_OF:
        yield f"{module.at(1)} {module.unit} has no layer yet: give it one in LAYERS"
        return
    for item in imports(module):
        target = unit_of(item.target)
        if target == module.unit or target not in LAYER_OF:
            if target == "analysis" and module.unit != "sweeper.__main__":  # it prints the table at the end
                yield f"{module.at(item.line)} {module.unit} imports analysis, which only reads results"
        elif LAYER_OF[target] <= LAYER_OF[module.unit]:
            yield f"{module.at(item.line)} {module.unit} imports {item.target}, which does not lie below it"


def analysis_imports_only_metrics(module: Module) -> Iterator[str]:
    if module.unit == "analysis":
        for item in imports(module):
            ours = item.target.split(".")[0] in ("sweeper", "tasks", "hydra_plugins")
            if ours and unit_of(item.target) not in ANALYSIS_MAY_IMPORT:
                yield f"{module.at(item.line)} analysis imports {item.target}; it may import sweeper.metrics only"


def light_modules_import_nothing_heavy(module: Module) -> Iterator[str]:
    for item in imports(module):
        top = item.target.split(".")[0]
        if module.unit in LIGHT_UNITS and not item.late and top in HEAVY:
            yield f"{module.at(item.line)} {module.name} imports {top} when it is imported; import it where it is used"
        if module.unit == "tasks" and top in NEVER_IN_TASKS:
            yield f"{module.at(item.line)} {module.name} imports {top}; a task works on text and tables"


def files_stay_short(module: Module) -> Iterator[str]:
    lines = len((ROOT / module.path).read_text("utf-8").splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{module.at(lines)} {lines} lines, at most {MAX_FILE_LINES}: which second thing lives in it?"


def functions_stay_short(module: Module) -> Iterator[str]:
    for function in functions(module):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            yield f"{module.at(function.lineno)} {function.name} has {lines} lines, at most {MAX_FUNCTION_LINES}"


def functions_take_few_parameters(module: Module) -> Iterator[str]:
    for function in functions(module):
        args = function.args
        names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
        number = len([name for name in names if name not in ("self", "cls")])
        if number > MAX_PARAMETERS:
            yield f"{module.at(function.lineno)} {function.name} takes {number} parameters, at most {MAX_PARAMETERS}"


def no_module_is_a_catch_all(module: Module) -> Iterator[str]:
    if any(CATCH_ALL.search(part) for part in module.name.split(".")):
        yield f"{module.at(1)} name the module after what it owns"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Manager"):
            yield f"{module.at(node.lineno)} class {node.name}: name it after what it is"


def modules_say_what_they_own(module: Module) -> Iterator[str]:
    if module.tree.body and not ast.get_docstring(module.tree):
        yield f"{module.at(1)} has no docstring that says what it owns"


def nothing_is_unpickled(module: Module) -> Iterator[str]:
    for item in imports(module):
        if item.target.split(".")[0] in PICKLES:
            yield f"{module.at(item.line)} imports {item.target}: JSON or safetensors instead"
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        called = ast.unparse(node.func)
        if called in ("torch.load", "torch.save"):
            yield f"{module.at(node.lineno)} {called} reads or writes pickles: safetensors instead"
        if module.unit == "sweeper.launch" and re.search(r"connection\.(send|recv)$|pipe\.(send|recv)$", called):
            yield f"{module.at(node.lineno)} {called} pickles: send_bytes and recv_bytes with JSON instead"


def no_code_comes_from_a_config(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and not _is_false(node.value):
            yield f"{module.at(node.value.lineno)} trust_remote_code runs a stranger's code"
        if isinstance(node, ast.Constant) and node.value == "trust_remote_code":
            yield f"{module.at(node.lineno)} trust_remote_code runs a stranger's code"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec", "hydra.utils.instantiate"):
            yield f"{module.at(node.lineno)} {ast.unparse(node.func)} runs what a config says"
    for item in imports(module):
        if item.target in ("hydra.utils.instantiate", "hydra.utils.call", "hydra.utils.get_method"):
            yield f"{module.at(item.line)} {item.target} runs what a config says: a table of names instead"


def no_library_call_that_fails_in_silence(module: Module) -> Iterator[str]:
    """See tests/integration/training/test_library_bugs.py."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in SILENT:
            yield f"{module.at(node.lineno)} {SILENT[ast.unparse(node)]}"
    for item in imports(module):
        for call, reason in SILENT.items():
            package, name = call.split(".")
            if item.target.startswith(package) and name in item.target.split(".")[1:]:
                yield f"{module.at(item.line)} {reason}"


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


RULES: tuple[Rule, ...] = (
    imports_point_down,
    analysis_imports_only_metrics,
    light_modules_import_nothing_heavy,
    files_stay_short,
    functions_stay_short,
    functions_take_few_parameters,
    no_module_is_a_catch_all,
    modules_say_what_they_own,
    nothing_is_unpickled,
    no_code_comes_from_a_config,
    no_library_call_that_fails_in_silence,
)
MODULES = read_modules(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_everywhere(rule: Rule) -> None:
    offenders = [offence for module in MODULES for offence in rule(module)]
    assert not offenders, "\n" + "\n".join(offenders)


def test_rules_see_every_package() -> None:
    seen = {module.unit for module in MODULES}
    assert {unit for layer in LAYERS for unit in layer} - {"sweeper.plugin"} | {"analysis"} <= seen


def test_dependencies_are_what_the_code_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {_distribution(line) for line in project["dependencies"]}
    extras = project["optional-dependencies"]
    optional = {_distribution(line) for name in ("text", "documents") for line in extras[name]}
    ours = {"sweeper", "tasks", "analysis", "hydra_plugins", "__future__", *sys.stdlib_module_names}
    sources = metadata.packages_distributions()
    used: set[str] = set()
    undeclared = []
    for module in MODULES:
        for item in imports(module):
            top = item.target.split(".")[0]
            carriers = {_distribution(name) for name in sources.get(top, [top])}
            used |= carriers
            if top not in ours and not carriers & (declared | optional):
                undeclared.append(f"{module.at(item.line)} {top}")
    assert not undeclared, "imported, but not in pyproject.toml:\n" + "\n".join(undeclared)
    assert declared - used <= LOADED_BY_NAME, "in pyproject.toml, but imported nowhere"


def _distribution(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return name.group().lower().replace("_", "-")


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {_distribution(line) for line in lines if re.fullmatch(r"[\w.-]+==[\w.+]+", line)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    assert {_distribution(line) for line in wanted} <= pins
    assert "torch==2.13.0" in lines, "no local version: a constraint with one excludes every other build"


def test_no_machine_path_stands_in_the_project() -> None:
    kinds = {".py", ".yaml", ".toml", ".md", ".json", ".txt", ".cfg", ""}
    folders = ("sweeper", "tasks", "analysis", "conf", ".ci")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    paths += [ROOT / name for name in ("README.md", "Makefile", "pyproject.toml", "constraints.txt")]
    offenders = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()[:100]}"
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not offenders, "\n" + "\n".join(offenders)


def test_light_modules_load_nothing_heavy_through_others() -> None:
    names = [module.name for module in MODULES if module.unit in LIGHT_UNITS]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = sorted({HEAVY!r} & set(sys.modules))\n"
        "    assert not loaded, f'import {name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


OFFENDERS = [
    (imports_point_down, "sweeper.tracking.x", "from sweeper.training import loop"),
    (imports_point_down, "sweeper.search.x", "def f():\n    import sweeper.launch.slots"),
    (imports_point_down, "sweeper.search.x", "from ..launch import slots"),
    (imports_point_down, "sweeper.tracking.x", "import tasks"),
    (imports_point_down, "sweeper.metrics", "from sweeper import config"),
    (imports_point_down, "sweeper.newcomer", "import json"),
    (imports_point_down, "sweeper.launch.x", "import analysis.table"),
    (analysis_imports_only_metrics, "analysis.x", "from sweeper import config"),
    (analysis_imports_only_metrics, "analysis.x", "from tasks.splits import Splits"),
    (light_modules_import_nothing_heavy, "sweeper.search.x", "import torch.nn"),
    (light_modules_import_nothing_heavy, "tasks.x", "def f():\n    import transformers"),
    (functions_stay_short, "tasks.x", "def f():\n" + "    pass\n" * MAX_FUNCTION_LINES),
    (functions_take_few_parameters, "tasks.x", "def f(a, b, c, d, *, e, f, g): pass"),
    (no_module_is_a_catch_all, "tasks.text_utils", "pass"),
    (no_module_is_a_catch_all, "tasks.x", "class RunManager: pass"),
    (modules_say_what_they_own, "tasks.x", "pass"),
    (nothing_is_unpickled, "tasks.x", "import pickle"),
    (nothing_is_unpickled, "sweeper.training.x", "import torch\ntorch.load('x')"),
    (nothing_is_unpickled, "sweeper.launch.x", "connection.recv()"),
    (no_code_comes_from_a_config, "tasks.x", "load(trust_remote_code=True)"),
    (no_code_comes_from_a_config, "tasks.x", "options['trust_remote_code'] = True"),
    (no_code_comes_from_a_config, "tasks.x", "from hydra.utils import instantiate"),
    (no_library_call_that_fails_in_silence, "sweeper.training.x", "from transformers import Trainer"),
    (no_library_call_that_fails_in_silence, "sweeper.training.x", "transformers.Trainer(model)"),
    (
        no_library_call_that_fails_in_silence,
        "sweeper.training.x",
        "from transformers.integrations import MLflowCallback",
    ),
    (no_library_call_that_fails_in_silence, "sweeper.tracking.x", "mlflow.transformers.log_model(model)"),
    (no_library_call_that_fails_in_silence, "sweeper.tracking.x", "from mlflow.transformers import log_model"),
]


def module_of(name: str, code: str) -> Module:
    return Module(name, Path(name.replace(".", "/") + ".py"), ast.parse(code))


@pytest.mark.parametrize(("rule", "name", "code"), OFFENDERS)
def test_rule_names_an_offender(rule: Rule, name: str, code: str) -> None:
    assert list(rule(module_of(name, code)))


ALLOWED = [
    (
        imports_point_down,
        "sweeper.search.x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import analysis",
    ),
    (imports_point_down, "sweeper.launch.x", "from sweeper.search import study\nimport tasks"),
    (imports_point_down, "sweeper.search.x", "from . import space"),
    (analysis_imports_only_metrics, "analysis.x", "from sweeper.metrics import direction\nfrom analysis import load"),
    (light_modules_import_nothing_heavy, "sweeper.search.x", "def f():\n    import mlflow"),
    (nothing_is_unpickled, "sweeper.launch.x", "connection.send_bytes(b'')"),
    (no_code_comes_from_a_config, "tasks.x", "load(trust_remote_code=False)"),
]


@pytest.mark.parametrize(("rule", "name", "code"), ALLOWED)
def test_rule_lets_pass(rule: Rule, name: str, code: str) -> None:
    assert not list(rule(module_of(name, code)))
