"""S3 as it is: a server of its protocol (moto's), read with s3fs; both have to be installed beside this library."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("s3fs", reason="needs s3fs")
moto_server = pytest.importorskip("moto.server", reason="needs moto[server]")
boto3 = pytest.importorskip("boto3", reason="needs boto3")

from rader_plugins.distributed import open_shared_source, shares_of  # noqa: E402
from rader_plugins.errors import InputError, SourceError  # noqa: E402
from rader_plugins.ingestion import Findings, open_source, stores  # noqa: E402
from rader_plugins.ingestion.file_records import FileState  # noqa: E402
from tests.rader_plugins.cli.conftest import write_rows  # noqa: E402
from tests.rader_plugins.ingestion.test_stores import FILES, by_workers, read  # noqa: E402

KEY = "topsecretkey"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="docs")
    client.stop = server.stop
    yield client
    server.stop()
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # which knows the address of this server


def test_a_bucket_gives_what_the_same_folder_gives(bucket: Any, tmp_path: Path) -> None:
    for name, content in {**FILES, "deep/rows.xyz": b"x" * 9}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        bucket.put_object(Bucket="docs", Key=f"a folder/{name}", Body=content)
    bucket.put_object(Bucket="docs", Key="a folder/deep/", Body=b"")  # as consoles make folders
    bucket.put_object(Bucket="docs", Key="a folder.txt", Body=b"beside it")
    for url in ("s3://docs/a folder", "s3://docs/a folder/"):
        assert read(url) == by_workers(url) == read(tmp_path)
    assert read("s3://docs/a folder.txt")[0][0].id == "a folder.txt"


def test_rows_are_read_in_parts_and_a_change_is_seen(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rader_plugins.distributed.shares._BYTES", 500)
    path = write_rows(tmp_path / "rows.jsonl", *({"id": f"d{n}", "text": f"prime {n}"} for n in range(100)), {"x": 1})
    bucket.upload_file(str(path), "docs", "rows.jsonl")
    assert by_workers("s3://docs/rows.jsonl") == by_workers(path)
    assert [document.id for document in read("s3://docs/rows.jsonl")[0]] == [f"d{n}" for n in range(100)]
    first, *others = pickle.loads(pickle.dumps(shares_of(open_shared_source("s3://docs/rows.jsonl", (), None))))  # noqa: S301
    assert list(first.documents(Findings()))
    bucket.put_object(Bucket="docs", Key="rows.jsonl", Body=path.read_bytes().replace(b"prime", b"graph"))
    findings = Findings()
    assert not [document for share in others for document in share.documents(findings)]
    assert list(findings.names["unreadable"]) == ["rows.jsonl"]
    bucket.delete_object(Bucket="docs", Key="rows.jsonl")
    assert not list(others[0].documents(findings))
    assert findings.names["unreadable"] == {"rows.jsonl": "it is not there"}


def test_an_etag_tells_a_change_of_the_same_length(bucket: Any) -> None:
    states = []
    for text in (b"prime", b"prime", b"graph"):
        bucket.put_object(Bucket="docs", Key="a/b.txt", Body=text)
        [file] = open_source("s3://docs/a").files
        states.append(FileState.of(file))
    assert states[1].is_unchanged(states[0])
    assert not states[2].is_unchanged(states[1])


def test_faults_of_s3_are_named_without_secrets(bucket: Any) -> None:
    bucket.put_object(Bucket="docs", Key="a/b.txt", Body=b"prime")
    bucket.put_object(Bucket="docs", Key="a/c.txt", Body=b"prime")
    for url, message in (
        ("s3://nosuch/a", "cannot be read: it is not there"),
        ("s3://docs/none", "cannot be read: it is not there"),
        ("s3://docs/none/", "is empty"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(url)
    opened = open_source("s3://docs/a")
    bucket.delete_object(Bucket="docs", Key="a/b.txt")
    findings = Findings()
    assert [document.id for _, document in opened.read(findings)] == ["c.txt"]
    assert findings.names["unreadable"] == {"b.txt": "it is not there"}
    bucket.stop()
    with pytest.raises(SourceError, match="does not answer") as caught:
        list(opened.read(Findings()))
    assert KEY not in str(caught.value)
    assert "s3://docs/a" in str(caught.value)
    assert stores.absolute(opened.path) == "s3://docs/a"
