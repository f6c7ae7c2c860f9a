"""How the page looks. Gradio's own style does most; its variables follow light and dark."""

from __future__ import annotations

from importlib import resources

import gradio as gr

from acfnet_tf.data.classes import ClassSet


def theme() -> gr.themes.Base:
    """With the computer's own fonts: none is fetched from elsewhere."""
    text, code = gr.themes.Font("system-ui"), gr.themes.Font("ui-monospace")
    sans, mono = gr.themes.Font("sans-serif"), gr.themes.Font("monospace")
    return gr.themes.Default(primary_hue="blue", font=[text, sans], font_mono=[code, mono])


def css(classes: ClassSet) -> str:
    """With each class's colour before its name among the toggles, which so are the legend."""
    common = (resources.files("acfnet_tf.visualization.explore") / "page.css").read_text(encoding="utf-8")
    return common + "".join(
        f'#classes label:has(input[name="{index}"]) span::before {{ background: rgb{color}; }}\n'
        for index, color in enumerate(classes.colors)
    )
