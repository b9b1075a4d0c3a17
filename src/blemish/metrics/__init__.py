"""Metrics of anomaly detection, as functions on numpy arrays.

``ranking``    AUROC, average precision, F1-max of any scores
``pixels``     pixel values pooled over a class in bounded memory
``pro``        per-region overlap, both published variants
``intervals``  95 % bootstrap intervals by resampling images

Whatever cannot be computed (one class only, no defect region) raises ``ranking.Undefined``, never returns
NaN.
"""
