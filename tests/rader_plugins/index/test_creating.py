"""Making indexes: at once, in many places, with wrong options; nothing is ever replaced."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

import rader_plugins.index.home as home
from rader_plugins import Document, RaderIndex, RaderRetriever, Recipe, create_index, load_encoder
from rader_plugins.errors import (
    AlreadyExistsError,
    FingerprintMismatchError,
    IndexLockedError,
    IndexWriteError,
    InputError,
)
from rader_plugins.index import AnnConfig, Bm25Config
from rader_plugins.index.lock import WriteLock
from rader_plugins.index.storage.schema import database_uri
from tests.support.encoders import HashEncoder
from tests.support.kill import start
from tests.support.tiny_models import tiny_bert

CREATOR = """
import sys
from rader_plugins import Document, RaderIndex
from rader_plugins.errors import AlreadyExistsError
from tests.support.encoders import HashEncoder
folders, name = sys.argv[1].split(":"), sys.argv[2]
print("ready")
sys.stdin.readline()
for folder in folders:
    if name == "0":
        index = RaderIndex.create(folder, HashEncoder(), exist_ok=True, lock_timeout=60)
    else:
        try:
            index = RaderIndex.create(folder, HashEncoder(), lock_timeout=60)
        except AlreadyExistsError:
            index = RaderIndex.open(folder, HashEncoder(), lock_timeout=60)
    index.add([Document(name, f"text {name}")])
    index.close()
print("done")
"""


@pytest.mark.parametrize(
    ("processes", "rounds"), [(3, 5), pytest.param(8, 200, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
@pytest.mark.slow
def test_processes_that_create_at_once_make_one_whole_index(tmp_path: Path, processes: int, rounds: int) -> None:
    import subprocess
    import sys

    from tests.support.kill import ROOT

    folders = [tmp_path / f"i{number}" for number in range(rounds)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-c", CREATOR, ":".join(map(str, folders))]
    workers = [
        subprocess.Popen(
            [*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        for n in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        assert worker.communicate()[0] == "done\n"
    for folder in folders:
        assert sorted(document.id for document in RaderIndex.open(folder, HashEncoder()).documents()) == [
            str(number) for number in range(processes)
        ]
        assert not list(folder.glob(".*")), "no leftovers"


@pytest.mark.parametrize("links", [True, False])
def test_an_index_that_appears_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Another process makes one between the look and the deed, at whatever point."""
    folder = tmp_path / "i"
    real = home.Store
    if not links:

        def link(*_: Any) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", link)

    def late(file: Path | None, *, create: bool) -> Any:
        store = real(file, create=create)
        if create and not home.is_home(folder):
            monkeypatch.setattr(home, "Store", real)
            RaderIndex.create(folder, HashEncoder()).add([Document("precious", "text")])
        return store

    monkeypatch.setattr(home, "Store", late)
    with pytest.raises(AlreadyExistsError, match="already holds an index"):
        RaderIndex.create(folder, HashEncoder())
    assert len(RaderIndex.open(folder, HashEncoder())) == 1
    assert not list(folder.glob(".*"))


def test_giving_a_database_its_name_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "i"
    RaderIndex.create(folder, HashEncoder()).add([Document("precious", "text")])
    try:
        os.link(folder / "index.db", tmp_path / "link")
    except OSError:
        pytest.skip("this file system has no links, so that the lock alone keeps others away")
    settings = home.open_home(folder).settings
    monkeypatch.setattr(home, "_check_free", lambda _: None)
    with pytest.raises(AlreadyExistsError, match="another process made"):
        home.create_home(folder, settings, 1.0)
    monkeypatch.undo()
    assert len(RaderIndex.open(folder, HashEncoder())) == 1
    assert not list(folder.glob(".*"))


def test_a_creator_that_is_refused_the_lock_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "i").mkdir()
    with WriteLock(tmp_path / "i").held(0), pytest.raises(IndexLockedError):
        RaderIndex.create(tmp_path / "i", HashEncoder(), lock_timeout=0)
    assert not list((tmp_path / "i").glob(".*"))
    RaderIndex.create(tmp_path / "i", HashEncoder())


