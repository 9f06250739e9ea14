"""Evaluation: networks and pairs in; scores, statistics and reports out.

`evaluate` (evaluate.py, open it first) yields every pair of a stream once with the predictions for it. Validation takes
means of a few measures (metrics.py); a test keeps the quantities of every pair (per_pair.py): of the predicted map, of
the posterior of each predictor (posterior.py with scores.py, calibration.py, trivial.py), and between runs (runs.py).
They become statistics with confidence intervals (statistics.py), a record (report.py) and a folder with tables and
figures (report_folder.py).
Nothing here knows run folders: the caller opens the run and passes the networks.
"""
