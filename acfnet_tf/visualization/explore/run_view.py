"""The part of the page that is a run's: its segmentations, and what it makes of a pixel."""

from __future__ import annotations

from typing import Any

import gradio as gr

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.heads import COARSE, FINE, heads_in
from acfnet_tf.tables import plain
from acfnet_tf.visualization.explore import tables
from acfnet_tf.visualization.explore.analysis import Probe
from acfnet_tf.visualization.panels import Run

Updates = dict[Any, Any]
"""{component: its new value}; the others stay as they are."""


class RunView:
    """A run's part of the page.

    Attributes:
        segmentation, similarity: {head: picture}.
        downloads: {(head, "labels" or "overlay"): button}.
        differences, legend: where the heads differ; None for a single head.
    """

    def __init__(self, run: Run, named: bool) -> None:
        heads = heads_in(run.predictor.heads)
        wide = {"min_width": 240, "scale": 1 if len(heads) > 1 else 2}
        self.segmentation, self.similarity, self.downloads, self.differences, self.legend = {}, {}, {}, None, None
        if named:
            gr.Markdown(f"### {plain(run.name)}")
        with gr.Row():
            for head in heads:
                label = f"{head.capitalize()} segmentation" if len(heads) > 1 else "Segmentation"
                with gr.Column(min_width=240):
                    self.segmentation[head] = picture_box(label, f"{label} by {run.name}")
                    with gr.Row():
                        for kind in ("labels", "overlay"):
                            button = gr.DownloadButton(f"{kind.capitalize()} as PNG", size="sm", min_width=100)
                            self.downloads[head, kind] = button
            with gr.Column(**wide):
                if len(heads) > 1:
                    differ = f"Where {FINE} differs from {COARSE}"
                    self.differences = picture_box(differ, f"{differ}, {run.name}")
                    self.legend = gr.HTML(elem_classes="legend")
                else:
                    gr.Markdown(f"{plain(run.name)} has no {COARSE} head, so it has one segmentation and no attention.")
        with gr.Column(visible=False) as self.probed, gr.Row():
            for head in heads:
                label = f"Similarity before the {head} head" if len(heads) > 1 else "Similarity before the head"
                self.similarity[head] = picture_box(label, f"{label} of {run.name}")
            with gr.Column(**wide):
                self.shares = gr.HTML(elem_classes="probe")
                self.ramp = gr.HTML(elem_classes="legend")

    def parts(self) -> list[Any]:
        """All components but the downloads."""
        found = [*self.segmentation.values(), self.differences, *self.similarity.values()]
        return [part for part in (*found, self.legend, self.probed, self.shares, self.ramp) if part is not None]

    def reset(self) -> Updates:
        """For another image, of which there are no files yet and no pixel was chosen."""
        waiting = {button: gr.DownloadButton(value=None, interactive=False) for button in self.downloads.values()}
        return {self.probed: gr.Column(visible=False)} | waiting

    def with_probe(self, probe: Probe, classes: ClassSet, lowest: float) -> Updates:
        return {
            self.probed: gr.Column(visible=True),
            self.shares: tables.probe_table(probe, classes),
            self.ramp: tables.heat_legend(lowest),
        }


def picture_box(label: str, alt_text: str) -> gr.Image:
    return gr.Image(
        label=label, alt_text=alt_text, interactive=False, buttons=["fullscreen"], min_width=240, elem_classes="map"
    )
