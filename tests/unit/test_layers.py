"""Who may import whom: the rooms of the house, and the foreign names each may know."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2] / "appliance"
MAY = {
    "model": {"model"},
    "store": {"store", "model"},
    "engine": {"engine", "model", "heap"},
    "gateway": {"gateway", "model", "store", "engine.base"},
    "api": {"api", "gateway", "store", "model", "assets", "form_stream", "engine.base"},
    "dashboard": {"dashboard", "gateway", "store", "model", "assets", "form_stream", "one_router"},
}
ROOT = {
    "__main__",
    "cli",
    "reload",
    "certificates",
    "certificate_orders",
    "runtime",
    "house",
    "server",
    "operations",
    "control",
    "config",
}
ONLY_IN = {
    "neonize": ("engine/worker/",),
    "sqlite3": ("store/",),
    "aiosqlite": ("store/",),
    "litestar": ("api/", "dashboard/", "server", "one_router"),
    "granian": ("server",),
    "aiohttp": ("gateway/deliver", "gateway/destinations", "gateway/media", "gateway/http_client"),
    "google": ("engine/worker/",),
}
TESTS = Path(__file__).parents[1]
OURS = {"appliance", *(path.stem for path in TESTS.iterdir() if path.suffix == ".py" or path.is_dir())}
SCRIPTS = sorted(
    p for p in TESTS.rglob("*.py") if f"python tests/{p.relative_to(TESTS)}" in p.read_text("utf-8")
)
LAZY = {"cli.py", "operations/asking.py", "engine/factory.py"}


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written whole"
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_room_knows_only_its_neighbours(path: Path) -> None:
    place = str(path.relative_to(HOUSE))
    room = place.partition("/")[0].removesuffix(".py")
    tree = ast.parse(path.read_text("utf-8"))
    for name in imported(tree):
        foreign = name.partition(".")[0]
        if foreign in ONLY_IN:
            assert place.startswith(ONLY_IN[foreign]), f"{place} may not know {foreign}"
        if foreign != "appliance" or name == "appliance.__version__":
            continue
        other = name.removeprefix("appliance.")
        assert other.partition(".")[0] not in ROOT or room in ROOT, (
            f"{place} imports the composition root: {name}"
        )
        if room in MAY:
            assert any(other == m or other.startswith(m + ".") for m in MAY[room]), (
                f"{place} may not know {name}"
            )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_stand_at_the_top(path: Path) -> None:
    if str(path.relative_to(HOUSE)) in LAZY:
        return
    tree = ast.parse(path.read_text("utf-8"))
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    inside = [n.lineno for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not inside, f"imports inside functions at lines {inside}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_module_says_what_it_is_and_stays_small(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), "a module opens with a sentence"
    assert text.count("\n") <= 420, "split it by meaning"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: str(p.relative_to(TESTS)))
def test_a_script_knows_its_way_before_it_imports_ours(path: Path) -> None:
    """pytest knows where the tests' own modules are, and who runs the file by hand does not."""
    found = False
    for node in ast.parse(path.read_text("utf-8")).body:
        names = {name.partition(".")[0] for name in imported(node)}
        assert found or not names & OURS, f"{names & OURS} cannot be found yet"
        found = found or "sys.path.insert" in ast.unparse(node)
