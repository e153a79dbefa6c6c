"""Trains the flag classifier of this recipe and writes everything the recipe ships, with the same weights on every run.

Writes, beside this file:

    model/                        the SavedModel: BGR images in, logits out
    data/flags_test.npz           views of every flag as Twemoji draws it, which the model was not trained on
    data/flags_calibration.npz    views of the drawings that it was trained on, other views than those of training
    labels.txt                    the countries

Nothing is written when the model does not reach 90 % on the test images.

The drawings are PNG files of three npm packages: `npm pack svg-country-flags@1.2.10 emoji-datasource-google@16.0.0
emoji-datasource-twitter@16.0.0`, unpack each into a folder of its name, and give the folder above them as `--data`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

SEED = 193
SIZE = 48
DRAWN = 96
BATCH = 128
STEPS = 1_500
LEARNING_RATE = 4e-3
SMOOTHING = 0.1
TEST_VIEWS = 8
CALIBRATION_VIEWS = 400
REQUIRED_ACCURACY = 0.90

UNITED_NATIONS = """
AD AE AF AG AL AM AO AR AT AU AZ BA BB BD BE BF BG BH BI BJ BN BO BR BS BT BW BY BZ CA CD CF CG CH CI CL CM CN CO CR CU CV CY
CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FM FR GA GB GD GE GH GM GN GQ GR GT GW GY HN HR HT HU ID IE IL IN IQ IR IS IT JM
JO JP KE KG KH KI KM KN KP KR KW KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MG MH MK ML MM MN MR MT MU MV MW MX MY MZ NA
NE NG NI NL NO NP NR NZ OM PA PE PG PH PK PL PT PW PY QA RO RS RU RW SA SB SC SD SE SG SI SK SL SM SN SO SR SS ST SV SY SZ TD
TG TH TJ TL TM TN TO TR TT TV TZ UA UG US UY UZ VC VE VN VU WS YE ZA ZM ZW
"""
COUNTRIES = UNITED_NATIONS.split()
"""The classes, in this order: the members of the United Nations by their ISO 3166-1 codes."""

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Views:
    """`images` [count, SIZE, SIZE, 3] uint8 RGB in 0..255 and `labels` [count] uint8, indices of COUNTRIES."""

    images: Bytes
    labels: Bytes


def main() -> None:
    options = parse_options()
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    drawings = np.stack([read_wikimedia(options.data), read_emoji(options.data, "google")])
    unseen = np.stack([read_emoji(options.data, "twitter")])
    everyone = np.arange(len(COUNTRIES))
    test = draw_views(unseen, np.repeat(everyone, TEST_VIEWS), np.random.default_rng(SEED + 1))
    some = np.resize(np.random.default_rng(SEED).permutation(everyone), CALIBRATION_VIEWS)
    calibration = draw_views(drawings, some, np.random.default_rng(SEED + 2))

    model = build_model()
    train(model, drawings, options.steps)
    accuracy = measure_accuracy(model, test)
    print(f"weights sha256 {digest_of_weights(model)}")
    print(f"test accuracy  {accuracy:.4f}, channels swapped {measure_accuracy(model, test, swapped=True):.4f}")
    if accuracy < REQUIRED_ACCURACY:
        raise SystemExit(f"the test accuracy is below {REQUIRED_ACCURACY}: nothing was written")

    save_model(model, options.output / "model")
    save_views(test, options.output / "data" / "flags_test.npz")
    save_views(calibration, options.output / "data" / "flags_calibration.npz")
    (options.output / "labels.txt").write_text("".join(f"{name}\n" for name in read_names(options.data)), encoding="utf-8")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the flag classifier and write the recipe's files.")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="holds the three unpacked npm packages")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="default: the recipe's folder"
    )
    return parser.parse_args()


def read_wikimedia(data: Path) -> Floats:
    """Returns the flags of svg-country-flags, see `read_drawings`."""
    return read_drawings(data / "svg-country-flags" / "png250px", [f"{code.lower()}.png" for code in COUNTRIES])


def read_emoji(data: Path, vendor: str) -> Floats:
    """Returns the flags among one vendor's emoji, see `read_drawings`."""
    folder = data / f"emoji-datasource-{vendor}" / "img" / vendor / "64"
    return read_drawings(folder, [f"{emoji(code)}.png" for code in COUNTRIES])


