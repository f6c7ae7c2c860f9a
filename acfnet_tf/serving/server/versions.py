"""The version folders of a model: which there are, and which one serves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from acfnet_tf.serving.server.errors import RequestError, Status
from acfnet_tf.serving.server.model import LoadedModel


class State(NamedTuple):
    """What the model status says of a version: TF Serving's name of the state, and what is wrong with it."""

    name: str
    problem: str = ""


class Versions:
    """Serves the largest version that loads, and follows the folder: new versions, and the removal of the largest.

    Args:
        model_dir: …/NAME with one folder for each version, named by its number.
        max_bytes: what one input of a request may take.

    Attributes:
        current: the model that serves; None before the first `poll`, and as long as none loads.
        states: the state of every version.
    """

    def __init__(self, model_dir: Path, name: str, max_bytes: int) -> None:
        self.model_dir, self.name = model_dir, name
        self.current: LoadedModel | None = None
        self.states: dict[int, State] = {}
        self._max_bytes = max_bytes
        self._broken: dict[int, frozenset] = {}

    def poll(self) -> None:
        """Looks at the folder and loads what should serve now. Not for several threads at once.

        A version that does not load is tried again when its files change.
        """
        folders = {int(path.name): path for path in self._folders()}
        self._broken = {version: files for version, files in self._broken.items() if version in folders}
        keep = {*folders, self.current.version if self.current else None}
        self.states = {version: state for version, state in self.states.items() if version in keep}
        for version in sorted(folders, reverse=True):
            if self.current and version == self.current.version:
                return
            files = _fingerprint(folders[version])
            if self._broken.get(version) != files and self._load(folders[version], files):
                return

    def find(self, name: str, version: int | None = None) -> LoadedModel:
        """The model that answers a request.

        Raises:
            RequestError: another model, or a version that does not serve.
        """
        model = self.current
        if model is None or name != self.name or version not in (None, model.version):
            request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RequestError(Status.NOT_FOUND, f"Servable not found for request: {request}")
        return model

    def status(self, name: str, version: int | None = None) -> dict[int, State]:
        """States of all versions, or of one.

        Raises:
            RequestError: another model, or no such version.
        """
        states = self.states
        if name != self.name or not states:
            raise RequestError(Status.NOT_FOUND, f"Could not find any versions of model {name}")
        if version is None:
            return dict(sorted(states.items(), reverse=True))
        if version not in states:
            raise RequestError(Status.NOT_FOUND, f"Could not find version {version} of model {name}")
        return {version: states[version]}

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self.model_dir.iterdir() if path.name.isdecimal() and path.is_dir()]
        except OSError:
            return []

    def _load(self, folder: Path, files: frozenset) -> bool:
        """Loads and switches; requests that run hold on to the old model, and the last one frees it."""
        version = int(folder.name)
        self._set(version, State("LOADING"))
        try:
            model = LoadedModel(folder, self.name)
            model.warm_up(folder, self._max_bytes)
        except Exception as error:  # TensorFlow answers damaged folders with exceptions of many kinds.
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self._broken[version] = files
            self._set(version, State("END", problem))
            serving = f"; version {self.current.version} keeps serving" if self.current else ""
            print(f"{folder}: this version cannot be loaded ({problem}){serving}.", file=sys.stderr, flush=True)
            return False
        old, self.current = self.current, model
        self._set(version, State("AVAILABLE"))
        if old:
            self._set(old.version, State("END"))
        print(f"{self.name}: serving version {version}.", file=sys.stderr, flush=True)
        return True

    def _set(self, version: int, state: State) -> None:
        self.states = {**self.states, version: state}  # another thread may be reading the old ones


def _fingerprint(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Name, size and time of every file: changes while a folder is being copied."""
    statuses = ((path, path.stat()) for path in folder.rglob("*"))
    return frozenset((str(path), status.st_size, status.st_mtime_ns) for path, status in statuses)
