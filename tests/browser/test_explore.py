"""The page as a user meets it: what it shows is what the networks say, by mouse and by keyboard."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.visualization.explore.drawing import view_size
from acfnet_tf.visualization.explore.tables import MOST_CLASSES
from acfnet_tf.visualization.palette import overlay

pytestmark = pytest.mark.browser


def upload(page: Page, file: Path) -> None:
    page.locator("#upload input[type=file]").set_input_files(file)


def opened(page: Page, file: Path) -> Page:
    """The page after an upload, when all is there."""
    upload(page, file)
    expect(page.locator("#status")).to_contain_text(file.name)
    expect(page.get_by_role("button", name="Labels as PNG").first).to_be_enabled()
    return page


def downloaded(page: Page, text: str, index: int) -> np.ndarray:
    with page.expect_download() as download:
        page.get_by_role("button", name=text).nth(index).click()
    return np.asarray(Image.open(download.value.path()))


def shown(page: Page, alt_text: str) -> np.ndarray:
    """The pixels of a picture on the page."""
    picture = page.get_by_alt_text(alt_text, exact=True)
    picture.scroll_into_view_if_needed()
    answer = page.request.get(picture.get_attribute("src"))
    return np.asarray(Image.open(io.BytesIO(answer.body()))).astype(int)


def wait_for_change(page: Page, alt_text: str, before: str) -> None:
    expect(page.get_by_alt_text(alt_text, exact=True)).not_to_have_attribute("src", before)


def source(page: Page, alt_text: str) -> str:
    return page.get_by_alt_text(alt_text, exact=True).get_attribute("src")


def probabilities_on(page: Page, index: int) -> dict[str, list[float]]:
    """{class: shares in percent} of a run's table."""
    rows = page.locator(".probe table").nth(index).locator("tbody tr").all()
    return {
        row.locator("th").inner_text().strip(): [
            float(cell.removesuffix("%")) for cell in row.locator("td").all_inner_texts()
        ]
        for row in rows
    }


def expect_probabilities(page: Page, runs, image: np.ndarray, x: int, y: int) -> None:
    expect(page.locator("#status")).to_contain_text(f"pixel ({x}, {y})")
    for index, (run, heads) in enumerate(zip(runs, (("coarse", "fine"), ("fine",)), strict=True)):
        expected = {head: values[y, x] for head, values in run.predictor.probabilities(image).items()}
        found = probabilities_on(page, index)
        assert len(found) == MOST_CLASSES
        for name, shares in found.items():
            label = CITYSCAPES.names.index(name)
            wanted = [100 * expected[head][label] for head in heads]
            np.testing.assert_allclose(shares[-len(heads) :], wanted, atol=0.051)


def test_segmentations_are_the_predictors(open_page, served, make_image):
    file, image = make_image("blocks.png", 1)
    page = opened(open_page(), file)
    acf, baseline = (run.predictor.labels(image) for run in served.runs)
    for index, labels in enumerate((acf["coarse"], acf["fine"], baseline["fine"])):
        np.testing.assert_array_equal(downloaded(page, "Labels as PNG", index), labels)
        found = downloaded(page, "Overlay as PNG", index)
        np.testing.assert_array_equal(found, overlay(image, labels, CITYSCAPES.colors))
    assert shown(page, "Fine segmentation by acf").shape == (*view_size(image.shape[:2]), 3)
    expect(page.get_by_alt_text("Where fine differs from coarse, acf")).to_be_visible()
    expect(page.get_by_text(f"different {100 * (acf['coarse'] != acf['fine']).mean():.1f} %")).to_be_visible()
    expect(page.get_by_text("baseline has no coarse head")).to_be_visible()
    largest = np.bincount(acf["fine"].ravel(), minlength=19).max() / image[..., 0].size
    expect(page.locator("#areas")).to_contain_text(f"{100 * largest:.1f} %")


