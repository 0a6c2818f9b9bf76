"""The laws of docs/adr/0001 that a linter cannot see."""

import ast
import re
from pathlib import Path

import pytest

from aigc_pipeline.config import PipelineConfig

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aigc_pipeline"
PIXEL_WORDS = re.compile(
    r"\b(pixels?|_px|height|width|channels?|images?|pictures?|png|jpeg|rgb|grey|gray)\b", re.IGNORECASE
)
BLIND_ROOMS = ["stages", "gates", "publishing", "training", "data", "pipeline.py", "loading.py", "records.py"]
HANDLES_PIXELS = {"size_limits.py", "constant.py"}  # gates that state that they handle {"image"}


def code_of(path: Path) -> str:
    """Return the source without docstrings and comments: what the code itself knows."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                each for each in node.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
            ] or [ast.Pass()]
    return ast.unparse(tree)


def files_of(room: str) -> list[Path]:
    path = PACKAGE / room
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("room", BLIND_ROOMS)
def test_only_modalities_look_inside_a_cell(room):
    """Publishing may speak of images in what it writes for people and for `datasets`, hence identifiers only there."""
    for file in files_of(room):
        if file.name in HANDLES_PIXELS or "report" in file.parts:
            continue
        tree = ast.parse(code_of(file))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        found = {name for name in names if PIXEL_WORDS.search(name.replace("_", " "))} - {"image"}

        assert not found, f"{file.relative_to(ROOT)} speaks of {sorted(found)}"


def test_every_stage_has_one_public_function_and_a_version():
    for file in sorted((PACKAGE / "stages").glob("*.py")):
        if file.name == "__init__.py":
            continue
        tree = ast.parse(file.read_text())
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        constants = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

        assert "STAGE_VERSION" in constants, file.name
        assert {file.stem, f"{file.stem}_candidates"} & names, file.name


def test_text_that_may_not_be_ascii_names_its_encoding():
    """Otherwise the locale decides: where it is no UTF-8, a run ended in a traceback when it wrote the card."""
    for file in PACKAGE.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        ascii_only = {id(inner) for call in calls if is_call_of(call, {"loads"}) for inner in call.args}
        for call in calls:
            if is_call_of(call, {"write_text"}):
                is_open = len(call.args) == 1 and not is_call_of(call.args[0], {"dumps"})
            else:
                is_open = is_call_of(call, {"read_text"}) and not call.args and id(call) not in ascii_only

            assert not is_open or call.keywords, f"{file.relative_to(ROOT)}:{call.lineno} leaves it to the locale"


def is_call_of(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names


def fields_of(model: type) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if hasattr(inner, "model_fields"):
                names += fields_of(inner)
    return names


def test_every_setting_is_read_somewhere():
    source = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py"))

    unread = {name for name in fields_of(PipelineConfig) if not re.search(rf"\.{name}\b", source) and name != "kind"}
    assert not unread


def test_every_setting_is_described():
    def check(model: type) -> None:
        for name, field in model.model_fields.items():
            inner = [
                each
                for each in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if hasattr(each, "model_fields")
            ]
            assert inner or field.description or name == "kind", f"{model.__name__}.{name}"
            for each in inner:
                check(each)

    check(PipelineConfig)


def test_no_broad_except_and_no_print():
    for file in [*PACKAGE.rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                assert caught not in {"everything", "Exception", "BaseException"}, f"{file.name}:{node.lineno}"
