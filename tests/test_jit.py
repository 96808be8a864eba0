"""The kernel cache: never stale, and not needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edfast.kernels import _jit

KERNELS = Path(_jit.__file__).parent
CALLEE = "from ._jit import jit\n\n@jit\ndef inner():\n    return {value}\n"
CALLER = "from ._jit import jit\nfrom .callee import inner\n\n@jit\ndef outer():\n    return 10 * inner()\n"


def run(code, folder, cache):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(folder)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip(), done.stderr.strip()


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    shutil.copy(KERNELS / "_jit.py", folder)
    (folder / "caller.py").write_text(CALLER)
    (folder / "callee.py").write_text(CALLEE.format(value=1))
    return tmp_path


def test_a_changed_callee_is_seen(package):
    code = "from package.caller import outer; print(outer(), sum(outer.stats.cache_hits.values()))"
    assert run(code, package, package / "cache")[0] == "10 0"
    assert run(code, package, package / "cache")[0] == "10 1"
    (package / "package" / "callee.py").write_text(CALLEE.format(value=2))
    assert run(code, package, package / "cache")[0] == "20 0"


def test_digest_depends_on_every_file(package):
    folder = package / "package"
    before = _jit.sources_digest(folder)
    assert _jit.sources_digest(folder) == before
    (folder / "new.py").write_text("")
    assert _jit.sources_digest(folder) != before


def test_without_a_writable_cache_kernels_work_and_say_why(package):
    (package / "file").touch()
    out, error = run("from package.caller import outer; print(outer())", package, package / "file" / "cache")
    assert out == "10"
    assert "NUMBA_CACHE_DIR" in error
    assert str(package / "file") in error
    assert len(error.splitlines()) == 1


def test_decorator_leaves_the_cache_setting_of_others_alone():
    import numba

    before = numba.config.CACHE_DIR
    _jit.jit(lambda x: x)
    assert before == numba.config.CACHE_DIR
