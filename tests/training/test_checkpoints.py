"""A checkpoint is there whole or not at all, and a damaged one never passes for a good one."""

from __future__ import annotations

import errno
import functools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf import files
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
SHAPES = {"stage1_block1_conv1/conv/kernel": (3, 5, 1, 7), "stage1_norm/gamma": (1,), "empty": (0, 4), "rate": ()}


class ArrayVariable:
    """The interface of a variable, for processes that fork (TensorFlow's threads would not) and for counting bytes."""

    dtype = "float32"

    def __init__(self, size: int) -> None:
        self.shape, self.value = (size,), 0.0

    def numpy(self) -> np.ndarray:
        return np.full(self.shape, self.value, np.float32)

    def assign(self, array: np.ndarray) -> None:
        assert array.shape == self.shape and (array == array[0]).all()
        self.value = float(array[0])


def values_of_step(step: int) -> dict[str, np.ndarray]:
    random_values = np.random.default_rng(step)
    values = {name: random_values.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    values["stage1_norm/gamma"][0] = np.nan
    return values | {"optimizer/iteration": np.int64(step + 2**60), "seed": np.array([step, 7], np.uint32)}


@functools.cache
def content_of_step(step: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        variables = {name: tf.Variable(value) for name, value in values_of_step(step).items()}
        return Checkpoints(Path(folder), variables).save(step).read_bytes()


@pytest.fixture(scope="module")
def variables():
    return {name: tf.Variable(value) for name, value in values_of_step(0).items()}


@pytest.fixture
def two_checkpoints(tmp_path):
    """The folder, with checkpoints of steps 1 and 2."""
    for step in (1, 2):
        (tmp_path / f"step_0000000{step}.npz").write_bytes(content_of_step(step))
    return tmp_path


def assert_of_step(variables, step):
    for name, value in values_of_step(step).items():
        restored = variables[name].numpy()
        assert restored.dtype == value.dtype and restored.shape == value.shape
        assert restored.tobytes() == value.tobytes(), name


def names_in(folder):
    return sorted(file.name for file in folder.iterdir())


def assert_damage_is_noticed(variables, damage):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "step_00000001.npz").write_bytes(content_of_step(1))
        (folder / "step_00000002.npz").write_bytes(damage(content_of_step(2)))
        assert Checkpoints(folder, variables).restore() == 1
        assert_of_step(variables, 1)
        assert names_in(folder) == ["step_00000001.npz", "step_00000002.npz.damaged"]


def test_round_trip_is_bit_exact(variables, tmp_path):
    for name, value in values_of_step(7).items():
        variables[name].assign(value)
    file = Checkpoints(tmp_path / "made/by/save", variables).save(7)
    for name, value in values_of_step(0).items():
        variables[name].assign(value)
    checkpoints = Checkpoints(file.parent, variables)
    assert (checkpoints.restore(), checkpoints.steps(), file.name) == (7, [7], "step_00000007.npz")
    assert_of_step(variables, 7)
    with np.load(file) as archive:
        assert set(archive) == set(variables)
        assert archive["optimizer/iteration"] == 7 + 2**60


def test_mirrored_variables(tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        variables = {"step": tf.Variable(5, dtype=tf.int64), "weights": tf.Variable([1.0, 2.0])}
    Checkpoints(tmp_path, variables).save(5)
    for variable in variables.values():
        variable.assign(tf.zeros_like(variable))
    assert Checkpoints(tmp_path, variables).restore() == variables["step"].numpy() == 5
    assert variables["weights"].numpy().tolist() == [1, 2]


def test_a_new_run_has_no_checkpoint(variables, tmp_path):
    checkpoints = Checkpoints(tmp_path / "none", variables)
    assert (checkpoints.steps(), checkpoints.restore()) == ([], None)


def test_memory_holds_one_variable_at_a_time(tmp_path):
    variables = {str(i): ArrayVariable(250_000) for i in range(30)}  # 1 MB each
    checkpoints = Checkpoints(tmp_path, variables)
    tracemalloc.start()
    try:
        checkpoints.save(1)
        checkpoints.restore()
        assert tracemalloc.get_traced_memory()[1] < 6e6
    finally:
        tracemalloc.stop()


def test_the_newest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"a": tf.Variable(1.0)})
    for step in range(100, 600, 100):
        checkpoints.save(step)
        if step == 200:
            checkpoints.best = 200
    assert checkpoints.steps() == [200, 300, 400, 500]
    checkpoints.best = 500
    checkpoints.save(600)
    assert checkpoints.steps() == [400, 500, 600]


@settings(max_examples=150, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True))
def test_a_checkpoint_cut_anywhere_is_noticed(variables, position):
    assert_damage_is_noticed(variables, lambda content: content[: int(position * len(content))])


