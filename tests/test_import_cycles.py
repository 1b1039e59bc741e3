"""Who imports whom when a module is imported: no cycles, and from a higher floor to a lower one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {"ncp_control": 1, "envs": 2, "policies": 2, "scripts": 3}


def modules(root):
    """Return the path of every module of the house by its name."""
    found = {}
    for folder in FLOORS:
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def statements(body):
    """Yield what runs when a module is imported, without what only a type checker reads."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from statements(node.orelse)
            continue
        yield node
        for name in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, name, []))
        for handler in getattr(node, "handlers", []):
            yield from statements(handler.body)


def imports(path, known):
    """Return the modules of the house that a module imports when it is imported."""
    wanted = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by a relative name"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                wanted.add(inner if inner in known else node.module)
    return wanted & set(known)


def find_cycle(graph):
    """Return modules that import each other in a circle; none if there is no circle."""
    done = set()

    def visit(name, way):
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for target in sorted(graph[name]):
            if cycle := visit(target, [*way, name]):
                return cycle
        done.add(name)
        return []

    for name in sorted(graph):
        if cycle := visit(name, []):
            return cycle
    return []


def graph_of(root):
    known = modules(root)
    return {name: imports(path, known) for name, path in known.items()}


def test_no_module_imports_itself_through_others():
    assert find_cycle(graph_of(ROOT)) == []


def test_imports_go_down_only():
    for name, targets in graph_of(ROOT).items():
        room = name.partition(".")[0]
        for target in targets:
            other = target.partition(".")[0]
            assert other == room or FLOORS[other] < FLOORS[room], f"{name} imports {target}"


def packages_of(graph):
    """Return what each package or module directly below a floor imports from others there.

    A floor's own `__init__` is left out: it offers names of all its packages.
    """
    found = {}
    for name, targets in graph.items():
        if "." in name:
            own = ".".join(name.split(".")[:2])
            others = {".".join(target.split(".")[:2]) for target in targets if "." in target}
            found.setdefault(own, set()).update(others - {own})
    return found


def test_packages_do_not_import_each_other_in_a_circle():
    """So that each package can be read without those above it."""
    packages = packages_of(graph_of(ROOT))
    assert "ncp_control.cells" in packages["ncp_control.circuit"]
    assert find_cycle(packages) == []


@pytest.mark.parametrize(
    ("second", "cycle"),
    [
        ("import envs.one", ["envs.one", "envs.two"]),
        ("try:\n    from envs import one\nexcept ImportError:\n    pass", ["envs.one", "envs.two"]),
        ("class A:\n    from envs.one import B", ["envs.one", "envs.two"]),
        ("def later():\n    import envs.one", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import envs.one", []),
    ],
)
def test_a_circle_is_found_and_what_is_imported_later_is_none(tmp_path, second, cycle):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").touch()
    (tmp_path / "envs" / "one.py").write_text("from envs.two import A\n")
    (tmp_path / "envs" / "two.py").write_text(second + "\n")
    assert find_cycle(graph_of(tmp_path)) == cycle
