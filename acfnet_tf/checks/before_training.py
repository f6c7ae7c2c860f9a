"""The quick form of `--mode=check_data`: some samples, and all that can be wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from acfnet_tf.checks.check import check_data
from acfnet_tf.checks.values import MIXTURE
from acfnet_tf.data.sample import DataSource, Sample


def look_into(source: DataSource, samples: Mapping[str, Sequence[Sample]]) -> tuple[list[str], list[str]]:
    """Checks some samples of each split.

    Returns:
        (faults for which training would fail, warnings).
    """
    result = check_data(dataclasses.replace(source, list_samples=samples.get), list(samples), progress=False)
    # Among a few samples there may be none with a pixel of a rare class.
    errors = [finding for finding in result.findings if finding.severity == "error" and finding.kind != "one_class"]
    faults = [" ".join([finding.message, *finding.details[:1]]) for finding in errors]
    return faults, [finding.message for finding in result.findings if finding.kind == MIXTURE]
