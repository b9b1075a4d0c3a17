"""The service: scans, results and decisions through REST, and pages on which a person decides.

It knows HTTP, a data folder and a database that indexes it. What a scan or a decision does is told elsewhere; a run's
folder stays the truth.
"""
