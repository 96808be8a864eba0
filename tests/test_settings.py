"""The user's settings: read, written, and what is said about files that are broken."""

import logging

import pytest

from edfast import _settings
from edfast._settings import default_jobs, load, save


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EDFAST_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def write(folder, content):
    folder.mkdir(exist_ok=True)
    (folder / "settings.toml").write_bytes(content if isinstance(content, bytes) else content.encode())


def test_nothing_is_set_without_a_file(folder):
    assert load() == {}
    assert not folder.exists()


def test_the_default_number_of_jobs(folder):
    assert 1 <= default_jobs() <= 8
    save({"jobs": 13})
    assert default_jobs() == 13


def test_the_environment_names_the_folder(folder, monkeypatch, tmp_path):
    assert _settings.path() == folder / "settings.toml"
    monkeypatch.setenv("EDFAST_CONFIG", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert _settings.path().name == "settings.toml"
    assert _settings.folder() != folder
    assert _settings.folder().name == "edfast"


def test_what_is_saved_is_loaded(folder):
    save({"jobs": 3})
    assert load() == {"jobs": 3}
    save({"block": 16})
    assert load() == {"jobs": 3, "block": 16}
    save({"jobs": 5.0, "block": None})
    assert load() == {"jobs": 5}
    save({"jobs": None})
    assert load() == {}
    assert [path.name for path in folder.iterdir()] == ["settings.toml"]


def test_what_the_user_wrote_stays(folder, caplog):
    write(folder, "# my machine\n  jobs = 2  # was 4\nname = 'x'\n[mine]\njobs_of_mine = 1\n")
    save({"jobs": 7, "block": 2})
    after = "jobs = 7\nblock = 2\n# my machine\nname = 'x'\n[mine]\njobs_of_mine = 1\n"
    assert (folder / "settings.toml").read_text() == after
    assert not caplog.records
    assert load() == {"jobs": 7, "block": 2}


def test_unknown_settings_are_reported(folder, caplog):
    write(folder, "threads = 3\nblock = 4\ncolour = 'red'\n")
    with caplog.at_level(logging.WARNING, "edfast"):
        assert load() == {"block": 4}
    (record,) = caplog.records
    assert record.getMessage() == (f"{folder / 'settings.toml'}: unknown settings threads, colour; known are jobs, block")


@pytest.mark.parametrize(("content", "message"), [
    ("jobs = ", r"is no TOML \(Invalid value"),
    ("jobs = 0", "jobs must be a whole number of at least 1, not 0"),
    ("jobs = 'many'", "jobs must be a whole number of at least 1, not 'many'"),
    ("block = true", "block must be a whole number of at least 1, not True"),
    ("block = 1.5", "not 1.5"), ("jobs = nan", "not nan"), ("jobs = inf", "not inf"),
    ("[jobs]\nx = 1", "not {'x': 1}"),
    (b"\xff\xfe", r"cannot be read \('utf-8' codec"),
])
def test_a_broken_file_is_one_clear_line(folder, content, message):
    write(folder, content)
    before = (folder / "settings.toml").read_bytes()
    for work in (load, lambda: save({"jobs": 2})):
        with pytest.raises(ValueError, match=message) as caught:
            work()
        assert str(folder / "settings.toml") in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    assert (folder / "settings.toml").read_bytes() == before


def test_an_unreadable_file(folder):
    (folder / "settings.toml").mkdir(parents=True)
    with pytest.raises(ValueError, match="cannot be read"):
        load()


@pytest.mark.parametrize(("values", "message"), [({"threads": 2}, "no setting 'threads'"), ({"jobs": 0}, "jobs must be"),
                                                 ({"block": "x"}, "block must be"), ({"jobs": True}, "jobs must be")])
def test_nonsense_is_not_saved(folder, values, message):
    with pytest.raises(ValueError, match=message):
        save(values)
    assert not folder.exists()


def test_a_file_that_cannot_be_changed_automatically(folder):
    text = "note = '''\njobs = 3\n'''\n'jobs' = 2\n"
    write(folder, text)
    with pytest.raises(ValueError, match=r"write by hand: jobs = 4"):
        save({"jobs": 4})
    assert (folder / "settings.toml").read_text() == text


def test_a_folder_that_cannot_be_made(folder):
    folder.write_text("a file")
    with pytest.raises((OSError, ValueError), match=str(folder)):
        save({"jobs": 2})
