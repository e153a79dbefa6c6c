"""The table of rules, in the order in which the Task Library looks.

The sentences are those of the Task Library, tflite-support 0.4.4, which the tests ask.
"""

from __future__ import annotations

from mlkit_build.mlkit.contract import files, graph, inputs, outputs
from mlkit_build.mlkit.contract.rule import ERROR, WARNING, Rule
from mlkit_build.mlkit.model_structure import SENTENCES

_ENGINE = "cc/task/core/tflite_engine.cc"
_EXTRACTOR = "metadata/cc/metadata_extractor.cc"
_INPUT = "cc/task/vision/utils/image_tensor_specs.cc"
_CLASSIFIER = "cc/task/vision/image_classifier.cc"
_HEAD = "cc/task/vision/core/classification_head.cc"
_LABELS = "cc/task/vision/core/label_map_item.cc"
_TENSORFLOW = "tensorflow/lite/{} in tensorflow/tensorflow"
_AGAIN = "build the model again, or `mlkit-build metadata FILE -o OUT --existing replace` with what is to be said"
_SCORES = "name the tensor of the scores in signature.outputs; ML Kit runs classifiers only, detectors (SSD, YOLO) fail"

_NORMALIZATION = (
    "Input tensor has type kTfLiteFloat32: it requires specifying NormalizationOptions metadata to preprocess input images."
)
_NO_CALIBRATION = (
    "Found ScoreCalibrationOptions but missing required associated parameters file with type TENSOR_AXIS_SCORE_CALIBRATION."
)
_DIMENSIONS = (
    "Unexpected number of dimensions for output index %d: got %dD, expected either 2D (BxN with B=1) or 4D (BxHxWxN with B=1, "
    "W=1, H=1)."
)

