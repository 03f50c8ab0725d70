from __future__ import annotations

import os
import stat

import pytest

from firstlight.errors import BadInputError
from firstlight.records.whole_files import atomic_path, write_atomically
from firstlight.reporting import files
from firstlight.reporting.files import load, save

from . import samples

RECORDS = samples.everything()


@pytest.mark.parametrize("name", RECORDS)
def test_json_round_trip(name, tmp_path):
    path = tmp_path / f"{name}.json"
    save(RECORDS[name], path)
    assert load(path) == RECORDS[name]
    assert type(load(str(path))) is type(RECORDS[name])


def test_bundles_and_hostile_strings_round_trip(tmp_path):
    bundle = {"a": RECORDS["plan"], "b": (RECORDS["race"], samples.hostile().before)}
    save(bundle, tmp_path / "bundle.json")
    assert load(tmp_path / "bundle.json") == bundle
    save(samples.hostile(), tmp_path / "hostile.json")
    assert load(tmp_path / "hostile.json") == samples.hostile()


@pytest.mark.parametrize(
    ("suffix", "start"), [(".txt", "MLP is not"), (".HTML", "<!DOCTYPE html>")]
)
def test_the_suffix_chooses_the_form(suffix, start, tmp_path):
    path = tmp_path / f"report{suffix}"
    RECORDS["sick"].save(path)
    assert path.read_text(encoding="utf-8").startswith(start)


@pytest.mark.parametrize(("name", "came"), [("r.pdf", "suffix '.pdf'"), ("report", "no suffix")])
def test_other_suffixes_are_refused(name, came, tmp_path):
    with pytest.raises(BadInputError, match=f"has {came}; known: .html, .json, .parquet, .txt"):
        save(RECORDS["sick"], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text("old")

    def broken(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "replace", broken)
    with pytest.raises(
        BadInputError, match=r"report\.json: cannot be written \(No space left"
    ) as e:
        save(RECORDS["plan"], path)
    assert "\n" not in str(e.value)
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_writer_leaves_nothing(error, tmp_path):
    with pytest.raises(error), atomic_path(tmp_path / "w.safetensors") as temporary:
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path):
    with pytest.raises(BadInputError, match="cannot be written"), atomic_path(tmp_path / "w"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_unwritable_targets_are_one_clear_line(tmp_path):
    with pytest.raises(BadInputError, match=r"No such file or directory.*choose a folder") as e:
        write_atomically(tmp_path / "nowhere" / "x.txt", b"")
    assert "\n" not in str(e.value)
    with pytest.raises(BadInputError, match="a folder; give the name of a file"):
        write_atomically(tmp_path, b"")
    with pytest.raises(BadInputError, match="not a regular file"):
        write_atomically("/dev/null", b"")


def test_mode_and_links_are_kept(tmp_path):
    old = os.umask(0o022)
    try:
        write_atomically(tmp_path / "new", b"1")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644
    (tmp_path / "new").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "new")
    write_atomically(tmp_path / "link", b"2")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "new").read_bytes() == b"2"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_loading_what_is_not_there_or_not_a_record(tmp_path):
    with pytest.raises(BadInputError, match=r"load: .*x\.json: cannot be read \(No such file"):
        load(tmp_path / "x.json")
    with pytest.raises(BadInputError, match=r"is a report to read; load the \.json"):
        load(tmp_path / "x.html")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="not UTF-8"):
        load(tmp_path / "b.json")
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(BadInputError, match="Firstlight record"):
        load(tmp_path / "c.json")