def read_names(data: Path) -> list[str]:
    """Returns the countries' names, as Unicode calls their flags."""
    entries = json.loads((data / "emoji-datasource-google" / "emoji.json").read_text(encoding="utf-8"))
    names = {entry["unified"].lower(): entry["name"].removesuffix(" Flag") for entry in entries}
    return [names[emoji(code)] for code in COUNTRIES]


def emoji(code: str) -> str:
    """Returns the code points of a country's flag, joined as emoji-datasource does: a regional indicator for each letter."""
    return "-".join(f"{0x1F1E6 + ord(letter) - ord('A'):x}" for letter in code)


def read_drawings(folder: Path, names: list[str]) -> Floats:
    """Returns one drawing per country, [countries, height, width, 4]: RGB in 0..255 times opacity, and opacity in 0..1.

    Each is cut to its opaque part and stretched to DRAWN x DRAWN, since the packages differ in margins and proportions; then
    one transparent pixel is put around it.
    """
    drawings = []
    for name in names:
        if not (folder / name).exists():
            raise SystemExit(f"{folder / name} is missing; the docstring of {Path(__file__).name} says where the flags come from")
        image = tf.io.decode_png((folder / name).read_bytes()).numpy().astype(np.float32)
        opacity = image[..., 3:] / 255 if image.shape[-1] == 4 else np.ones_like(image[..., :1])
        rows, columns = np.flatnonzero(opacity.max((1, 2)) > 0.5), np.flatnonzero(opacity.max((0, 2)) > 0.5)
        image = np.concatenate([image[..., :3] * opacity, opacity], axis=-1)
        image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        drawings.append(tf.image.resize(image, [DRAWN, DRAWN], antialias=True).numpy())
    return np.pad(np.stack(drawings), ((0, 0), (1, 1), (1, 1), (0, 0)))


def draw_views(drawings: Floats, labels: NDArray[np.int64], random: np.random.Generator) -> Views:
    """Returns one view per label: one of the drawings of its flag, seen at an angle, lit and creased, before a plain colour.

    `drawings` is [artists, countries, height, width, 4], see `read_drawings`.
    """
    count = len(labels)
    chosen = random.integers(len(drawings), size=count)
    inside = project(random, count)
    sampled = sample(drawings, chosen, labels, inside)
    waves, phase = random.uniform(2, 9, (count, 1, 1)), random.uniform(0, 2 * np.pi, (count, 1, 1))
    depth = random.uniform(0, 0.18, (count, 1, 1))
    light = random.uniform(0.65, 1.1, (count, 1, 1)) * (1 + depth * np.sin(waves * inside[..., 0] + phase))
    tint = random.uniform(0.92, 1.08, (count, 1, 1, 3))
    background = random.uniform(0, 255, (count, 1, 1, 3))
    opacity = sampled[..., 3:]
    images = sampled[..., :3] * light[..., np.newaxis] * tint + background * (1 - opacity)
    return Views(np.clip(np.rint(images), 0, 255).astype(np.uint8), labels.astype(np.uint8))


def project(random: np.random.Generator, count: int) -> Floats:
    """Returns where each pixel of a view lies in its drawing, [count, SIZE, SIZE, (x, y)], the drawing being -1..1."""
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(axis, axis)
    x = x - random.uniform(-0.15, 0.15, (count, 1, 1))
    y = y - random.uniform(-0.15, 0.15, (count, 1, 1))
    angle = random.uniform(-0.3, 0.3, (count, 1, 1))
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    width = random.uniform(0.6, 1.0, (count, 1, 1))
    height = width * random.uniform(0.5, 0.95, (count, 1, 1))
    distance = 1 + random.uniform(-0.2, 0.2, (count, 1, 1)) * x + random.uniform(-0.2, 0.2, (count, 1, 1)) * y
    return np.stack([x / width / distance, y / height / distance], axis=-1).astype(np.float32)


