"""An answer cut out of its context: start and end of a span, for encoders."""

from __future__ import annotations

from sweeper.training.head import HeadObjective


class SpanObjective(HeadObjective):
    """TODO(H1)."""
