"""Where a model is: relative and absolute paths, `~`, variables, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from rader_plugins import load_encoder
from rader_plugins.errors import InputError
from rader_plugins.recipes.resolve import resolve

pytest.importorskip("sentence_transformers")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    from rader_plugins import Recipe
    from tests.support.tiny_models import tiny_qwen2

    plain = tiny_qwen2(tmp_path / "plain")
    folder = tmp_path / "home" / "models" / "tiny"
    load_encoder(Recipe(name="tiny", model=str(plain), pooling="lasttoken", append_eos=True)).save(folder)  # type: ignore[attr-defined]
    return folder


@pytest.mark.parametrize("name", ["models/tiny", "./models/tiny", "~/models/tiny", "$MODELS/tiny", "${MODELS}/tiny"])
def test_a_directory_is_found_and_its_path_holds_elsewhere(
    name: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = model.parents[1]
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("MODELS", str(home / "models"))
    resolved = resolve(name)
    assert Path(resolved.location).is_absolute()
    encoder = load_encoder(name)
    monkeypatch.chdir("/")
    assert Path(encoder.location or "") == model
    assert resolve(resolved.location).recipe.fingerprint == encoder.fingerprint


@pytest.mark.parametrize(
    "name", ["models/none", "./none", "/no/such/place", "~/none", "a/b/c", "..\\none", "$HOME/none"]
)
def test_a_missing_directory_is_called_that(name: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parents[1])
    monkeypatch.setenv("HOME", str(model.parents[1]))
    monkeypatch.setenv("USERPROFILE", str(model.parents[1]))
    with pytest.raises(InputError, match="no directory") as caught:
        load_encoder(name)
    assert "hub" not in str(caught.value)


def test_what_may_be_a_hub_id_says_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no directory 'owner/model' here.*hub"):
        load_encoder("owner/model")
    with pytest.raises(InputError, match="no registered recipe"):
        load_encoder("nothing")
