"""The documentation tells the truth: examples run, quoted errors exist, every option and column is described."""

import ast
import doctest
import importlib
import inspect
import itertools
import re
import textwrap
from pathlib import Path

import click
import numpy as np
import pytest

import edfast
from edfast import Poni, simulate

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MODULES = ("recalibration", "rings", "tracking", "report", "geometry", "filereader", "simulate", "plots", "image.radp",
           "image.preprocess", "image.classify", "image.quat", "image.io")


def public_names():
    for module in (importlib.import_module(f"edfast.{name}") for name in MODULES):
        own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", None) or [name for name in own if not name.startswith("_")]:
            if callable(getattr(module, name)):
                yield f"{module.__name__}.{name}"


def returns_something(function):
    """Whether `function` has a return with a value somewhere."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(tree))


@pytest.mark.parametrize("name", list(public_names()))
def test_docstring_has_its_sections(name):
    module, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(module), attribute)
    lines = [line.strip() for line in inspect.getdoc(thing).splitlines()]
    sections = {title for title, rule in itertools.pairwise(lines) if rule and set(rule) == {"-"}}
    if inspect.isclass(thing):
        assert issubclass(thing, Exception | Warning) or "Attributes" in sections
        return
    assert "Examples" in sections
    assert "Parameters" in sections or not inspect.signature(thing).parameters
    assert sections & {"Returns", "Yields"} or not returns_something(thing)


def test_reference_lists_every_public_name():
    page = (DOCS / "api" / "index.rst").read_text().split()
    assert {name.rpartition(".")[2] for name in public_names()} <= set(page)


@pytest.mark.parametrize("page", ["guide", "parameters", "geometry", "image"])
def test_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(DOCS / f"{page}.rst"), module_relative=False)
    assert tried
    assert not failed


def test_readme_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image, truth = simulate.ring_pattern((256, 256), radii=[60], random_state=0)
    simulate.write_dm4("rings.dm4", image)
    edfast.write_poni("cal.poni", Poni(0.2, 0.001, 0.001, 0, 0, 0, None, 1e-5, 1e-5, max_shape=image.shape))
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 2
    x, y = map(float, re.match(r"found \(([\d.]+), ([\d.]+)\), true \(262.3, 248.7\)", capsys.readouterr().out).groups())
    np.testing.assert_allclose((x, y), (262.3, 248.7), atol=0.05)
    found = edfast.geometry.beam_center(edfast.read_poni("rings.poni"))
    np.testing.assert_allclose(found, truth.center, atol=0.2)


def quoted_messages():
    """The errors that the page on troubleshooting quotes: whole lines in double backquotes."""
    lines = (DOCS / "troubleshooting.rst").read_text().splitlines()
    return [line[2:-2] for line in lines if line.startswith("``") and line.endswith("``") and " " in line]


@pytest.fixture(scope="module")
def texts():
    """All literal texts of the sources; strings written in several parts are one."""
    sources = [*(ROOT / "edfast").rglob("*.py"), *(ROOT / "kernels").glob("*.py")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source.read_text()))]
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@pytest.mark.parametrize("message", quoted_messages())
def test_quoted_message_exists(message, texts):
    for fragment in filter(None, map(str.strip, re.split(r"\.\.\.|: ", message))):
        assert len(fragment) == 1 or any(fragment in re.sub("%[sg]", "...", text) for text in texts), fragment


def test_command_page_has_every_option_and_column():
    from edfast._exports import COLUMNS
    from edfast.cli import main

    page = (DOCS / "command.rst").read_text()
    for name, command in main.commands.items():
        assert f"edfast {name}\n----" in page
        for option in (option for option in command.params if isinstance(option, click.Option)):
            for spelling in option.opts + option.secondary_opts:
                assert re.search(rf"``{spelling}[` ]", page), spelling
            if isinstance(option.default, str | int | float) and not option.is_flag and name == "recalibrate":
                assert re.search(rf"``{option.opts[-1]} [A-Z]+``\n +- {option.default}\n", page), option.opts
    for column in COLUMNS:
        assert f"``{column}``" in page, column
