"""What may not be imported: each check runs in a fresh interpreter, since this one has everything loaded."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "prefect", "pandas", "sklearn", "pyarrow", "matplotlib")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def block(module: str) -> str:
    return f"import sys; sys.modules[{module!r}] = None\n"


def test_package_works_with_prefect_blocked() -> None:
    code = (
        block("prefect") + "import aigc_pipeline, aigc_pipeline.pipeline, aigc_pipeline.cli; print(aigc_pipeline.run)"
    )

    assert "function run" in python(code)


def test_core_imports_without_torch() -> None:
    code = (
        block("torch")
        + "import importlib, pkgutil, aigc_pipeline.core as core\n"
        + "for each in pkgutil.iter_modules(core.__path__): importlib.import_module('aigc_pipeline.core.' + each.name)\n"
        + "print('done')"
    )

    assert python(code) == "done\n"


@pytest.mark.parametrize("command", ["--help", "run --help", "--version"])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        "import sys\nfrom aigc_pipeline.cli import main\n"
        f"try: main({command.split()!r})\nexcept SystemExit: pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )

    assert python(code).endswith("HEAVY []\n")
