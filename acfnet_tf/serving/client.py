"""Segments an image, or all images of a folder, on a model server.

python -m acfnet_tf.serving.client --input=FILE_OR_FOLDER --address=http://127.0.0.1:8501 --model=NAME

An image sub/a.jpg gives OUTPUT/sub/a.png, whose pixels are class indices. Images that cannot be read, or that the
server refuses, are named at the end, and the exit status is 1 then; the others are done.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from acfnet_tf.config import Threads
from acfnet_tf.console import console
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.failures import Failures
from acfnet_tf.files import writing
from acfnet_tf.label_files import label_files, plan
from acfnet_tf.paths import check_writable
from acfnet_tf.pictures import encoded
from acfnet_tf.progress import ProgressBar
from acfnet_tf.serving.channels import RefusedError
from acfnet_tf.serving.connection import Client
from acfnet_tf.settings import Range, checked
from acfnet_tf.signals import exit_status


def segment_files(
    client: Callable[[Path], np.ndarray],
    source: str | Path,
    output_dir: str | Path,
    parallel: int = 8,
    progress: bool = True,
) -> list[Path]:
    """Labels one image, or every image of a folder and its subfolders, several at a time.

    Files are named as `predict_files` names its index files. Each is there whole or not at all. In memory are the
    images of `parallel` requests.

    Args:
        client: gives the labels (H, W) of an image file, from several threads at a time, such as `Client`.
        output_dir: not the images' own folder.
        parallel: how many requests are under way at a time.

    Returns:
        The index files, in the order of the images' names.

    Raises:
        UserError: there is nothing to do, the folder cannot be written, or the server failed, and what was done until
            then is kept; or, when all others are done, some images could not be read, were refused, or their files
            could not be written.
    """
    planned, folder = plan(Path(source), Path(output_dir)), check_writable(Path(output_dir))
    files = [folder / label_files(stem)[0] for _, stem in planned]
    failures, failed = Failures(), threading.Event()

    def segment(image: Path, file: Path) -> UserError | None:
        """Writes the labels, or says what is wrong with the image."""
        if failed.is_set():
            return None
        try:
            labels = client(image)
        except (DataError, RefusedError) as error:
            return error if str(image) in str(error) else type(error)(f"{image}: {error}")
        except Exception:
            failed.set()  # the other images would fail too
            raise
        try:
            with writing(file) as partial:
                partial.write_bytes(encoded(labels))
        except UserError as error:
            return error
        return None

    pool = ThreadPoolExecutor(parallel)
    try:
        results = pool.map(segment, [image for image, _ in planned], files)
        results = ProgressBar(results, "Segmenting", len(files), unit="image", disable=not progress)
        failures.errors += filter(None, results)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C: what is under way is finished, the rest dropped
    failures.raise_any(len(files))
    return files


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("names no file or folder")
    return Path(os.path.expanduser(text))


def _flag(expected: Any) -> Callable[[str], Any]:
    """What `argparse` calls for a flag of this type and range, for one clear line where it does not fit."""

    def parse(text: str) -> Any:
        try:
            return checked(text, expected)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m acfnet_tf.serving.client", formatter_class=argparse.RawTextHelpFormatter, description=__doc__
    )
    parser.add_argument("--input", required=True, type=_path, help="an image or a folder of images")
    parser.add_argument("--address", required=True, help="http://HOST:8501 (REST) or HOST:8500 (gRPC)")
    parser.add_argument("--model", default="acfnet", help="name under which the model is served (%(default)s)")
    parser.add_argument("--version", help="number or label of a version; the newest by default")
    parser.add_argument("--output", type=_path, help="folder for the PNGs; INPUT_labels by default")
    parser.add_argument("--parallel", type=_flag(Threads), default=8, help="requests at a time (%(default)s)")
    parser.add_argument(
        "--timeout",
        type=_flag(Annotated[float, Range(above=0, most=86_400)]),
        default=300.0,
        help="seconds for one request, its time in the queue included (%(default)s)",
    )
    flags = parser.parse_args()
    source = flags.input.resolve()
    output = flags.output or source.with_name(f"{source.stem if source.is_file() else source.name}_labels")
    version = int(flags.version) if flags.version and flags.version.isdecimal() else flags.version
    try:
        with Client(flags.address, flags.model, version=version, timeout=flags.timeout) as client:
            files = segment_files(client, flags.input, output, flags.parallel)
    except UserError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(exit_status(signal.SIGINT))
    print(f"{len(files)} label images in {output}")


if __name__ == "__main__":
    with console():
        main()
