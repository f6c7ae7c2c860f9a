"""How the page looks. Gradio's own style does most; its variables follow light and dark."""

from __future__ import annotations

import gradio as gr

from acfnet_tf.data.classes import ClassSet

_CSS = """\
#columns { align-items: flex-start; }

/* Titles and buttons stand above pictures, not on them. */
.map [data-testid="block-label"], #samples [data-testid="block-label"] { position: static; border: 0; }
.map .image-container { position: static; }
.map .icon-button-wrapper { top: 0 !important; right: 0 !important; border: 0; }
.map img { max-height: 70vh; object-fit: contain; cursor: crosshair; }
#samples .grid-wrap { height: auto; min-height: 0; max-height: none; padding: 0; }
#samples .grid-container {
  grid-template: none / repeat(3, minmax(0, 1fr)) !important; grid-auto-rows: auto; align-content: start;
  width: 100%; height: auto; padding: 0 8px 8px; gap: 6px;
}
#samples .thumbnail-item { width: 100%; min-width: 0; height: auto; aspect-ratio: 3 / 2; }

/* The colour of a class, before its name. */
#classes label span::before, .legend i, th i {
  content: ""; display: inline-block; width: 0.9em; height: 0.9em; margin-right: 0.3em; vertical-align: -0.1em;
  border: 1px solid #8888; border-radius: 2px;
}
#classes .wrap { gap: 4px; }
#classes .wrap label { padding: 3px 8px; }

.html-container { padding: 0 !important; }
.legend { font-size: 0.85em; }
.legend .item { display: inline-block; margin-right: 1em; white-space: nowrap; }
.legend .ramp {
  display: inline-block; width: 8em; height: 0.8em; margin: 0 0.5em; vertical-align: -0.05em; border: 1px solid #8888;
}

.scroll { overflow-x: auto; max-width: 48em; }
table.shares { width: 100%; margin: 0; font-size: 0.85em; font-variant-numeric: tabular-nums; }
table.shares, table.shares * { border: 0 !important; }
table.shares tr { box-shadow: inset 0 -1px var(--border-color-primary); }
table.shares :is(th, td) { padding: 2px 6px; }
table.shares th { font-weight: 500; text-align: left; }
table.shares tbody th { min-width: 9.5em; }
table.shares :is(thead th:not(:first-child), td) { text-align: right; overflow-wrap: anywhere; }
table.shares td {
  min-width: 5em; white-space: nowrap; background-clip: padding-box; background-image: linear-gradient(
    to right, color-mix(in srgb, var(--color-accent) 30%, transparent) var(--share), transparent var(--share));
}

@media (max-width: 640px) {
  #samples .grid-container { display: flex; overflow-x: auto; }
  #samples .gallery-item { flex: 0 0 110px; }
}
"""


def theme() -> gr.themes.Base:
    """With the computer's own fonts: none is fetched from elsewhere."""
    text, code = gr.themes.Font("system-ui"), gr.themes.Font("ui-monospace")
    sans, mono = gr.themes.Font("sans-serif"), gr.themes.Font("monospace")
    return gr.themes.Default(primary_hue="blue", font=[text, sans], font_mono=[code, mono])


def css(classes: ClassSet) -> str:
    """With each class's colour before its name among the toggles, which so are the legend."""
    return _CSS + "".join(
        f'#classes label:has(input[name="{index}"]) span::before {{ background: rgb{color}; }}\n'
        for index, color in enumerate(classes.colors)
    )
