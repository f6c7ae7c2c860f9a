"""Serves an exported SavedModel behind TF Serving's REST and gRPC interfaces, for development.

python main.py --mode=serve --experiment=acf_aspp_small

Ctrl-C ends it. serve.* are its settings; docs/deployment.md leads to a server for production.
"""

from pathlib import Path
from typing import Any


def define_flags(define: Any) -> None:
    define.trained_run(model="Folder of a SavedModel's versions; RUN_DIR/export/EXPERIMENT by default.")


def run(flags: Any) -> None:
    from acfnet_tf.cli._runs import next_command, run_folder
    from acfnet_tf.config import Experiment
    from acfnet_tf.errors import UserError
    from acfnet_tf.serving.server import serve
    from acfnet_tf.settings import override

    folder = Path(flags.model or run_folder(flags) / "export" / str(flags.experiment))
    if not folder.is_dir():
        otherwise = f"export the run first: {next_command('export', flags)}"
        hint = "name the folder of an exported SavedModel by --model" if flags.model else otherwise
        raise UserError(f"no model to serve at {folder}; {hint}")
    serve(folder, override(Experiment(name=folder.name), flags.set).serve)
