"""Where samples come from: every kind of dataset, in the order of the documentation.

Each of them says with `inputs` which of the model's inputs it feeds, and has `label`, `split`, `samples` and `seed`.
"""

from mlkit_build.recipe.array_files import Idx, Npy, Npz
from mlkit_build.recipe.made_samples import PythonSamples, Random, RandomInput
from mlkit_build.recipe.record_files import Csv, ExampleFeature, TfRecord
from mlkit_build.recipe.sample_folders import ImageFolder, WavFolder

__all__ = [
    "AnyDataset",
    "Csv",
    "ExampleFeature",
    "Idx",
    "ImageFolder",
    "Npy",
    "Npz",
    "PythonSamples",
    "Random",
    "RandomInput",
    "TfRecord",
    "WavFolder",
]

AnyDataset = Npz | Npy | Idx | ImageFolder | WavFolder | Csv | TfRecord | PythonSamples | Random
