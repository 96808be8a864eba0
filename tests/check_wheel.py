"""Compare a wheel with the source tree: ``python tests/check_wheel.py dist/edfast-*.whl``."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = {".py", ".pyi", ".typed", ".cif", ".html"}


def expected():
    """Paths inside the wheel of everything that belongs into it."""
    for folder, package in ((ROOT / "edfast", Path("edfast")), (ROOT / "kernels", Path("edfast/kernels"))):
        for path in folder.rglob("*"):
            if path.suffix in SHIPPED or path.name == "py.typed":
                yield (package / path.relative_to(folder)).as_posix()


def main(wheel):
    """Exit with what is missing or too much; then fit a ring from the wheel alone, in another folder."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        wanted = set(expected())
        if inside != wanted:
            sys.exit(f"{wheel}: missing {sorted(wanted - inside)}, too much {sorted(inside - wanted)}")
        with tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder)
            code = (f"import sys; sys.path.insert(0, {folder!r})\n"
                    "import numpy, edfast\n"
                    "from edfast.kernels import ellipse\n"
                    f"assert edfast.__file__.startswith({folder!r}) and ellipse.__file__.startswith({folder!r})\n"
                    "assert edfast.fit_ellipse_to_ring(numpy.eye(64, k=3), min_size=1)[:2] == (33, 30)\n")
            subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)
    print(f"{wheel}: {len(inside)} files, as in the tree")


if __name__ == "__main__":
    main(sys.argv[1])
