"""``rader doctor``: what is installed, what is missing, and how to mend it. Touches no network."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import typer

from rader_plugins import __version__
from rader_plugins.cli.options import JsonOutput
from rader_plugins.cli.output import count, emit_json, facts
from rader_plugins.cli.plugins import load_plugin, plugins
from rader_plugins.errors import InputError
from rader_plugins.processor import shown_features

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["doctor"]

_DISTRIBUTION = "rader-plugins"
# Any one of these gives FAISS.
_ALTERNATIVES = {"faiss": "faiss-gpu", "faiss-gpu": "faiss"}
# Extras that stand for others; pip's metadata spells out what they refer to.
_COLLECTIONS = {"all", "cpu", "gpu"}
_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE = {"1", "true", "yes", "on"}


def doctor(json: JsonOutput = False) -> None:
    """Show what is installed, which devices there are and which extras are missing.

    Exit code 1 only if something that is installed is broken.
    """
    report = _examine()
    if json:
        emit_json(report)
    else:
        typer.echo("\n".join(_rendered(report)))
    if report["problems"]:
        raise typer.Exit(1)


def _examine() -> dict[str, Any]:
    problems: list[str] = []
    extras, libraries = _extras(problems)
    return {
        "rader_plugins": {
            "version": __version__,
            "installed": _version(_DISTRIBUTION) is not None,
            "location": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),  # noqa: PTH100, PTH120
        },
        "python": {
            "version": platform.python_version(),
            "executable": sys.executable,
            "platform": platform.platform(),
            "sqlite": sqlite3.sqlite_version,
        },
        "libraries": libraries,
        "extras": extras,
        "devices": _devices(problems),
        "mini": _mini(problems),
        "network": _network(),
        "temporary_folder": _temporary_folder(problems),
        "plugins": _plugins(problems),
        "problems": problems,
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _extras(problems: list[str]) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Return the state of every extra and the versions of all libraries that they and the base name."""
    from packaging.requirements import Requirement

    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return {}, {}
    requirements = [Requirement(line) for line in distribution.requires or []]
    base = _needed(requirements, "")
    problems += [f"{fault}, which rader-plugins needs" for fault in _faults(base)]
    needs = {extra: _needed(requirements, extra) for extra in distribution.metadata.get_all("Provides-Extra") or []}
    libraries = {need.name: _version(need.name) for need in itertools.chain(base, *needs.values())}
    own = {extra: needed for extra, needed in needs.items() if extra not in _COLLECTIONS}
    complete = {extra: _with_referred(needed, needs) for extra, needed in own.items()}
    libraries.pop(_DISTRIBUTION, None)
    return {extra: _state(extra, complete) for extra in complete}, libraries


def _needed(requirements: Sequence[Requirement], extra: str) -> list[Requirement]:
    """Return what an extra asks for on this machine; for "", what the base does."""
    applying = [need for need in requirements if need.marker is None or need.marker.evaluate({"extra": extra})]
    if not extra:
        return applying
    base = _needed(requirements, "")
    return [need for need in applying if need not in base]


def _with_referred(needed: Sequence[Requirement], needs: Mapping[str, Sequence[Requirement]]) -> list[Requirement]:
    """Replace references to other extras of this package by what those ask for."""
    resolved: list[Requirement] = []
    for need in needed:
        if need.name == _DISTRIBUTION:
            resolved += [other for extra in sorted(need.extras) for other in _with_referred(needs[extra], needs)]
        else:
            resolved.append(need)
    return resolved


def _faults(needed: Sequence[Requirement]) -> list[str]:
    faults = {}
    for need in needed:
        version = _version(need.name)
        if version is None:
            faults[need.name] = f"{need.name} is missing"
        elif not need.specifier.contains(version, prereleases=True):
            faults[need.name] = f"{need.name} {version} is not {need.specifier}"
    return list(faults.values())


def _state(extra: str, needs: Mapping[str, Sequence[Requirement]]) -> dict[str, Any]:
    faults = _faults(needs[extra])
    alternative = needs.get(_ALTERNATIVES.get(extra, ""))
    covered = bool(faults) and alternative is not None and not _faults(alternative)
    return {
        "installed": not faults,
        "missing": faults,
        "not_needed": covered,
        "install": f"pip install '{_DISTRIBUTION}[{extra}]'" if faults and not covered else None,
    }


def _devices(problems: list[str]) -> dict[str, Any]:
    from rader_plugins.encoding.models import auto_dtype

    devices: dict[str, Any] = {"cpu_count": os.cpu_count(), "torch": None, "cuda": [], "mps": False, "faiss_gpus": None}
    devices["cpu_features"] = shown_features()
    devices["cpu_dtype"] = auto_dtype(None, "cpu")
    devices["onnxruntime"] = None
    runtime = _optional("onnxruntime", problems)
    if runtime is not None:
        devices["onnxruntime"] = runtime.get_available_providers()
    torch = _optional("torch", problems)
    if torch is not None:
        devices["torch"] = torch.__version__
        if torch.cuda.is_available():
            for number in range(torch.cuda.device_count()):
                properties = torch.cuda.get_device_properties(number)
                devices["cuda"].append({"name": properties.name, "memory_bytes": properties.total_memory})
        devices["mps"] = bool(torch.backends.mps.is_available())
    faiss = _optional("faiss", problems)
    if faiss is not None:
        devices["faiss_gpus"] = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return devices


