"""Measuring a model: the study, the metrics, and the pipeline that opens both."""