RULES = (
    Rule(
        "flatbuffer", ERROR, "a TFL3 flatbuffer",
        ("The model is not a valid Flatbuffer",),
        "The file is cut off, damaged, or no model at all.",
        "fetch or build the file again",
        _ENGINE, graph.flatbuffer, everywhere=True,
    ),
    Rule(
        "model-structure", ERROR, "tables that fit together",
        SENTENCES,
        "Something points to what is not there, or is of another size: the app refuses the model or crashes.",
        "fetch or build the file again",
        _TENSORFLOW.format("tools/verifier.cc"), graph.structure, everywhere=True,
    ),
    Rule(
        "tensor-shape", ERROR, "sizes that are not negative",
        ("Tensor %d is invalidly specified in schema.",),
        "A size of -1 belongs into `shape_signature`, where it makes no difference to the app.",
        "state the shape in signature.inputs",
        _TENSORFLOW.format("core/interpreter_builder.cc"), graph.shapes, everywhere=True,
    ),
    Rule(
        "operator-version", ERROR, "operators in versions that the runtime knows",
        (
            "Didn't find op for builtin opcode '%s' version '%d'",
            "Op builtin_code out of range: %d. Are you using old TFLite binary with newer model?",
        ),
        "The app's runtime is older than the converter, and has no kernel for what the file asks for.",
        "use another quantization mode, or quantization.granularity=per_tensor; or ship an app with a newer runtime",
        _TENSORFLOW.format("core/api/op_resolver.h"), graph.versions, everywhere=True,
    ),
    Rule(
        "custom-operator", ERROR, "operators of LiteRT only",
        ("Encountered unresolved custom op: %s",),
        "ML Kit's interpreter has no kernels but LiteRT's, and an app cannot add one.",
        "replace the operator in the model, or use target=custom with an app that registers it",
        _TENSORFLOW.format("core/subgraph.cc"), graph.custom,
    ),
    Rule(
        "select-operator", ERROR, "operators of LiteRT only",
        ("Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter.",),
        "TensorFlow's own operators (Flex) need a delegate that ML Kit does not link.",
        "replace the operator in the model; `convert.allow_select_ops` is for target=custom",
        _TENSORFLOW.format("core/subgraph.cc"), graph.select,
    ),
    Rule(
        "metadata-identifier", ERROR, "metadata of the schema M001",
        ("Invalid metadata schema version: expected M001, got %s",),
        "What the file says of itself is in another format, or damaged.",
        _AGAIN,
        _EXTRACTOR, files.identifier,
    ),
    Rule(
        "metadata-readable", ERROR, "metadata that can be read",
        (),
        "The app reads them without a look at where they point to, and may crash.",
        _AGAIN,
        _EXTRACTOR, files.readable,
        stricter="The Task Library does not verify metadata: what it then reads is chance.",
    ),
    Rule(
        "archive-readable", ERROR, "a zip archive behind the model",
        ("Unable to read associated file in zip archive.",),
        "The files that belong to the model, its labels among them, are cut off or damaged.",
        _AGAIN,
        _EXTRACTOR, files.archive,
        stricter="The Task Library compares no checksums, and shows labels that are damaged.",
    ),
    Rule(
        "archive-stored", ERROR, "files behind the model that are not compressed",
        ("Expected uncompressed zip archive.",),
        "The Task Library reads them where they lie.",
        f"{_AGAIN}; for a zip of your own: `zip -0`",
        _EXTRACTOR, files.stored,
    ),
    Rule(
        "metadata-count", ERROR, "metadata of one input, and of every output",
        (
            "Models are assumed to have a single input TensorMetadata.",
            "Mismatch between number of output tensors (%d) and output tensors metadata (%d).",
        ),
        "The metadata are those of another model.",
        _AGAIN,
        f"{_INPUT}, {_CLASSIFIER}", outputs.counts,
    ),
    Rule(
        "image-content", ERROR, "an input of RGB pixels",
        ("Only RGB color space is supported for now.", "Expected ImageProperties for tensor %s, got %s."),
        "ML Kit feeds RGB. Metadata without any content pass.",
        "state `mean` and `std` of the input, and target=image_labeling",
        _INPUT, inputs.content,
    ),
    Rule(
        "process-units", ERROR, "one process unit of a type",
        ("Found multiple ProcessUnits with type=%s, expected at most one.",),
        "The app would not know which one counts.",
        _AGAIN,
        _EXTRACTOR, outputs.units,
    ),
    Rule(
        "normalization-values", ERROR, "mean and std, one or three of each, std not 0",
        (
            "NormalizationOptions: only 1 or 3 mean and std values are supported, got %d.",
            "NormalizationOptions: expected mean and std of same dimension, got %d and %d.",
            "NormalizationOptions.std_values can't be 0. Please check if the tensor metadata has been populated correctly.",
        ),
        "One value counts for all channels, three for red, green and blue. Without mean or std at all the app crashes.",
        "state `mean` and `std` of the input: one value, or one for each channel",
        _INPUT, inputs.normalization_values,
    ),
    Rule(
        "normalization-finite", ERROR, "mean and std that are numbers",
        (),
        "Every pixel becomes the same, and every image gets the same label.",
        "state the training's values in `mean` and `std` of the input",
        _INPUT, inputs.normalization_finite,
        stricter="The Task Library loads the model, and every prediction is wrong.",
    ),
    Rule(
        "single-input", ERROR, "one input",
        ("Models are assumed to have a single input.",),
        "ML Kit feeds an image, and nothing else.",
        "feed the others in signature.constants",
        _INPUT, inputs.single, early=True,
    ),
    Rule(
        "input-rank", ERROR, "a 4-D input [1, height, width, 3]",
        ("Only 4D tensors in BHWD layout are supported.",),
        "Batch, height, width and depth; a batch of one belongs to the shape.",
        "give the image input in signature.inputs",
        _INPUT, inputs.rank, early=True,
    ),
    Rule(
        "input-type", ERROR, "a uint8 or float32 input",
        ("Type mismatch for input tensor %s. Requested one of these types: kTfLiteUint8/kTfLiteFloat32, got %s.",),
        "ML Kit feeds pixels or normalized pixels; int8, which quantizers prefer, is neither.",
        "use quantization.io=uint8 or quantization.io=float32",
        _INPUT, inputs.kind, early=True,
    ),
    Rule(
        "input-shape", ERROR, "an input [1, height, width, 3]",
        ("The input tensor should have dimensions 1 x height x width x 3. Got %d x %d x %d x %d.",),
        "One RGB image, channels last.",
        "for a model of grey images add `adapters: [rgb_to_grayscale]`",
        _INPUT, inputs.shape, early=True,
    ),
    Rule(
        "normalization", ERROR, "mean and std for a floating-point image",
        (_NORMALIZATION,),
        "The app has pixels in 0..255 and must know what the model was trained on.",
        "state the training's values: `mean: [127.5], std: [127.5]` for -1..1, `mean: [0], std: [255]` for 0..1; of a finished "
        "file with `mlkit-build metadata FILE -o OUT --mean 127.5 --std 127.5`",
        _INPUT, inputs.normalization, early=True,
    ),
    Rule(
        "input-size", ERROR, "a height and a width above 0",
        ("The input width should be positive.", "The input height should be positive."),
        "Height and width that are open (-1 in the signature, 1 in the shape) pass, and every image becomes one pixel.",
        "state the shape in signature.inputs",
        _INPUT, inputs.size, early=True,
    ),
    Rule(
        "label-file", ERROR, "the label file that the metadata name",
        ("No associated file with name: %s",),
        "Tools that rewrite a model keep its metadata and drop what lies behind it.",
        "state `labels`; attach the metadata as the last step",
        _EXTRACTOR, files.label_file,
    ),
    Rule(
        "labels-empty", ERROR, "a label per class",
        ("Expected non-empty labels file.",),
        "An empty file is no label file.",
        "write one label per line into the file that `labels` names",
        _LABELS, files.labels_empty,
    ),
    Rule(
        "score-calibration", ERROR, "labels and a calibration file for ScoreCalibrationOptions",
        (
            "Using ScoreCalibrationOptions requires a label map to be provided as TENSOR_AXIS_LABELS associated file.",
            _NO_CALIBRATION,
            "No associated file with name: %s",
            "Mismatch between number of labels (%d) and score calibration parameters (%d).",
        ),
        "Scores are calibrated by a file with a line for each label.",
        _AGAIN,
        _HEAD, files.calibration,
    ),
    Rule(
        "output-shape", ERROR, "scores [1, classes]",
        (
            _DIMENSIONS,
            "Unexpected WxH sizes for output index %d: got %dx%d, expected 1x1.",
        ),
        "A score per class; [1, 1, 1, classes] passes too.",
        _SCORES,
        _CLASSIFIER, outputs.shape, early=True,
    ),
    Rule(
        "output-batch", ERROR, "scores of one image",
        ("The output array is expected to have a batch size of 1. Got %d for output index %d.",),
        "ML Kit asks for one image at a time.",
        "state a batch of 1 in signature.inputs",
        _CLASSIFIER, outputs.batch, early=True,
    ),
    Rule(
        "label-count", ERROR, "as many labels as classes",
        ("Got %d class(es) for output index %d, expected %d according to the label map.",),
        "Exactly one newline at the end is no label; a second one is a class without a name.",
        "each line is a class, in the order of the model's outputs",
        _CLASSIFIER, files.label_count,
    ),
    Rule(
        "output-type", ERROR, "float32 or uint8 scores, all or none of them uint8",
        (
            "Type mismatch for output tensor %s. Requested one of these types: kTfLiteUint8/kTfLiteFloat32, got %s.",
            "Got %d quantized output(s), expected %d (i.e. all provided outputs must be quantized).",
        ),
        "An index, as an ArgMax returns it, is no score.",
        "name the tensor of the scores, before an ArgMax, in signature.outputs; quantization.io is float32 or uint8",
        _CLASSIFIER, outputs.kind, early=True,
    ),
    Rule(
        "label-encoding", ERROR, "labels in UTF-8",
        (),
        "The model loads, and the app fails on the first image of that class.",
        "save the file that `labels` names as UTF-8",
        _LABELS, files.label_encoding,
    ),
    Rule(
        "label-text", WARNING, "labels as the app shall show them",
        (),
        "The app shows them as they are: carriage returns, a byte order mark and blanks too.",
        "name a file in `labels`: mlkit-build takes such things out, or names the line",
        _LABELS, files.label_text,
    ),
    Rule(
        "label-repeated", WARNING, "a label of its own for every class",
        (),
        "The app cannot tell classes of one name apart.",
        "give each of them a name of its own in the file that `labels` names",
        _LABELS, files.label_repeated,
    ),
    Rule(
        "label-locales", WARNING, "as many labels in every locale",
        ("Mismatch between number of labels (%d) and display names (%d).",),
        "An app that asks for that locale cannot load the model.",
        "give every locale a line for each class",
        _LABELS, files.label_locales,
    ),
    Rule(
        "labels", WARNING, "labels for the classes",
        (),
        "The app gets classes without a name: `ImageLabel{text=, index=4}`.",
        "state `labels`; of a finished file with `mlkit-build metadata FILE -o OUT --labels labels.txt`",
        _HEAD, files.labelled,
    ),
    Rule(
        "score-range", WARNING, "scores that an operator keeps within 0..1",
        (),
        "ML Kit applies no softmax: confidences like 3.04 appear, and a threshold means nothing.",
        "for logits add `adapters: [softmax]`, or `[sigmoid]` where several classes may hold at once",
        _CLASSIFIER, outputs.bounded,
    ),
    Rule(
        "score-threshold", WARNING, "a score threshold in 0..1",
        (),
        "Above 1 the app shows nothing, below 0 everything.",
        "state a threshold in 0..1",
        _HEAD, outputs.threshold,
    ),
)  # fmt: skip

BY_ID = {rule.id: rule for rule in RULES}
