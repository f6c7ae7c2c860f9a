"""The kinds of flags that a mode may have, and the flags that several modes have in common."""

from __future__ import annotations

import functools
import os

from absl import flags


class Flags:
    """Gives one mode its flags. What a mode does not ask for here is no flag of it, and is refused.

    Attributes:
        text, texts, words, path, paths, number, switch, choice: absl's functions that define a flag of this kind, for
            these values: `define.text("size", help="...")`. Texts and paths may be repeated, words are separated by
            commas, a choice wants `enum_values`; `default` is None, [] or False, unless it is given.

    Args:
        values: the flags of the mode, to which each call adds.
    """

    def __init__(self, values: flags.FlagValues) -> None:
        one, several = {"default": None, "flag_values": values}, {"default": [], "flag_values": values}
        self.text = functools.partial(flags.DEFINE_string, **one)
        self.texts = functools.partial(flags.DEFINE_multi_string, **several)
        self.words = functools.partial(flags.DEFINE_list, **several)
        self.path = functools.partial(flags.DEFINE, _Path(), serializer=flags.ArgumentSerializer(), **one)
        self.paths = functools.partial(flags.DEFINE_multi, _Path(), flags.ArgumentSerializer(), **several)
        self.number = functools.partial(flags.DEFINE_integer, **one)
        self.switch = functools.partial(flags.DEFINE_bool, default=False, flag_values=values)
        self.choice = functools.partial(flags.DEFINE_enum, **one)
        self._values = values

    def experiment(self) -> None:
        """--experiment, and --set to change its settings."""
        self.text("experiment", help="Name of the experiment; --help without a mode lists them.")
        self.texts("set", help="Override of one setting, key.path=value. May be repeated.")

    def run_dir(self) -> None:
        self.path("run_dir", help="Run folder; runs/EXPERIMENT by default.")

    def trained_run(self, model: str = "A .keras file instead of RUN_DIR/model.keras.") -> None:
        """A run that is there already: by its experiment, its folder, or its model alone."""
        self.experiment()
        self.run_dir()
        self.path("model", help=model)

    def data_dir(self) -> None:
        self.path("data_dir", help="Folder of the data; else that of CITYSCAPES_DATASET, else scenes are generated.")

    def data(self, split: str = "data.val_split") -> None:
        """The data, and a part of them."""
        self.data_dir()
        self.text("split", help=f"Split of the data; {split} by default.")

    def output(self, default: str) -> None:
        self.path("output", help=f"Folder for results; {default} by default.")

    def compare(self, help: str, *, once: bool = False) -> None:
        self.paths("compare", help=f"Another run folder or .keras file, {help}.{'' if once else ' May be repeated.'}")
        if once:
            flags.register_validator(
                "compare", lambda paths: len(paths) < 2, "one other run at a time: give --compare once", self._values
            )

    def runtime(self) -> None:
        choices = ("tensorflow", "openvino", "openvino_bfloat16")
        self.choice("runtime", default="tensorflow", enum_values=choices, help="What runs the network.")

    def cluster(self) -> None:
        """--cluster and --worker, of which none is of use alone."""
        self.words("cluster", help="HOST:PORT of all workers, separated by commas; the first is the chief.")
        self.number("worker", help="Which of --cluster this process is, from 0.")
        flags.register_multi_flags_validator(
            ("cluster", "worker"),
            lambda values: bool(values["cluster"]) == (values["worker"] is not None),
            "--cluster=HOST:PORT,... and --worker=INDEX, which of them this process is, from 0, want each other",
            self._values,
        )


class _Path(flags.ArgumentParser):
    """Paths may begin with "~", as shells leave it in --output=~/labels."""

    def parse(self, argument: str) -> str:
        if not argument:
            raise ValueError("names no file or folder")
        return os.path.expanduser(argument)
