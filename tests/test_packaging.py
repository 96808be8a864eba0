"""What is installed, what an import loads, and the guard against the source folder that hides an installed package."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import edfast

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("numpy", "numba", "llvmlite", "pyFAI", "fabio", "ncempy", "h5py", "mrcfile", "matplotlib", "scipy", "skimage",
         "click")


def python(code, *options, **environment):
    """Run `code` in a fresh interpreter; its output, or its error in an assertion."""
    run = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False,
                         env={**os.environ, **environment})
    return run.returncode, run.stdout.strip(), run.stderr.strip()


def test_packages_are_those_of_the_tree():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {"edfast.kernels"} | {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "edfast").rglob("__init__.py")}
    assert set(listed) == folders


def test_import_loads_nothing_heavy():
    code, out, error = python(f"import sys, edfast; print([m for m in {HEAVY} if m in sys.modules])")
    assert (code, out, error) == (0, "[]", "")


@pytest.mark.parametrize("module", ["cli", "recalibration", "calibration", "filereader", "geometry", "simulate", "rings",
                                    "plots", "image", "image.radp", "image.preprocess"])
def test_modules_import_no_library_but_numpy(module):
    heavy = tuple(set(HEAVY) - {"numpy", "click"})
    code, out, error = python(f"import sys, edfast.{module}; print([m for m in {heavy} if m in sys.modules])")
    assert (code, out, error) == (0, "[]", "")


def test_every_public_name_can_be_had():
    for name in edfast.__all__:
        assert getattr(edfast, name) is not None
    assert set(edfast.__all__) <= set(dir(edfast))


def test_source_folder_without_kernels_says_so(tmp_path):
    shutil.copytree(ROOT / "edfast", tmp_path / "edfast", ignore=shutil.ignore_patterns("__pycache__"))
    path = [str(tmp_path), sysconfig.get_path("purelib")]
    code, _, error = python(f"import sys; sys.path[:0] = {path}; import edfast", "-I", "-S")
    assert code == 1
    assert "edfast.kernels is not there" in error.splitlines()[-1]
    assert "pip install -e ." in error.splitlines()[-1]