@settings(max_examples=300, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed(variables, position, flip):
    def damage(content):
        changed = bytearray(content)
        changed[int(position * len(content))] ^= flip
        return changed

    assert_damage_is_noticed(variables, damage)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"00000000", b"no zip" * 100])
def test_what_is_no_checkpoint_is_noticed(variables, content):
    assert_damage_is_noticed(variables, lambda _: content)


def test_a_damaged_checkpoint_is_named(variables, two_checkpoints, capsys):
    file = two_checkpoints / "step_00000002.npz"
    file.write_bytes(content_of_step(2)[:-100])
    (two_checkpoints / "step_00000003.npz").mkdir()
    assert Checkpoints(two_checkpoints, variables).restore() == 1
    first, second = capsys.readouterr().out.splitlines()
    assert "step_00000003.npz is damaged (Is a directory): it is now step_00000003.npz.damaged" in first
    assert second == (
        f"Checkpoint {file} is damaged (cut short or changed: its checksum is wrong): "
        "it is now step_00000002.npz.damaged; continuing from the one before."
    )


def failing_open(monkeypatch, number, times):
    """`Path.open` of checkpoints fails with this error so often, and listing their folder too. Returns the failures."""
    failures = []

    def failing(call, wanted):
        def or_fail(path, *arguments, **options):
            if wanted in str(path) and failures.count(wanted) < times:
                failures.append(wanted)
                raise OSError(number, os.strerror(number), str(path))
            return call(path, *arguments, **options)

        return or_fail

    monkeypatch.setattr(Path, "open", failing(Path.open, "step_00000002.npz"))
    monkeypatch.setattr(os, "listdir", failing(os.listdir, ""))
    monkeypatch.setattr(files, "PAUSES", (0, 0))
    return failures


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
def test_a_read_error_that_passes_changes_nothing(variables, two_checkpoints, monkeypatch, capsys, number):
    failures = failing_open(monkeypatch, number, times=2)
    assert Checkpoints(two_checkpoints, variables).restore() == 2
    assert sorted(failures) == ["", "", "step_00000002.npz", "step_00000002.npz"]
    assert_of_step(variables, 2)
    assert names_in(two_checkpoints) == ["step_00000001.npz", "step_00000002.npz"]
    assert capsys.readouterr().out == ""


def test_a_checkpoint_that_cannot_be_read_is_not_put_aside(variables, two_checkpoints, monkeypatch):
    checkpoints = Checkpoints(two_checkpoints, variables)
    failing_open(monkeypatch, errno.ESTALE, times=3)
    with pytest.raises(UserError, match=rf"cannot read {two_checkpoints}: Stale file handle. Nothing was changed"):
        checkpoints.restore()  # nor does the run begin anew
    with pytest.raises(UserError, match=r"cannot read .*step_00000002.npz: Stale file handle. Nothing was changed"):
        checkpoints.restore()
    assert names_in(two_checkpoints) == ["step_00000001.npz", "step_00000002.npz"]
    assert checkpoints.restore() == 2


def test_a_run_does_not_begin_anew_when_all_are_damaged(variables, two_checkpoints, capsys):
    for file in two_checkpoints.iterdir():
        file.write_bytes(b"")
    for _ in range(2):  # the second time both have been put aside already
        with pytest.raises(UserError, match=f"{two_checkpoints} holds only damaged checkpoints. Move the folder away"):
            Checkpoints(two_checkpoints, variables).restore()
    assert capsys.readouterr().out.count("continuing from the one before") == 1
    assert names_in(two_checkpoints) == ["step_00000001.npz.damaged", "step_00000002.npz.damaged"]


def test_a_checkpoint_of_another_model_is_refused(variables, two_checkpoints):
    before = {name: variable.numpy() for name, variable in variables.items()}
    others = variables | {
        "stage1_norm/gamma": tf.Variable([1.0, 2.0]),
        "seed": tf.Variable([1, 2]),
        "new": tf.Variable(1),
    }
    del others["rate"]
    with pytest.raises(ConfigError) as refusal:
        Checkpoints(two_checkpoints, others).restore()
    assert str(refusal.value) == (
        f"{two_checkpoints}/step_00000002.npz is no checkpoint of this model: "
        "stage1_norm/gamma is float32 (1,) in the file, float32 (2,) in the model; "
        "seed is uint32 (2,) in the file, int32 (2,) in the model; "
        "new is missing in the file, int32 () in the model; and 1 more"
    )
    for name, variable in variables.items():
        assert variable.numpy().tobytes() == before[name].tobytes()
    assert names_in(two_checkpoints) == ["step_00000001.npz", "step_00000002.npz"]


