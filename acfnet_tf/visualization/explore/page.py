"""The page itself: what is on it, and what happens when it is used. A user's data are in the session's state only."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from acfnet_tf.config import ExploreConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import read_image
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.pictures import Picture, encoded, read_picture
from acfnet_tf.tables import plain
from acfnet_tf.visualization.changes import find_changes
from acfnet_tf.visualization.explore import drawing, tables
from acfnet_tf.visualization.explore.analysis import Analysis, analyze, occurring, probe, read_upload
from acfnet_tf.visualization.explore.run_view import RunView, Updates, picture_box
from acfnet_tf.visualization.inspection import inspector_of
from acfnet_tf.visualization.palette import overlay
from acfnet_tf.visualization.panels import Run

KEPT_SECONDS = 3600
"""An image that is not used for so long is forgotten, and its files are deleted."""
MOST_SAMPLES = 12
_THUMBNAIL = 192
_NETWORK = {"concurrency_limit": 1, "concurrency_id": "network"}  # one at a time; the others see their place
_DRAWING = {"trigger_mode": "always_last", "show_progress": "hidden"}


class Page:
    """The page of some runs.

    Args:
        runs: one, or two to compare, whose networks know the same classes.
        samples: of which some are offered beside the user's own images.
        folder: for the pictures of the page; Gradio's own, from which it serves them.

    Attributes:
        blocks: what Gradio launches.

    Raises:
        UserError: a run's model is no ACFNet.
    """

    def __init__(
        self, runs: Sequence[Run], classes: ClassSet, samples: Sequence[Sample], config: ExploreConfig, folder: Path
    ) -> None:
        self.runs, self.classes, self.config, self.folder = tuple(runs), classes, config, folder
        for run in runs:
            inspector_of(run.predictor)  # which refuses other models now, and not at the first click
        self._samples, self._thumbnails = _offered(samples)
        title = " and ".join(run.name for run in runs)
        with gr.Blocks(
            title=f"Explore {title}", analytics_enabled=False, fill_width=True, delete_cache=(600, KEPT_SECONDS)
        ) as self.blocks:
            self._add_components(title)
            self._add_events()

    def _add_components(self, title: str) -> None:
        self._analysis = gr.State(None, time_to_live=KEPT_SECONDS)
        gr.Markdown(f"# Explore {plain(title)}")
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=1, min_width=260):
                self._upload = gr.Image(
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    label="Your image",
                    height=170,
                    buttons=[],
                    elem_id="upload",
                )
                # Gradio would decode it, and answer a damaged file with an error of its own.
                self._upload.preprocess = lambda payload: payload and payload.path
                self._gallery = gr.Gallery(
                    self._thumbnails,
                    label="Or one of these",
                    columns=3,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    visible=bool(self._thumbnails),
                    elem_id="samples",
                )
                self._opacity = gr.Slider(0, 100, 60, step=5, label="Opacity of the classes in %", buttons=[])
                self._shown = gr.CheckboxGroup(
                    label="Classes", type="value", show_select_all=True, visible=False, elem_id="classes"
                )
            with gr.Column(scale=4, min_width=300):
                self._status = gr.Markdown("Drop an image on the left, or choose one.", elem_id="status")
                with gr.Column(visible=False) as self._found:
                    with gr.Row():
                        self._image = picture_box("Image", "The image")
                        self._truth = picture_box("Truth", "The true classes")
                        with gr.Column(min_width=240):
                            gr.Markdown("**One pixel**: click in any picture, or type where it is.")
                            with gr.Row():
                                self._x = gr.Number(0, label="x from the left", precision=0, minimum=0, min_width=90)
                                self._y = gr.Number(0, label="y from the top", precision=0, minimum=0, min_width=90)
                            self._look = gr.Button("Look at this pixel", variant="primary", elem_id="look")
                    self._views = [RunView(run, len(self.runs) > 1) for run in self.runs]
                    gr.Markdown("**Area of each class** in percent of the image")
                    self._areas = gr.HTML(elem_id="areas")

    def _add_events(self) -> None:
        private = {"api_visibility": "private"}
        shown = [self._opacity, self._shown]
        views = [part for view in self._views for part in view.parts()]
        downloads = [button for view in self._views for button in view.downloads.values()]
        maps = [self._image, self._truth, *views]
        found = [self._analysis, self._status, self._found, self._shown, *downloads, self._areas, self._x, self._y]
        for event, arguments in (
            (self._upload.upload, (self._open_upload, [self._upload, self._opacity], [self._upload, *found, *maps])),
            (self._gallery.select, (self._open_sample, [self._opacity], [*found, *maps])),
        ):
            opened = event(*arguments, **_NETWORK, **private)
            opened.then(self._write_files, self._analysis, downloads, show_progress="hidden", **private)
        self._opacity.input(self._redraw, [self._analysis, *shown], maps, **_DRAWING, **private)
        self._shown.input(self._redraw, [self._analysis, *shown], maps, **_DRAWING, **private)
        probed = [self._analysis, self._status, self._x, self._y, *maps]
        self._look.click(self._probe, [self._analysis, self._x, self._y, *shown], probed, **_NETWORK, **private)
        for picture in [self._image, self._truth, *(part for part in views if isinstance(part, gr.Image))]:
            picture.select(self._click, [self._analysis, *shown], probed, **_NETWORK, **private)

    def _open_upload(self, file: str | None, opacity: float) -> Updates:
        updates: Updates = {self._upload: None}  # ready for the next one
        if file is None:
            return updates
        try:
            updates |= self._open(read_upload(file, self.config.max_pixels), opacity)
        except UserError as error:
            updates |= self._refused(error)
        return updates

    def _open_sample(self, opacity: float, chosen: gr.SelectData) -> Updates:
        try:
            return self._open(read_picture(self._samples[chosen.index], self.classes), opacity)
        except UserError as error:
            return self._refused(error)

    def _open(self, picture: Picture, opacity: float) -> Updates:
        analysis = analyze(picture, self.runs)
        height, width = picture.size
        labels = occurring(analysis, len(self.classes))
        if picture.label is not None:
            labels = sorted({*labels, *(i for i in np.unique(picture.label).tolist() if i < len(self.classes))})
        choices = [(self.classes.names[label], str(label)) for label in labels]
        values = [value for _, value in choices]
        return {
            self._analysis: analysis,
            self._status: f"{plain(picture.name)}, {width}×{height} pixels",
            self._found: gr.Column(visible=True),
            self._shown: gr.CheckboxGroup(choices=choices, value=values, visible=True),
            self._areas: tables.area_table(analysis, self.runs, self.classes),
            self._x: width // 2,
            self._y: height // 2,
            **self._maps(analysis, opacity, values),
            **{part: update for view in self._views for part, update in view.reset().items()},
        }

    def _refused(self, error: UserError) -> Updates:
        gr.Warning(str(error), duration=20)
        return {self._status: gr.skip()}

    def _redraw(self, analysis: Analysis | None, opacity: float, shown: list[str]) -> Updates:
        return self._maps(analysis, opacity, shown) if analysis else {self._image: gr.skip()}

    def _click(self, analysis: Analysis | None, opacity: float, shown: list[str], at: gr.SelectData) -> Updates:
        if analysis is None:
            return self._probe(analysis, 0, 0, opacity, shown)
        pixel = drawing.pixel_at(at.index, analysis.picture.size)
        return self._probe(analysis, *pixel, opacity, shown)

    def _probe(self, analysis: Analysis | None, x: float, y: float, opacity: float, shown: list[str]) -> Updates:
        try:
            if analysis is None:
                raise UserError("The image is no longer kept here. Open it again.")
            analysis, probes = probe(analysis, self.runs, (int(x or 0), int(y or 0)))
        except UserError as error:
            return self._refused(error)
        (x, y), truth = analysis.pixel, analysis.picture.label
        named = ""
        if truth is not None:
            named = f", in truth {plain((*self.classes.names, 'ignored')[min(truth[y, x], len(self.classes))])}"
        size = analysis.picture.size
        lowest = -1 if min(values.min() for each in probes for values in each.similarity.values()) < 0 else 0
        updates = {
            self._analysis: analysis,
            self._status: f"{plain(analysis.picture.name)}, {size[1]}×{size[0]} pixels; pixel ({x}, {y}){named}",
            self._x: x,
            self._y: y,
            **self._maps(analysis, opacity, shown),
        }
        for view, one in zip(self._views, probes, strict=True):
            for head, values in one.similarity.items():
                drawn = drawing.draw_cross(drawing.heat(values, size, one.grid, lowest), analysis.pixel, size)
                updates[view.similarity[head]] = self._file(drawn)
            updates |= view.with_probe(one, self.classes, lowest)
        return updates

    def _maps(self, analysis: Analysis, opacity: float, shown: list[str]) -> Updates:
        """All pictures but those of similarity."""
        image, truth, pixel = drawing.on_screen(analysis.picture.image), analysis.picture.label, analysis.pixel
        labels = [int(value) for value in shown]

        def picture(values: np.ndarray) -> Updates:
            return self._file(drawing.draw_cross(values, pixel, analysis.picture.size) if pixel else values)

        def overlaid(values: np.ndarray) -> Updates:
            return picture(drawing.blend(image, drawing.on_screen(values), self.classes, labels, opacity / 100))

        updates = {
            self._image: picture(image),
            self._truth: gr.update(visible=False) if truth is None else overlaid(truth) | {"visible": True},
        }
        for view, found in zip(self._views, analysis.labels, strict=True):
            updates |= {view.segmentation[head]: overlaid(values) for head, values in found.items()}
            if changes := find_changes(found, truth, self.classes.ignore_label):
                updates[view.differences] = picture(changes.painted(image))
                updates[view.legend] = tables.change_legend(changes)
        return updates

    def _file(self, picture: np.ndarray) -> Updates:
        """Shows a picture (H, W, 3): as a file under a name that nobody guesses.

        An update, not a mere path: for a component that was skipped once, Gradio forgets to delete those.
        """
        file = self.folder / f"{secrets.token_urlsafe(24)}.jpg"
        file.write_bytes(encoded(picture, "JPEG", quality=92, subsampling=0))
        return gr.update(value=str(file))

    def _write_files(self, analysis: Analysis | None) -> Updates:
        """Labels and overlays as of `--mode=predict`, in the size of the image."""
        updates: Updates = {}
        if analysis is None:
            return updates
        folder, stem = self.folder / secrets.token_urlsafe(24), Path(analysis.picture.name.replace("/", "_")).stem
        folder.mkdir()
        for run, view, found in zip(self.runs, self._views, analysis.labels, strict=True):
            for head, labels in found.items():
                name = "_".join([stem, *([run.name.replace("/", "_")] if len(self.runs) > 1 else []), head])
                overlaid = overlay(analysis.picture.image, labels, self.classes.colors)
                for kind, pixels, file in (("labels", labels, name), ("overlay", overlaid, f"{name}_overlay")):
                    path = folder / f"{file}.png"
                    path.write_bytes(encoded(pixels, compress_level=1))  # quick, not small: most are never fetched
                    updates[view.downloads[head, kind]] = gr.DownloadButton(value=str(path), interactive=True)
        return updates


def _offered(samples: Sequence[Sample]) -> tuple[list[Sample], list[tuple[Image.Image, str]]]:
    """Some samples from the whole split, with thumbnails; those that cannot be read are left out."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(MOST_SAMPLES, len(samples))).round().astype(int))
    offered, thumbnails = [], []
    for place in places.tolist():
        try:
            thumbnail = Image.fromarray(read_image(samples[place].image))
        except UserError:
            continue
        thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
        offered.append(samples[place])
        thumbnails.append(thumbnail)
    return offered, thumbnails
