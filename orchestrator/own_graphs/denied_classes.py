"""Node classes of ComfyUI's core that callers' graphs may not hold, each with the reason.

The list is the result of a review of every core class that reads or writes files, loads code or pickles,
reaches the network, evaluates expressions or changes the server. A class that the facts do not know is
rejected anyway, so the list only has classes of the pinned version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_READS_FOLDERS = "it reads a folder of the server, which may hold files of other callers"
_WRITES_FOLDERS = "it writes a folder whose files would stay on the server"
_TAKES_PATHS = "its value names files of the server in a form that is not checked"
_SAVES_WEIGHTS = "it saves model weights, which are not the caller's"
_TRAINS = "it trains a model; use one of the trainers among the models"
_RUNS_PATTERNS = "a pattern can run without end on the server; compute the text before you send the graph"
_CHOOSES_DEVICES = "it changes on which device of the server models run"

_BY_REASON: Mapping[str, tuple[str, ...]] = {
    _READS_FOLDERS: (
        "LoadImageDataSetFromFolder",
        "LoadImageTextDataSetFromFolder",
        "LoadVideoDataSetFromFolder",
        "LoadVideoTextDataSetFromFolder",
        "LoadImageOutput",
        "LoadLatent",
        "LoadTrainingDataset",
    ),
    _WRITES_FOLDERS: (
        "SaveImageDataSetToFolder",
        "SaveImageTextDataSetToFolder",
        "SaveTrainingDataset",
        "PreviewGaussianSplat",
        "PreviewPointCloud",
        "Preview3DAdvanced",
    ),
    _TAKES_PATHS: ("Load3D", "Load3DAdvanced", "Preview3D", "WebcamCapture", "RecordAudio"),
    _SAVES_WEIGHTS: (
        "CLIPSave",
        "CheckpointSave",
        "ImageOnlyCheckpointSave",
        "LoraSave",
        "ModelSave",
        "SaveLoRA",
        "VAESave",
    ),
    _TRAINS: ("TrainLoraNode", "MakeTrainingDataset", "ResolutionBucket", "LossGraphNode", "LoraModelLoader"),
    _RUNS_PATTERNS: ("RegexExtract", "RegexMatch", "RegexReplace"),
    _CHOOSES_DEVICES: (
        "MultiGPU_WorkUnits",
        "SelectCLIPDevice",
        "SelectModelDevice",
        "SelectVAEDevice",
        "ModelAttentionBackend",
    ),
    "its format fields can read any attribute of the server's objects; use StringConcatenate": (
        "StringFormat",
    ),
    "it runs the caller's program on the server's graphics driver": ("GLSLShader",),
    "it compiles code on the server and keeps it there": ("TorchCompileModel",),
    "it reads a configuration file of the server; use CheckpointLoaderSimple": ("CheckpointLoader",),
    "its files can hold scripts": ("SaveSVGNode",),
}


def _invert() -> Iterator[tuple[str, str]]:
    for reason, names in _BY_REASON.items():
        yield from ((name, reason) for name in names)


#: Reason by class.
DENIED_CLASSES: Mapping[str, str] = dict(_invert())
