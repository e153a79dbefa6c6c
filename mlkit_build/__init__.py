"""A declarative build system from trained TensorFlow models to verified packages for ML Kit and LiteRT."""

__version__ = "0.1.0"
