"""Offers of this plugin: ways to compare outputs."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def tasks() -> list[Offer]:
    """Offer the tasks that come with frivkit."""
    return [
        Offer("classify", "frivkit.tasks.classify:CLASSIFY", "the largest class, at each position"),
        Offer("multilabel", "frivkit_tasks.multilabel:MULTILABEL", "the sign of each logit"),
        Offer("regress", "frivkit_tasks.regress:REGRESS", "numbers, within a tolerance"),
        Offer("segment", "frivkit_tasks.segment:SEGMENT", "the class of each pixel, mean IoU"),
        Offer("heatmap", "frivkit_tasks.heatmap:HEATMAP", "the peak of each channel"),
        Offer("detect", "frivkit_tasks.detect:DETECT", "boxes that overlap by half or more"),
        Offer("embed", "frivkit_tasks.embed:EMBED", "nearest neighbours, cosine"),
        Offer("generate", "frivkit_tasks.generate:GENERATE", "next tokens, divergence"),
    ]