def test_exist_ok_opens_and_refuses_what_differs(tmp_path: Path) -> None:
    create = RaderIndex.create
    create(tmp_path / "i", HashEncoder(), dtype="float16", exist_ok=True).add([Document("a", "x")])
    for options in ({}, {"dtype": "float16"}, {"bm25": Bm25Config()}):
        assert len(create(tmp_path / "i", HashEncoder(), exist_ok=True, **options)) == 1  # type: ignore[arg-type]
    with pytest.raises(FingerprintMismatchError):
        create(tmp_path / "i", HashEncoder(8), exist_ok=True)
    different: list[dict[str, Any]] = [{"dtype": "float32"}, {"ann": "hnsw"}, {"bm25": Bm25Config(k1=2)}]
    for options in different:
        with pytest.raises(InputError, match=next(iter(options))):
            create(tmp_path / "i", HashEncoder(), exist_ok=True, **options)
    with pytest.raises(InputError, match="with vectors"):
        create(tmp_path / "i", None, exist_ok=True)
    with pytest.raises(AlreadyExistsError):
        create(tmp_path / "i", HashEncoder())
    assert isinstance(create_index(tmp_path / "i", HashEncoder(), exist_ok=True), RaderIndex)


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "int8"}, {"dtype": 3}, {"bm25": {"k1": 1}}, {"ann": "tree"}, {"ann": 3},
        {"ann": {"kind": "hnsw", "m": 3}},
        {"ann": {"kind": "hnsw", "links": -1}}, {"ann": {"kind": "hnsw", "ef_search": "many"}},
        {"ann": AnnConfig("ivfpq", code_bytes=5)}, {"lock_timeout": "soon"}, {"lock_timeout": -1},
    ],
)  # fmt: skip
def test_wrong_options_are_refused_before_anything_is_written(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        RaderIndex.create(tmp_path / "i", HashEncoder(), **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [3, b"x", "", "a\0b", object()])
def test_what_is_no_path_is_refused(path: Any) -> None:
    for call in (
        lambda: RaderIndex.create(path, HashEncoder()),
        lambda: RaderIndex.open(path),
        lambda: RaderIndex.exists(path),
        lambda: RaderIndex.repair(path),
    ):
        with pytest.raises(InputError):
            call()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IndexWriteError, match="file"):
        RaderIndex.create(tmp_path / "file" / "i", HashEncoder())
    with pytest.raises(InputError):
        Bm25Config(k1="x")  # type: ignore[arg-type]


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    for make in (RaderIndex.create, RaderIndex.open):
        with pytest.raises(InputError, match="cannot be seen"):
            make(tmp_path / ("x" * 300), HashEncoder())


@pytest.mark.parametrize("name", ["$NO_SUCH_VARIABLE/index", "${NO_SUCH_VARIABLE}/index"])
def test_a_variable_that_is_not_set_is_no_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    with pytest.raises(InputError, match="NO_SUCH_VARIABLE"):
        RaderIndex.create(name, HashEncoder())
    assert not list(tmp_path.iterdir())
    (tmp_path / name).parent.mkdir()
    RaderIndex.create(name, HashEncoder()).close()
    assert RaderIndex.exists(tmp_path / name), "a folder of that very name is one"


def test_home_and_variables_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("INDEXES", str(tmp_path / "indexes"))
    for path, folder in (("~/one", tmp_path / "one"), ("$INDEXES/two", tmp_path / "indexes" / "two")):
        index = RaderIndex.create(path, HashEncoder())
        assert index.path == folder
        assert RaderIndex.exists(path)
        assert RaderIndex.open(path, HashEncoder()).path == folder
    monkeypatch.chdir(tmp_path)
    index = RaderIndex.open("one", HashEncoder())
    monkeypatch.chdir("/")
    index.add([Document("a", "x")])
    assert len(RaderIndex.open(tmp_path / "one", HashEncoder())) == 1


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (r"C:\data\index.db", "file:///C:/data/index.db?mode=rw"),
        (r"C:\50% #1?\ä.db", "file:///C:/50%25%20%231%3F/%C3%A4.db?mode=rw"),
        (r"\\server\share\index.db", "file:////server/share/index.db?mode=rw"),
        (r"\\?\C:\long\index.db", "file:///C:/long/index.db?mode=rw"),
        (r"\\?\UNC\server\share\index.db", "file:////server/share/index.db?mode=rw"),
    ],
)
def test_paths_of_windows_become_uris_that_sqlite_takes(path: str, uri: str) -> None:
    assert database_uri(PureWindowsPath(path), "rw") == uri


