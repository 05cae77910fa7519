"""The house's rules that a machine can hold: which room may know which, and what a training node has to have."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "electra"
# A room imports itself and those of the floors below; rooms of one floor do not know each other.
FLOORS = [
    {"errors", "ranges"},
    {
        "extras",
        "files",
        "fingerprints",
        "progress",
        "config_types",
        "strict_json",
        "yaml_loader",
        "stopping",
    },
    {"config", "kernels", "flops", "reference", "tokenization", "folder_owner"},
    {"run_folder"},
    {"recipes", "dataset", "model"},
    {"corpus", "objectives", "engine", "interchange"},
    {"tasks", "report"},
    {"workflows"},
    {"flags", "cli", "__main__"},
]  # fmt: skip
TOGETHER = {("cli", "flags"), ("__main__", "cli")}
TRAINING = {"torch", "numpy", "safetensors", "transformers", "tokenizers", "jaxtyping", "electra"}
MODULES = sorted(SOURCE.rglob("*.py"))


def room(module: str) -> str:
    """``electra.dataset.batches`` → ``dataset``."""
    return module.split(".")[1]


def name_of(path: Path) -> str:
    """``…/electra/dataset/batches.py`` → ``electra.dataset.batches``."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(tree: ast.AST, at_once: bool) -> Iterator[str]:
    """Every module named in an import; ``at_once``: only those that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue  # for type checkers alone
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            yield node.module or ""
            if node.module == "electra":
                yield from (f"electra.{alias.name}" for alias in node.names if alias.name != "__version__")
        elif not (at_once and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
            yield from imported(node, at_once)


def imports_of(path: Path, modules: set[str]) -> set[str]:
    """The modules of this program that one imports, wherever in the file; ``from a.b import c`` may mean ``a.b.c``."""
    tree = ast.parse(path.read_text())
    found = set(imported(tree, at_once=False))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in found:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found & modules


def floor(room: str) -> int:
    """Which floor the room is on; a new room must be given one."""
    return next(index for index, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path):
    name = name_of(path)
    if name == "electra":
        return
    here = room(name)
    for module in imported(ast.parse(path.read_text()), at_once=False):
        if module.startswith("electra."):
            there = room(module)
            allowed = there == here or floor(there) < floor(here) or (here, there) in TOGETHER
            assert allowed, f"{name} ({here}) imports {module} ({there})"


def test_no_modules_import_each_other():
    modules = {name_of(path): path for path in MODULES}
    graph = {name: imports_of(path, set(modules)) - {name} for name, path in modules.items()}
    assert tuple(TopologicalSorter(graph).static_order())  # a circle raises, and says which modules it goes through


def test_the_engine_knows_no_model():
    """It asks a module's parts to prepare themselves: ``engine.compiling.Preparable``."""
    modules = chain.from_iterable(imported(ast.parse(p.read_text()), at_once=False) for p in SOURCE.glob("engine/*.py"))
    assert not {"model", "dataset"} & {room(module) for module in modules if module.startswith("electra.")}


# Modules that are themselves imported where they are used, and what they need.
APART = {("triton", "triton"), ("yaml_loader", "yaml"), ("neighbours", "scipy"), ("neighbours", "sklearn")}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_needs_more_than_a_training_node_has_is_imported_where_it_is_used(path):
    for module in imported(ast.parse(path.read_text()), at_once=True):
        top = module.split(".")[0]
        apart = (path.stem, top) in APART
        assert top in sys.stdlib_module_names or top in TRAINING or apart, f"{name_of(path)} imports {module} at once"
        assert not module.endswith(".triton"), f"{name_of(path)} needs {module} without a GPU too"


def test_the_readable_method_needs_numpy_alone():
    path = SOURCE / "reference.py"
    assert set(imported(ast.parse(path.read_text()), at_once=False)) - set(sys.stdlib_module_names) <= {
        "numpy", "collections.abc",
    }  # fmt: skip
    assert len(path.read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_unpickled_and_no_remote_code_runs(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not {"pickle", "joblib", "dill"} & {module.split(".")[0] for module in imported(tree, at_once=False)}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not {"torch.load", "np.load", "numpy.load"} & called
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert said.get("trust_remote_code", "False") == "False"
        if ast.unparse(node.func).endswith((".from_pretrained", ".from_config")):
            assert "trust_remote_code" in said, f"line {node.lineno}: transformers asks on standard input"


def defined(tree: ast.AST, kind: tuple[type, ...], inside_class: bool = False) -> Iterator[str]:
    """Names of functions that are no methods, or of classes, at any depth."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, kind) and not (inside_class and isinstance(node, ast.FunctionDef)):
            yield node.name  # type: ignore[attr-defined]
        yield from defined(node, kind, isinstance(node, ast.ClassDef))


def test_a_name_has_one_meaning():
    functions, classes = Counter(), Counter()
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions.update(set(defined(tree, (ast.FunctionDef,))) - {"_"})
        classes.update(set(defined(tree, (ast.ClassDef,))))
    assert not {name: count for name, count in functions.items() if count > 2}
    assert not {name: count for name, count in classes.items() if count > 1}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_docstring_says_what_it_is_about(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            first = (ast.get_docstring(node) or "").partition("\n\n")[0]
            assert not re.fullmatch(r"(See|As) \S+( \S+)?[.;:].*", first, re.DOTALL), (
                f"{getattr(node, 'name', path)}: {first}"
            )


def test_only_one_module_replaces_and_removes():
    """``files.py`` knows what is ours (law 10); all others ask it."""
    acts = {"fsync", "removedirs", "rename", "renames", "rmdir", "rmtree", "unlink"}
    for path in MODULES:
        calls = [
            node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        ]
        names = {call.attr for call in calls if isinstance(call, ast.Attribute)}
        called = {ast.unparse(call) for call in calls} & {"os.replace", "os.remove", "shutil.move"}
        assert path.name == "files.py" or not (names & acts or called), f"{name_of(path)}: {names & acts or called}"