def sample(drawings: Floats, chosen: NDArray[np.int64], labels: NDArray[np.int64], places: Floats) -> Floats:
    """Returns the drawings at `places`, weighting the four nearest pixels; outside of a drawing all is 0."""
    position = np.clip((places + 1) / 2 * DRAWN + 0.5, 0, DRAWN + 0.99)
    low = np.floor(position)
    across, down = np.moveaxis(position - low, -1, 0)[..., np.newaxis]
    x, y = np.moveaxis(low.astype(np.int64), -1, 0)
    which, label = chosen[:, np.newaxis, np.newaxis], labels[:, np.newaxis, np.newaxis]
    above = drawings[which, label, y, x] * (1 - across) + drawings[which, label, y, x + 1] * across
    below = drawings[which, label, y + 1, x] * (1 - across) + drawings[which, label, y + 1, x + 1] * across
    return above * (1 - down) + below * down


def as_seen(images: Bytes) -> Floats:
    """Returns RGB images as the model was given them: BGR, which is how OpenCV reads a file, in -1..1."""
    return images[..., ::-1].astype(np.float32) / np.float32(127.5) - np.float32(1)


def build_model() -> tf.keras.Model:
    """Returns a network of depthwise separable convolutions; a last depthwise one as large as the image keeps what lies where."""
    image = tf.keras.Input([SIZE, SIZE, 3], name="image")
    features = normalized(tf.keras.layers.Conv2D(24, 3, strides=2, padding="same", use_bias=False)(image))
    for channels, stride in ((48, 1), (96, 2), (96, 1), (192, 2), (192, 1)):
        features = separable(features, channels, stride)
    features = tf.keras.layers.DepthwiseConv2D(SIZE // 8, use_bias=False)(features)
    features = tf.keras.layers.BatchNormalization()(features)
    logits = tf.keras.layers.Dense(len(COUNTRIES), name="logits")(tf.keras.layers.Flatten()(features))
    return tf.keras.Model(image, logits)


def separable(features: tf.Tensor, channels: int, stride: int) -> tf.Tensor:
    """Returns a 3x3 convolution of each channel by itself, then a 1x1 one that mixes them."""
    depthwise = tf.keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(features)
    return normalized(tf.keras.layers.Conv2D(channels, 1, use_bias=False)(normalized(depthwise)))


def normalized(features: tf.Tensor) -> tf.Tensor:
    return tf.keras.layers.ReLU(6.0)(tf.keras.layers.BatchNormalization(momentum=0.97)(features))


def train(model: tf.keras.Model, drawings: Floats, steps: int) -> None:
    """Trains on views that are drawn anew for every step."""
    optimizer = tf.keras.optimizers.AdamW(tf.keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps), weight_decay=1e-3)
    loss_of = tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING)

    @tf.function
    def one_step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(tf.one_hot(labels, len(COUNTRIES)), model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    random = np.random.default_rng(SEED)
    started = time.monotonic()
    for step in range(1, steps + 1):
        views = draw_views(drawings, random.integers(len(COUNTRIES), size=BATCH), random)
        loss = one_step(tf.constant(as_seen(views.images)), tf.constant(views.labels))
        if step % 250 == 0 or step == steps:
            print(f"step {step:6}  loss {float(loss):.3f}  {time.monotonic() - started:4.0f} s", flush=True)


def measure_accuracy(model: tf.keras.Model, views: Views, swapped: bool = False) -> float:
    """Returns the share of views whose largest logit is their label's; `swapped` feeds RGB to the model instead of BGR."""
    images = as_seen(views.images)
    logits = model(images[..., ::-1] if swapped else images, training=False).numpy()
    return float(np.mean(logits.argmax(axis=1) == views.labels))


def digest_of_weights(model: tf.keras.Model) -> str:
    """Returns one SHA-256 over the bytes of all weights."""
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


def save_model(model: tf.keras.Model, folder: Path) -> None:
    """Writes a SavedModel with one signature, `serving_default`: `image` [batch, SIZE, SIZE, 3] float32 to `logits`."""
    shutil.rmtree(folder, ignore_errors=True)
    served = tf.Module()
    served.weights = [weight.value for weight in model.weights]  # Keras's own export writes every weight twice

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="image")])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": model(image, training=False)}

    tf.saved_model.save(served, str(folder), signatures={"serving_default": serve})


def save_views(views: Views, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, images=views.images, labels=views.labels)


if __name__ == "__main__":
    main()