def test_strange_names_of_folders(tmp_path: Path) -> None:
    for name in ("50%", "a?b#c", "ä ö", "x%41y", "quote'\""):
        RaderIndex.create(tmp_path / name, HashEncoder()).add([Document("a", "x")])
        assert len(RaderIndex.open(tmp_path / name, HashEncoder())) == 1


def test_an_index_finds_its_model_from_everywhere_and_after_both_were_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "before"
    tiny_bert(before / "model")
    monkeypatch.chdir(before)
    encoder = load_encoder(Recipe(name="tiny", model="model", max_document_length=64))
    RaderIndex.create("index", encoder).add([Document("a", "prime")])
    monkeypatch.chdir("/")
    assert RaderRetriever(RaderIndex.open(before / "index"), "dense").search("prime")
    shutil.move(before, tmp_path / "after")
    assert RaderRetriever(RaderIndex.open(tmp_path / "after" / "index"), "dense").search("prime")
    shutil.rmtree(tmp_path / "after" / "model")
    with pytest.raises(InputError, match=r"before.*not there.*after") as raised:
        RaderRetriever(RaderIndex.open(tmp_path / "after" / "index"), "dense").search("prime")
    assert "hub" not in str(raised.value).lower()


SEARCHER = """
import pickle, sys
retriever = pickle.load(open(sys.argv[1], "rb"))
print([hit.document.id for hit in retriever.search("prime heat", 2)])
"""


def test_indexes_and_retrievers_are_pickled_as_how_to_open_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    index = RaderIndex.create("i", HashEncoder(), lock_timeout=3)
    index.add([Document(str(n), text) for n, text in enumerate(["prime", "prime heat", "wave"])])
    retriever = RaderRetriever(index, "hybrid", 0.5, candidates=7)
    data = pickle.dumps(retriever)
    assert len(data) < 2000, "no vectors"
    Path("retriever.pickle").write_bytes(data)
    process = start(SEARCHER, str(tmp_path / "retriever.pickle"))
    expected = [hit.document.id for hit in retriever.search("prime heat", 2)]
    assert process.communicate()[0].strip() == str(expected)
    unpickled = pickle.loads(data)  # noqa: S301
    assert (unpickled.alpha, unpickled.candidates, unpickled.index.path) == (0.5, 7, tmp_path / "i")
    assert unpickled.describe() == retriever.describe()
    assert copy.deepcopy(retriever).index is copy.copy(index) is index, "a copy shares what is open"
    with pytest.raises(InputError, match="in memory"):
        pickle.dumps(RaderIndex.create(None, HashEncoder()))


def test_an_encoder_of_another_recipe_is_told_apart(tmp_path: Path) -> None:
    RaderIndex.create(tmp_path / "i", HashEncoder())
    for wrong in (3, HashEncoder, [HashEncoder()]):
        with pytest.raises(InputError, match="encoder must be"):
            RaderIndex.open(tmp_path / "i", wrong)  # type: ignore[arg-type]
    assert isinstance(RaderIndex.open(tmp_path / "i").recorded_model, Recipe)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_stands_where_the_database_belongs_is_named(tmp_path: Path, kind: str) -> None:
    database = tmp_path / "index" / "index.db"
    database.parent.mkdir()
    if kind == "folder":
        database.mkdir()
    elif kind == "link":
        database.symlink_to(tmp_path / "nowhere")
    elif hasattr(os, "mkfifo"):
        os.mkfifo(database)
    else:
        pytest.skip("a system without pipes in folders")
    for exist_ok in (False, True):
        with pytest.raises(InputError, match="is there, and is no file"):
            RaderIndex.create(database.parent, HashEncoder(), exist_ok=exist_ok)


def test_no_index_within_another(tmp_path: Path) -> None:
    with RaderIndex.create(tmp_path / "index", HashEncoder()) as index:
        for folder in ("vectors", "derived/copy", "of its own"):
            with pytest.raises(InputError, match="lies within the index"):
                index.copy_to(tmp_path / "index" / folder)
        assert not (tmp_path / "index" / "of its own").exists()
        index.copy_to(tmp_path / "index")
        index.copy_to(tmp_path / "copy")
