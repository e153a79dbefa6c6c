"""What TensorFlow Datasets wrote into the folder of a dataset that it prepared, read without it: splits, shards, features."""