def _optional(module: str, problems: list[str]) -> Any:
    """Import a library if it is there; a library that is there and cannot be imported is a problem."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - a broken build may raise anything, and that is what is reported
        problems.append(f"{module} is installed but cannot be imported: {type(error).__name__}: {error}")
        return None


def _mini(problems: list[str]) -> dict[str, Any]:
    from rader_plugins.recipes.resolve import resolve

    try:
        resolved = resolve("mini")
    except InputError as error:
        problems.append(str(error))
        return {"found": True, "sha256_right": False, "location": None}
    if resolved.location == resolved.recipe.model:
        return {"found": False, "sha256_right": None, "location": None}
    return {"found": True, "sha256_right": True, "location": resolved.location}


def _network() -> dict[str, Any]:
    off = [name for name in _SWITCHES if os.environ.get(name, "").lower() in _TRUE]
    return {"hub": "off" if off else "on", "switched_off_by": off, "endpoint": os.environ.get("HF_ENDPOINT")}


def _temporary_folder(problems: list[str]) -> dict[str, Any]:
    path = None
    try:
        path = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=path) as stream:
            stream.write(b"rader")
            stream.flush()
    except OSError as error:
        problems.append(f"The temporary folder cannot be written ({error}): set TMPDIR to one that can.")
        return {"path": path, "writable": False}
    return {"path": path, "writable": True}


def _plugins(problems: list[str]) -> dict[str, str]:
    loaded = {}
    for name, entry in sorted(plugins().items()):
        with contextlib.redirect_stdout(sys.stderr):
            command, error = load_plugin(entry)
        if command is None:
            problems.append(f"The plug-in command {name!r} ({entry.value}) cannot be loaded: {error}")
        loaded[name] = "loads" if command is not None else f"broken: {error}"
    return loaded


def _rendered(report: dict[str, Any]) -> list[str]:
    own, python = report["rader_plugins"], report["python"]
    lines = facts(
        [
            ("rader-plugins", own["version"] + ("" if own["installed"] else " (not installed: run from its folder)")),
            ("python", f"{python['version']} ({python['executable']})"),
            ("platform", python["platform"]),
            ("sqlite", python["sqlite"]),
            ("devices", _devices_text(report["devices"])),
            ("precision", _precision_text(report["devices"])),
            ("onnx", _onnx_text(report["devices"])),
            ("mini model", _mini_text(report["mini"])),
            ("hub", _network_text(report["network"])),
            ("temporary", f"{report['temporary_folder']['path']}" + _writable(report["temporary_folder"])),
        ]
    )
    if report["libraries"]:
        lines += ["", "Libraries"]
        lines += facts([(name, version or "-") for name, version in report["libraries"].items()], indent="  ")
    lines += ["", "Extras"]
    if not report["extras"]:
        lines.append("  unknown: rader-plugins is not installed as a package (pip install -e . in its folder)")
    lines += facts([(name, _extra_text(state)) for name, state in report["extras"].items()], indent="  ")
    if report["plugins"]:
        lines += ["", "Commands of plug-ins"]
        lines += facts(list(report["plugins"].items()), indent="  ")
    if report["problems"]:
        lines += ["", "Problems"]
        for problem in report["problems"]:
            lines += facts([("-", " ".join(problem.split()))], indent="  ")
    else:
        missing = sum(not state["installed"] and not state["not_needed"] for state in report["extras"].values())
        absent = f" ({count(missing, 'extra')} not installed: see above)" if missing else ""
        lines += ["", f"Nothing that is installed is broken{absent}."]
    return lines


def _devices_text(devices: dict[str, Any]) -> str:
    if devices["torch"] is None:
        return f"{devices['cpu_count']} CPU cores (GPUs unknown: torch is not installed)"
    gpus = [f"{gpu['name']} ({gpu['memory_bytes'] / 2**30:.0f} GiB)" for gpu in devices["cuda"]]
    if devices["mps"]:
        gpus.append("Apple MPS")
    faiss = f"; FAISS sees {devices['faiss_gpus']} GPUs" if devices["faiss_gpus"] else ""
    return f"{devices['cpu_count']} CPU cores, " + (", ".join(gpus) or "no GPU") + faiss


def _precision_text(devices: dict[str, Any]) -> str:
    from rader_plugins.encoding.models import CPU_DTYPE

    features = f" ({', '.join(devices['cpu_features'])})" if devices["cpu_features"] else ""
    stated = f", as {CPU_DTYPE} states" if os.environ.get(CPU_DTYPE) else ""
    return f"{devices['cpu_dtype']} on this CPU{stated}{features}; dtype= states another"


def _onnx_text(devices: dict[str, Any]) -> str:
    if devices["onnxruntime"] is None:
        return "no ONNX Runtime: models run in torch"
    from rader_plugins.encoding.onnx_model import ONNX_PROVIDERS

    names = [name for name, provider in ONNX_PROVIDERS.items() if provider in devices["onnxruntime"]]
    return f"ONNX Runtime runs models on {', '.join(names)}"


def _mini_text(mini: dict[str, Any]) -> str:
    if not mini["found"]:
        return f"not installed; it would come from the hub. Offline: pip install '{_DISTRIBUTION}[mini]'"
    return f"{mini['location']}, sha256 right" if mini["sha256_right"] else "installed, but its sha256 is WRONG"


def _network_text(network: dict[str, Any]) -> str:
    if network["hub"] == "off":
        return f"off ({', '.join(network['switched_off_by'])} is set): models must be on this machine"
    return (
        f"on, at {network['endpoint']}" if network["endpoint"] else "on"
    ) + " (not tried; HF_HUB_OFFLINE=1 switches it off)"


def _writable(folder: dict[str, Any]) -> str:
    return " (writable)" if folder["writable"] else " (NOT writable)"


def _extra_text(state: dict[str, Any]) -> str:
    if state["installed"]:
        return "installed"
    if state["not_needed"]:
        return "not needed: its alternative is installed"
    return f"{'; '.join(state['missing'])}. To mend it: {state['install']}"