def test_nothing_half_written_is_visible(tmp_path):
    class Watched(ArrayVariable):
        def numpy(self):
            seen.append(checkpoints.steps())
            assert [name[0] for name in names_in(tmp_path) if name != "step_00000001.npz"] in ([], ["."])
            if len(seen) == 4:
                raise KeyboardInterrupt
            return super().numpy()

    seen = []
    checkpoints = Checkpoints(tmp_path, {"a": Watched(1000), "b": Watched(1000)})
    checkpoints.save(1)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2)
    assert seen == [[], [], [1], [1]]
    assert names_in(tmp_path) == ["step_00000001.npz"]


def test_a_folder_that_cannot_be_written_is_named(variables, tmp_path):
    folder = tmp_path / "file"
    folder.write_text("")
    with pytest.raises(UserError) as failure:
        Checkpoints(folder, variables).save(3)
    assert str(failure.value) == (
        f"cannot write checkpoint {folder}/step_00000003.npz: File exists. There is no checkpoint before it."
    )


def run_in_process(function: str, *arguments: object, prefix: tuple[str, ...] = ()) -> str:
    """Calls a function of this module in a process of its own; returns what it prints."""
    script = f"import sys; from tests.training import test_checkpoints as t; t.{function}(*sys.argv[1:])"
    command = [*prefix, sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def save_until_it_fails(folder: str, file_size_limit: str) -> None:
    """In a process of its own: saves until the space is used up, then continues like the next process."""
    variables = {"a": ArrayVariable(50_000), "b": ArrayVariable(50_000)}  # 400 kB
    checkpoints = Checkpoints(Path(folder), variables)
    message = None
    for step in range(1, 4):
        for variable in variables.values():
            variable.value = float(step)
        try:
            checkpoints.save(step)
        except UserError as error:
            message = str(error)
            break
        if file_size_limit != "none":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_size_limit), resource.RLIM_INFINITY))
    names = names_in(Path(folder))
    restored = Checkpoints(Path(folder), variables).restore()
    values = [variable.value for variable in variables.values()]
    print(json.dumps({"message": message, "names": names, "restored": restored, "values": values}))


@pytest.mark.parametrize("limit", [300_000, 400_400])  # in the second array, in the table of contents
def test_a_write_that_fails_leaves_the_checkpoint_before(tmp_path, limit):
    assert json.loads(run_in_process("save_until_it_fails", tmp_path, limit)) == {
        "message": (
            f"cannot write checkpoint {tmp_path}/step_00000002.npz: File too large. The checkpoint before it is "
            f"intact: {tmp_path}/step_00000001.npz; the same command continues from there."
        ),
        "names": ["step_00000001.npz"],
        "restored": 1,
        "values": [1, 1],
    }


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    mount = ("sh", "-c", f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "$@"', "sh")
    for namespace in (("unshare", "--user", "--map-root-user", "--mount"), ("unshare", "--mount")):
        prefix = (*namespace, *mount)
        if shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("this machine does not let the test mount a small disk")
    assert json.loads(run_in_process("save_until_it_fails", tmp_path, "none", prefix=prefix)) == {
        "message": (
            f"cannot write checkpoint {tmp_path}/step_00000003.npz: No space left on device. The checkpoint before it "
            f"is intact: {tmp_path}/step_00000002.npz; the same command continues from there."
        ),
        "names": ["step_00000001.npz", "step_00000002.npz"],
        "restored": 2,
        "values": [2, 2],
    }


def save_and_kill(folder: str, kills: str) -> None:
    """In a process of its own: each child continues where the one before was killed."""
    variables = {str(i): ArrayVariable(20_000) for i in range(10)}
    last, killed_while_writing = 0, 0
    for _ in range(int(kills)):
        child = os.fork()
        if not child:
            checkpoints = Checkpoints(Path(folder), variables)
            step = checkpoints.restore() or 0
            while True:
                step += 1
                for variable in variables.values():
                    variable.value = float(step)
                checkpoints.save(step)
        time.sleep(random.uniform(0.02, 0.1))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        killed_while_writing += any(name.startswith(".") for name in names_in(Path(folder)))
        checkpoints = Checkpoints(Path(folder), variables)
        step = checkpoints.restore()
        assert {variable.value for variable in variables.values()} == {float(step)}
        assert step >= last
        assert names_in(Path(folder)) == [f"step_{step:08d}.npz" for step in checkpoints.steps()]
        last = step
    print(killed_while_writing, last)


def test_a_killed_process_leaves_whole_checkpoints(tmp_path):
    killed_while_writing, last = map(int, run_in_process("save_and_kill", tmp_path, 15).split())
    assert killed_while_writing > 0 and last > 15
