"""Trains an experiment, or continues where an earlier command stopped.

python main.py --mode=train --experiment=acf_aspp_small
python main.py --mode=train --experiment=acf_aspp --cluster=HOST_A:12345,HOST_B:12345 --worker=0

Without data of yours, it trains on generated street scenes. The second command is one of two, on two machines; the
other one has --worker=1. docs/training.md explains all settings, docs/distributed.md several machines.
"""

from typing import Any


def define_flags(define: Any) -> None:
    define.experiment()
    define.run_dir()
    define.data_dir()
    define.path("init_from", help="A run or .keras file to begin with: short for --set model.weights=RUN_OR_FILE.")
    define.cluster()


def run(flags: Any) -> None:
    from acfnet_tf.cli._runs import next_command, run_folder
    from acfnet_tf.cluster import write_tf_config
    from acfnet_tf.recipes import load_experiment
    from acfnet_tf.train import train
    from acfnet_tf.training.run_folder import BEST_MODEL_FILE

    overrides = [*flags.set]
    if flags.cluster:
        write_tf_config(flags.cluster, flags.worker)
        overrides.append("train.strategy=multi_worker")
    if flags.init_from:
        overrides.append(f"model.weights={flags.init_from}")
    folder = run_folder(flags)
    model_file = train(load_experiment(flags.experiment, overrides), folder, flags.data_dir)
    if not model_file.exists():  # not the chief's process
        return
    best = model_file.with_name(BEST_MODEL_FILE)
    print(
        f"Trained model: {model_file}"
        + (f" (at the best validation: {best.name})\n" if best.exists() else " (no validation measured anything)\n")
        + f"Metrics: {folder / 'metrics.csv'}, {folder / 'tensorboard'}"
    )
    print(f"Next: {next_command('evaluate', flags)}")
