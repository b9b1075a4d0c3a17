"""blemish: which photos of a batch are blemished, and where. No labels, no training, no GPU.

    import blemish

    run = blemish.scan("photos/")
    run.scores  # path -> score, most anomalous first
    run.judgement.sentence  # which are blemished, and what that means
    run.maps["part-07.jpg"]  # (H, W) float32
    run.families  # flaws that keep coming back, and questions about them
    run.save("photos-blemish")
    blemish.decide("photos-blemish", 1, "variant")  # family 1 is legitimate: score again
    blemish.rejudge("photos-blemish", max_false_alarms=0.01)  # another threshold, without scoring again
    blemish.review("photos-blemish", {"part-07.jpg": "good"})  # a person's word about single photos
    blemish.teach("photos-blemish", good=["sound.jpg"], defects=[("scratch.jpg", "scratch-mask.png")])
    blemish.freeze("photos-blemish", "part.blemish")  # a detector for one photo
    blemish.Detector.load("part.blemish").check("next.jpg").verdict
    blemish.scan("photos/", method="text", text=blemish.TextConfig("metal nut"))  # photos with words

Importing this costs nothing: every name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blemish.checked import Checked as Checked
    from blemish.checked import CheckedVolume as CheckedVolume
    from blemish.config import FamilyConfig as FamilyConfig
    from blemish.config import ScanConfig as ScanConfig
    from blemish.config import TextConfig as TextConfig
    from blemish.config import VerdictConfig as VerdictConfig
    from blemish.deciding import decide as decide
    from blemish.decisions import read_decisions as read_decisions
    from blemish.diagnosing import diagnose as diagnose
    from blemish.errors import BlemishError as BlemishError
    from blemish.evaluation import evaluate as evaluate
    from blemish.freezing import freeze as freeze
    from blemish.frozen import Detector as Detector
    from blemish.frozen import export_onnx as export_onnx
    from blemish.judgement import Interval as Interval
    from blemish.judgement import Judgement as Judgement
    from blemish.judgement import Region as Region
    from blemish.learning.learn import learn as learn
    from blemish.learning.training import TrainConfig as TrainConfig
    from blemish.rejudging import rejudge as rejudge
    from blemish.result import Decision as Decision
    from blemish.result import Family as Family
    from blemish.result import Photo as Photo
    from blemish.result import Result as Result
    from blemish.reviewing import review as review
    from blemish.scanning import scan as scan
    from blemish.teaching import teach as teach

__all__ = [
    "BlemishError",
    "Checked",
    "CheckedVolume",
    "Decision",
    "Detector",
    "Family",
    "FamilyConfig",
    "Interval",
    "Judgement",
    "Photo",
    "Region",
    "Result",
    "ScanConfig",
    "TextConfig",
    "TrainConfig",
    "VerdictConfig",
    "decide",
    "diagnose",
    "evaluate",
    "export_onnx",
    "freeze",
    "learn",
    "read_decisions",
    "rejudge",
    "review",
    "scan",
    "teach",
]

_HOME = {
    "BlemishError": "errors",
    "Checked": "checked",
    "CheckedVolume": "checked",
    "Decision": "result",
    "Detector": "frozen",
    "Family": "result",
    "FamilyConfig": "config",
    "Interval": "judgement",
    "Judgement": "judgement",
    "Photo": "result",
    "Region": "judgement",
    "Result": "result",
    "ScanConfig": "config",
    "TextConfig": "config",
    "TrainConfig": "learning.training",
    "VerdictConfig": "config",
    "decide": "deciding",
    "diagnose": "diagnosing",
    "evaluate": "evaluation",
    "export_onnx": "frozen",
    "freeze": "freezing",
    "learn": "learning.learn",
    "read_decisions": "decisions",
    "rejudge": "rejudging",
    "review": "reviewing",
    "scan": "scanning",
    "teach": "teaching",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'blemish' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"blemish.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__all__"]
