"""Who may import whom: the order of the parts, and Ray and MLflow at the edges alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ORDER = (
    {"cli", "settings", "services"},
    {"sections", "local"},
    {"config"},
    {"data", "models"},
    {"training"},
    {"evaluation", "tracking"},
    {"parts", "stages"},
    {"benchmark", "importing", "probe", "sampling"},
    {"pipeline"},
    {"logged"},
    {"observers"},
    {"reproduction", "sweeps"},
    {"search_spaces"},
    {"jobs"},
)
"""Every part imports parts before it; parts that stand together do not import one another."""

WAYS_IN = {"formats", "ingestion", "simulation"}
"""Packages of `ldns_ray.data`, which imports none of them; nor do they one another."""

LEAVES = {
    "archives",
    "checks",
    "durations",
    "memory",
    "redaction",
    "storage",
    "revision",
    "spot",
    "text_table",
}
"""Import nothing of the project."""

RAY = (
    "ldns_ray/data/ingestion/collecting.py", "ldns_ray/data/shards.py", "ldns_ray/data/streaming.py", "ldns_ray/data/residence.py",
    "ldns_ray/training/distributed.py", "ldns_ray/training/start.py",
    "ldns_ray/pipeline.py", "ldns_ray/sampling/cluster.py", "ldns_ray/spot.py", "ldns_ray/stages.py", "ldns_ray/sweeps/", "jobs/", "search_spaces/",
)  # fmt: skip
MLFLOW = ("ldns_ray/tracking/",)
PURE = (
    "jobs/benchmark.py",
    "ldns_ray/training/loop.py",
    "ldns_ray/training/networks.py",
    "ldns_ray/training/tasks.py",
    "ldns_ray/evaluation/metrics.py",
    "ldns_ray/evaluation/decoding/decoders.py",
    "ldns_ray/evaluation/correlograms.py",
    "ldns_ray/evaluation/spectra.py",
    "ldns_ray/evaluation/novelty.py",
)
PURE_PACKAGES = {"numpy", "scipy", "torch"}


def sources():
    """Path from the root → syntax tree, of all that is installed or run."""
    files = (p for folder in ("ldns_ray", "jobs", "search_spaces") for p in (ROOT / folder).rglob("*.py"))  # fmt: skip
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text()) for p in sorted(files)}


SOURCES = sources()


def module_name(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_name(path): path for path in SOURCES}


def for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def imports(path, *, lazy=True):
    """Full names of the modules imported by a file; without `lazy`, those that importing it imports."""
    found = set()

    def visit(node):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
        if not lazy and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            or for_type_checkers(node)
        ):
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(SOURCES[path])
    return found


def part(module):
    """`ldns_ray.data.batches` → `data`, `jobs.train` → `jobs`, `ldns_ray` → ``."""
    words = module.split(".")
    return ".".join(words[1:2]) if words[0] == "ldns_ray" else words[0]


def ours(modules):
    return {m for m in modules if m.split(".")[0] in ("ldns_ray", "jobs", "search_spaces")}


def place(name):
    for i, parts in enumerate(ORDER):
        if name in parts:
            return i
    raise AssertionError(f"{name} has no place in ORDER")


def test_there_is_something_to_check():
    assert "ldns_ray/models/ssm.py" in SOURCES
    assert imports("ldns_ray/training/tasks.py") >= {
        "torch",
        "ldns_ray.config",
        "ldns_ray.data.batches",
    }
    assert "ldns_ray.storage" in imports("ldns_ray/models/ldns.py")
    assert "ldns_ray.storage" not in imports("ldns_ray/models/ldns.py", lazy=False)
    assert imports("ldns_ray/pipeline.py") >= {"ray"}


@pytest.mark.parametrize("path", SOURCES)
def test_imports_go_one_way(path):
    own = part(module_name(path))
    if own == "":
        assert not ours(imports(path))
        return
    for module in ours(imports(path)):
        other = part(module)
        if other in ("", own) or (other in LEAVES and own not in LEAVES):
            continue
        assert own not in LEAVES, f"{path} imports {module}"
        assert place(other) < place(own), f"{path} imports {module}"


def data_package(module):
    """`ldns_ray.data.formats.nwb` → `formats`; `` for modules of `ldns_ray.data` itself."""
    words = module.split(".")
    return (
        words[2] if words[:2] == ["ldns_ray", "data"] and words[2:3] and words[2] in WAYS_IN else ""
    )


@pytest.mark.parametrize("path", [path for path in SOURCES if path.startswith("ldns_ray/data/")])
def test_ways_into_a_dataset_do_not_meet(path):
    own = data_package(module_name(path))
    for module in ours(imports(path)):
        assert data_package(module) in ("", own), f"{path} imports {module}"


@pytest.mark.parametrize(("package", "allowed"), [("ray", RAY), ("mlflow", MLFLOW)])
def test_services_stay_at_the_edges(package, allowed):
    for path in SOURCES:
        if package in {m.split(".")[0] for m in imports(path)}:
            assert path.startswith(allowed), f"{path} imports {package}"


def pure_paths():
    folders = ("ldns_ray/models/", "ldns_ray/benchmark/")
    return [p for p in SOURCES if p.startswith(folders) or p in PURE]


@pytest.mark.parametrize("path", pure_paths())
def test_mathematics_needs_torch_numpy_and_scipy_alone(path):
    """With everything that importing it imports, packages included."""
    todo, seen = [path], set()
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        names = imports(current, lazy=False)
        words = module_name(current).split(".")
        # `jobs` has no file of its own.
        names |= {".".join(words[:n]) for n in range(1, len(words))} & MODULES.keys()
        for name in names:
            if name in MODULES:
                todo.append(MODULES[name])
            else:
                top = name.split(".")[0]
                assert top in PURE_PACKAGES or top in sys.stdlib_module_names, (
                    f"{path} imports {name} by way of {current}"
                )


def test_importing_the_mathematics_loads_no_service():
    """What the syntax tree says, in a fresh interpreter."""
    modules = ", ".join(module_name(p) for p in pure_paths())
    program = f"import sys, {modules}; print(*{{m.split('.')[0] for m in sys.modules}})"
    out = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(out.stdout.split())
    assert "torch" in loaded
    assert not loaded & {"ray", "mlflow", "pyarrow", "pandas", "matplotlib", "sklearn", "optuna"}
