"""Counts parameters, multiply-adds and activation memory of each part of an experiment's network.

python main.py --mode=benchmark --what=complexity --experiment=acf_aspp --size=769x769

Its weights do not matter, and nothing is trained.
"""

from typing import Any


def define_flags(define: Any) -> None:
    define.experiment()
    define.choice("what", default="complexity", enum_values=("complexity",), help="What to measure.")
    define.text("size", default="769x769", help="HEIGHTxWIDTH of the image.")


def run(flags: Any) -> None:
    from acfnet_tf.config import Pixels
    from acfnet_tf.errors import UserError
    from acfnet_tf.measure.complexity import complexity, complexity_table
    from acfnet_tf.models.create import create_model
    from acfnet_tf.recipes import load_experiment
    from acfnet_tf.settings import checked

    try:
        size = checked(flags.size.split("x"), tuple[Pixels, Pixels])
    except ValueError as error:
        raise UserError(f"--size={flags.size}: expected HEIGHTxWIDTH from 1x1 to 65536x65536: 769x769") from error
    if flags.what == "complexity":
        model = create_model(load_experiment(flags.experiment, flags.set).model)
        print(complexity_table(complexity(model, size), size))
