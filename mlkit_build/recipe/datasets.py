"""Where samples come from: every kind of dataset, in the order of the documentation.

Each of them says with `inputs` which of the model's inputs it feeds, and has `label`, `split`, `samples` and `seed`.
`split` is a part by content, but for `tfds`, whose users know another one.
"""

from mlkit_build.recipe.array_files import Idx, Npy, Npz
from mlkit_build.recipe.made_samples import PythonSamples, Random, RandomInput
from mlkit_build.recipe.record_files import Csv, ExampleFeature, Tfds, TfRecord
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
    "Tfds",
    "WavFolder",
]

AnyDataset = Npz | Npy | Idx | ImageFolder | WavFolder | Csv | TfRecord | Tfds | PythonSamples | Random