def test_a_click_shows_the_pixel(open_page, served, make_image):
    file, image = make_image("blocks.png", 2)
    page = opened(open_page(), file)
    for alt_text, x, y in (("The image", 30, 40), ("Fine segmentation by acf", 90, 5)):
        picture = page.get_by_alt_text(alt_text, exact=True)
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        height, width = image.shape[:2]
        picture.click(position={"x": (x + 0.5) * box["width"] / width, "y": (y + 0.5) * box["height"] / height})
        expect_probabilities(page, served.runs, image, x, y)
    for alt_text in ("before the coarse head of acf", "before the fine head of acf", "before the head of baseline"):
        expect(page.get_by_alt_text(f"Similarity {alt_text}")).to_be_visible()


def test_classes_and_opacity(open_page, served, make_image):
    file, image = make_image("blocks.png", 3)
    page, name = opened(open_page(), file), "Fine segmentation by acf"
    labels = served.runs[0].predictor.labels(image)["fine"]
    label = int(np.bincount(labels.ravel()).argmax())
    before = shown(page, name)
    old = source(page, name)
    page.locator("#classes").get_by_label(CITYSCAPES.names[label], exact=True).uncheck()
    wait_for_change(page, name, old)
    plain, hidden = shown(page, "The image"), shown(page, name)
    factor = len(plain) // len(image)
    inside = (labels == label).repeat(factor, 0).repeat(factor, 1)
    assert np.abs(hidden - plain)[inside].mean() < 5 < np.abs(before - plain)[inside].mean()
    old = source(page, name)
    page.get_by_label("number input for Opacity of the classes in %").fill("0")
    page.keyboard.press("Enter")
    wait_for_change(page, name, old)
    assert np.abs(shown(page, name) - plain).mean() < 3


def test_by_keyboard_alone(open_page, served, tiny_scenes):
    page = open_page()
    page.locator("#samples button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("128×64 pixels")
    expect(page.get_by_alt_text("The true classes")).to_be_visible()
    page.get_by_label("x from the left").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("100")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("20")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Look at this pixel"
    page.keyboard.press("Enter")
    image = np.asarray(Image.open(sorted((tiny_scenes / "leftImg8bit" / "val").rglob("*.png"))[0]))
    expect_probabilities(page, served.runs, image, 100, 20)
    expect(page.locator("#status")).to_contain_text("in truth")


def test_bad_images_leave_the_page_as_it_was(open_page, make_image, tmp_path):
    page = opened(open_page(), make_image("good.png", 4)[0])
    kept = source(page, "Fine segmentation by acf")
    (tmp_path / "text.png").write_text("hello")
    upload(page, tmp_path / "text.png")
    expect(page.get_by_text("text.png: not an image.")).to_be_visible()
    upload(page, make_image("many.png", 5, (200, 300))[0])
    expect(page.get_by_text("many.png: 300×200 are more than 20,000 pixels (explore.max_pixels)")).to_be_visible()
    (tmp_path / "heavy.png").write_bytes(b"0" * (2**20 + 1))
    upload(page, tmp_path / "heavy.png")
    expect(page.get_by_text("exceed the maximum allowed size of 1.0 Mb")).to_be_visible()
    page.get_by_label("x from the left").fill("5000")
    page.get_by_role("button", name="Look at this pixel").click()
    expect(page.get_by_text("pixel 5000,32 lies outside of good.png, which is 96×64")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("good.png")
    assert source(page, "Fine segmentation by acf") == kept


def test_users_do_not_see_each_others_images(open_page, served, make_image):
    files = [make_image("same.png", 6), make_image("other.png", 7)]
    pages = [open_page(), open_page(390, 844)]
    for page, (file, _) in zip(pages, files, strict=True):
        upload(page, file)
    for page, (file, image) in zip(pages, files, strict=True):
        expect(page.locator("#status")).to_contain_text(file.name)
        expect(page.get_by_role("button", name="Labels as PNG").first).to_be_enabled()
        labels = served.runs[0].predictor.labels(image)
        np.testing.assert_array_equal(downloaded(page, "Labels as PNG", 0), labels["coarse"])
        np.testing.assert_array_equal(downloaded(page, "Labels as PNG", 1), labels["fine"])
    names = [Path(source(page, "Fine segmentation by acf")).stem for page in pages]
    assert names[0] != names[1] and min(map(len, names)) >= 32  # nobody guesses another's
    assert pages[1].evaluate("document.documentElement.scrollWidth") <= 390
