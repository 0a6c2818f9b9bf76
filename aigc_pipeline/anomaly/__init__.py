"""Anomaly detection with a finished run's judge: which of my pictures are unlike what it was trained on?"""

from aigc_pipeline.anomaly.finished import FinishedRun, latest_run
from aigc_pipeline.anomaly.scoring import ANOMALIES, Examiner
from aigc_pipeline.anomaly.unlikeness import Scale, Signs, read_signs

__all__ = ["ANOMALIES", "Examiner", "FinishedRun", "Scale", "Signs", "latest_run", "read_signs"]
